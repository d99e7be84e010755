//! What an agent does with the tasks it was assigned.

mod task_step;

pub use task_step::{Action, ContainerState, Outcome, adopt, conclude, task_step};
