//! What many tests begin with.

use swarm_core::model::{ClusterSpec, ServiceSpec};
use swarm_proto::client::SigningRoot;

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

/// A root that an operator brings along.
pub(crate) fn a_root(days: i64) -> SigningRoot {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
    SigningRoot {
        cert_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem(),
    }
}
