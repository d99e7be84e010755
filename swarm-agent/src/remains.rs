//! What a membership leaves on a host: the manager's process, containers, namespaces, pinned programs, interfaces, files. All of
//! it can be removed without a running node, and again.

use swarm_agent_datapath::DataPath;
use swarm_agent_net::{Sandboxes, host_pair};
use tracing::error;

use crate::{node::Parts, supervisor::ManagerCommand, worker};

/// Removes everything that can be removed, the files last: what a crash leaves is found again. Gives what went wrong.
pub(crate) async fn remove(parts: &Parts) -> Vec<String> {
    // Without the manager's user there never was a manager.
    if let Ok(command) = ManagerCommand::new(&parts.options, &parts.state) {
        command.stop_running().await;
    }
    let mut problems = worker::remove_containers(parts.executor.as_ref(), |_| true).await;
    match Sandboxes::open(parts.options.namespaces_dir()) {
        Ok(sandboxes) => problems.extend(worker::remove_namespaces(&sandboxes, |_| true).await),
        Err(error) => problems.push(format!("namespaces: {error}")),
    }
    if let Err(error) = DataPath::remove(&parts.options.bpffs) {
        problems.push(format!("data path: {error}"));
    }
    if let Err(error) = host_pair::remove(&parts.netlink).await {
        problems.push(format!("this host's own interfaces: {error}"));
    }
    parts.key.forget();
    if let Err(error) = parts.state.forget() {
        problems.push(format!("the swarm's files: {error}"));
    }
    for problem in &problems {
        error!(problem, "something of the swarm stays on this host");
    }
    problems
}
