//! A host for one test: a network namespace of its own and a runtime that lives in it.

use std::future::Future;
use std::path::Path;

use swarm_agent_net::netns::{Netns, NetnsDir};

/// Runs `body` on a thread inside a fresh namespace, as an agent on a host of its own, with a
/// run directory that is removed (mounts included) when it is done.
pub(crate) fn on_a_fresh_host<F, B>(name: &str, body: B)
where
    F: Future<Output = ()>,
    B: FnOnce(Box<Path>) -> F + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let hosts = NetnsDir::open(directory.path().join("hosts")).unwrap();
    let host: Netns = hosts.ensure(name).unwrap();
    let run_dir: Box<Path> = directory.path().join("run").into();
    let for_body = run_dir.clone();
    let outcome = host.run_in(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body(for_body));
    });
    let left = NetnsDir::open(run_dir.join("netns")).unwrap();
    for name in left.list().unwrap() {
        left.delete(&name).unwrap();
    }
    hosts.delete(name).unwrap();
    outcome.unwrap();
}
