//! What the kernel's maps of one node should hold, and which names its tasks resolve: functions of the node's assignments
//! and of what exists on the host.

mod diff;
mod maglev;
mod names;
mod numbers;
mod plan;

pub use diff::{MapDelta, diff};
pub use maglev::maglev;
pub use names::{NetworkNames, names};
pub use numbers::numbers;
pub use plan::{DesiredMaps, LocalFacts, LocalInterface, Owner, plan};
