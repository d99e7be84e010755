//! gRPC in, core calls out. One file per service; `gate` stands before all of them: who calls, may they, and does the leader
//! answer this rather than we.

pub(crate) mod ca;
pub(crate) mod caller;
pub(crate) mod control;
pub(crate) mod dispatcher;
pub(crate) mod gate;
pub(crate) mod listener;
pub(crate) mod local;
pub(crate) mod logs;
pub(crate) mod raft;

use swarm_core::control::ControlError;
use swarm_proto::{ConvertError, status};
use tonic::{Status, metadata::MetadataValue};

/// Header of an answer that says: we do not lead and did nothing.
pub(crate) const NOT_LEADER: &str = "swarm-not-leader";

/// A refusal for the wire.
pub(crate) fn refuse(error: ControlError) -> Status {
    let moved = error.is_not_leading();
    let mut status = status::to_status(error);
    if moved {
        let yes = MetadataValue::from_static("1");
        status.metadata_mut().insert(NOT_LEADER, yes);
    }
    status
}

/// A message core cannot represent, for the wire.
#[expect(
    clippy::needless_pass_by_value,
    reason = "used as `map_err(malformed)`"
)]
pub(crate) fn malformed(error: ConvertError) -> Status {
    status::to_status(status::malformed(&error))
}
