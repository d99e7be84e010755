//! The container logger as a program of its own; see `swarm_agent_executor::logs::shim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    swarm_agent_executor::log_shim_main().unwrap_or(ExitCode::FAILURE)
}
