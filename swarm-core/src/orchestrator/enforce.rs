//! A running task whose node no longer meets the service's constraints is taken off it. The task keeps running until its
//! replacement policy stops it; its status says why it goes, and it ends as rejected.

use super::{Context, update::is_task_dirty};
use crate::model::{Node, Task, TaskState};

/// Why a task goes (SwarmKit's text).
pub const ENFORCED: &str = "assigned node no longer meets constraints";

/// Whether the node has stopped to fit the task. A task of an older specification is the updater's business.
pub(super) fn violates(context: Context<'_>, task: &Task, node: &Node) -> bool {
    task.status.state >= TaskState::Assigned
        && !context.fits(node)
        && !is_task_dirty(context.service, task, Some(node))
}
