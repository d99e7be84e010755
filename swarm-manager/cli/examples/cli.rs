//! The command line without the manager daemon, for trying it against any Engine API socket.

use std::process::ExitCode;

fn main() -> ExitCode {
    swarm_manager_cli::run(std::env::args().skip(1))
}
