//! Refusals on the wire: a gRPC status keeps the code and the text of a [`ControlError`].

use std::error::Error;

use swarm_core::control::{Code, ControlError};
use tonic::Status;

use crate::{ConvertError, tls::NotAManager};

/// A refusal as a gRPC status.
pub fn to_status(error: ControlError) -> Status {
    Status::new(grpc_code(error.code), error.message)
}

/// A gRPC status as a refusal. Failures of the connection itself become [`Code::Unavailable`] with their cause.
pub fn from_status(status: &Status) -> ControlError {
    let Some(source) = status.source() else {
        return ControlError::new(core_code(status.code()), status.message());
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
    fn code_and_text_survive_the_wire() {
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
        }
    }
}
