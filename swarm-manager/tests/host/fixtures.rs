//! What many tests begin with.

use swarm_core::model::{ClusterSpec, ServiceSpec};

use super::Host;

/// A service of tasks that nobody runs.
pub(crate) fn service(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec::replicated(name, "nginx", replicas)
}

/// Three managers, by the numbers of their addresses from this one; the first leads.
pub(crate) async fn three(number: u8) -> [Host; 3] {
    three_with(number, ClusterSpec::default()).await
}

/// The same with these settings.
pub(crate) async fn three_with(number: u8, spec: ClusterSpec) -> [Host; 3] {
    let first = Host::start(number).await;
    first.try_init(spec).await.unwrap();
    let control = first.control();
    let second = Host::start(number + 1).await;
    let third = Host::start(number + 2).await;
    for host in [&second, &third] {
        host.join_managers(&control, &first).await;
    }
    [first, second, third]
}
