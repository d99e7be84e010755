//! Refusals on the wire: a gRPC status keeps the code and the text of a [`ControlError`], a header beside it the reason.

use std::error::Error;

use swarm_core::control::{Code, ControlError, Reason};
use tonic::{Status, metadata::MetadataValue};

use crate::{ConvertError, tls::NotAManager};

/// Header with the name of the reason.
const REASON: &str = "swarm-reason";

/// A refusal as a gRPC status.
pub fn to_status(error: ControlError) -> Status {
    let mut status = Status::new(grpc_code(error.code), error.message);
    if let Some(reason) = error.reason {
        let name = MetadataValue::from_static(reason.name());
        status.metadata_mut().insert(REASON, name);
    }
    status
}

/// The reason a status names. One that is not known here is none: the code and the text tell enough.
fn reason_of(status: &Status) -> Option<Reason> {
    let name = status.metadata().get(REASON)?.to_str().ok()?;
    Reason::ALL.into_iter().find(|reason| reason.name() == name)
}

/// A gRPC status as a refusal. Failures of the connection itself become [`Code::Unavailable`] with their cause.
pub fn from_status(status: &Status) -> ControlError {
    let Some(source) = status.source() else {
        let mut refusal = ControlError::new(core_code(status.code()), status.message());
        refusal.reason = reason_of(status);
        return refusal;
    };
    // Made by the transport, not by the other side: name the innermost cause, which is what helps.
    let mut innermost = source;
    let mut hopeless = is_no_manager(innermost);
    while let Some(next) = innermost.source() {
        innermost = next;
        hopeless |= is_no_manager(innermost);
    }
    if hopeless {
        return ControlError::new(Code::FailedPrecondition, innermost.to_string());
    }
    let code = match core_code(status.code()) {
        Code::Unknown => Code::Unavailable,
        code @ (Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Unavailable
        | Code::DeadlineExceeded) => code,
    };
    ControlError::new(
        code,
        format!("connection to the manager failed: {innermost}"),
    )
}

/// Whether this says that something else than a manager answered.
fn is_no_manager(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.and_then(std::io::Error::get_ref)
        .is_some_and(<dyn Error + Send + Sync>::is::<NotAManager>)
}

/// A message that core cannot represent, as a refusal.
pub fn malformed(error: &ConvertError) -> ControlError {
    ControlError::new(Code::InvalidArgument, error.to_string())
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Unknown => tonic::Code::Unknown,
    }
}

fn core_code(code: tonic::Code) -> Code {
    match code {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::InvalidArgument,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::ResourceExhausted
        | tonic::Code::Internal
        | tonic::Code::DataLoss => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_text_and_reason_survive_the_wire() {
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::Unimplemented,
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Unknown,
        ] {
            let error = ControlError::new(code, "update out of sequence");
            assert_eq!(from_status(&to_status(error.clone())), error);
            for reason in Reason::ALL {
                let error = error.clone().because(reason);
                assert_eq!(from_status(&to_status(error.clone())), error);
            }
        }
    }
}
