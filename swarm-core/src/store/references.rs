//! What objects need of each other: a service its networks and ports. Two requests that exclude each other may both pass their
//! checks before either is committed; the one that is applied second is refused here, on every manager.
//!
//! ```text
//!   remove network n    ─► checked: no service uses n   ─► committed
//!   create service on n ─► checked: n is there          ─► committed second: a service that can never run
//! ```
//!
//! Managers of different versions apply the same entries, so these rules must not change: whatever else a request has to
//! satisfy belongs to [`crate::control`].

use alloc::format;

use super::{Draft, Object, ObjectId, Store, StoreError};
use crate::{
    control::{Code, ControlError},
    id::{NetworkId, ServiceId},
    model::{Network, PortConfig, PublishMode, Service, ServiceSpec},
};

/// Where the objects that a service needs are looked up.
pub(crate) trait Lookup {
    fn network(&self, id: &NetworkId) -> Option<&Network>;
    fn ingress_network(&self) -> Option<&Network>;
    fn services(&self) -> impl Iterator<Item = &Service>;
}

impl Lookup for Store {
    fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.network(id)
    }

    fn ingress_network(&self) -> Option<&Network> {
        self.ingress_network()
    }

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.services()
    }
}

impl Lookup for Draft<'_> {
    fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.network(id)
    }

    fn ingress_network(&self) -> Option<&Network> {
        self.ingress_network()
    }

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.services()
    }
}

/// A service that is made or gets another specification finds its networks and its ports.
pub(super) fn check_put(store: &Store, object: &Object) -> Result<(), StoreError> {
    let Object::Service(service) = object else {
        return Ok(());
    };
    let stored = store.service(&service.id);
    if stored.is_some_and(|stored| stored.spec == service.spec) {
        return Ok(()); // the leader's own: an endpoint, the progress of an update
    }
    check_references(store, &service.spec, Some(&service.id)).map_err(StoreError::Overtaken)
}

/// A network that goes is not needed by any service.
pub(super) fn check_remove(store: &Store, id: &ObjectId) -> Result<(), StoreError> {
    match id {
        ObjectId::Network(id) => match store.network(id) {
            Some(network) => check_unused(store, network).map_err(StoreError::Overtaken),
            None => Ok(()),
        },
        ObjectId::Cluster(_) | ObjectId::Node(_) | ObjectId::Service(_) | ObjectId::Task(_) => {
            Ok(())
        }
    }
}

/// Every network of a specification is there, and its ports are free or the service's `own`.
pub(crate) fn check_references(
    objects: &impl Lookup,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    for attachment in &spec.task.networks {
        let id = &attachment.network;
        if objects.network(id).is_none() {
            return Err(ControlError::new(
                Code::NotFound,
                format!("network {id} not found"),
            ));
        }
    }
    if wanted(spec).any(is_meshed) && objects.ingress_network().is_none() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "service needs ingress network, but no ingress network is present",
        ));
    }
    check_ports(objects, spec, own)
}

/// A fixed port may be published once per protocol: by one service through the mesh, and a port that one service
/// publishes on its nodes cannot be published by another through the mesh.
fn check_ports(
    objects: &impl Lookup,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    for port in wanted(spec).filter(|port| port.published_port != 0) {
        // Two services may publish the same port on their nodes: the scheduler keeps them apart.
        let clashes = |taken: &&PortConfig| {
            taken.protocol == port.protocol
                && taken.published_port == port.published_port
                && (is_meshed(taken) || is_meshed(port))
        };
        for other in objects.services().filter(|other| Some(&other.id) != own) {
            if let Some(taken) = ports(other).find(clashes) {
                return Err(port_conflict(
                    port.published_port,
                    other,
                    taken.publish_mode,
                ));
            }
        }
    }
    Ok(())
}

fn port_conflict(port: u16, other: &Service, mode: PublishMode) -> ControlError {
    let how = match mode {
        PublishMode::Ingress => "an ingress port",
        PublishMode::Host => "a host-published port",
    };
    ControlError::new(
        Code::InvalidArgument,
        format!(
            "port '{port}' is already in use by service '{}' ({}) as {how}",
            other.spec.annotations.name, other.id
        ),
    )
}

/// No service needs the network; the ingress network is needed by those that are still to get their ports as well.
pub(crate) fn check_unused(store: &Store, network: &Network) -> Result<(), ControlError> {
    let id = &network.id;
    if network.spec.ingress {
        let mut services = store.services();
        if let Some(service) = services.find(|service| ports(service).any(is_meshed)) {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!(
                    "ingress network cannot be removed because service {} depends on it",
                    service.id
                ),
            ));
        }
    } else if let Some(service) = store.services_of_network(id).next() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            format!("network {id} is in use by service {}", service.id),
        ));
    }
    Ok(())
}

/// The ports a specification asks for.
fn wanted(spec: &ServiceSpec) -> impl Iterator<Item = &PortConfig> {
    spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports)
}

/// The ports a service asks for and those it has.
fn ports(service: &Service) -> impl Iterator<Item = &PortConfig> {
    let allocated = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    wanted(&service.spec).chain(allocated)
}

fn is_meshed(port: &PortConfig) -> bool {
    port.publish_mode == PublishMode::Ingress
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use crate::{
        control,
        id::NetworkId,
        model::ServiceSpec,
        store::Transaction,
        testing::{Cluster, attach, port, publish, service_spec},
    };

    fn create(cluster: &mut Cluster, spec: ServiceSpec) -> Transaction {
        let made = control::create_service(&cluster.store, spec, cluster.now, &mut cluster.rng);
        made.unwrap().1
    }

    fn on(name: &str, network: &NetworkId) -> ServiceSpec {
        let mut spec = service_spec(name, 1);
        spec.task.networks.push(attach(network));
        spec
    }

    fn second(cluster: &mut Cluster, first: Transaction, second: Transaction) -> String {
        cluster.commit(first);
        let before = cluster.store.clone();
        let refused = cluster.store.apply(cluster.commits + 1, second);
        assert!(cluster.store.tables == before.tables);
        control::ControlError::from(refused.unwrap_err()).message
    }

    fn ordered(
        cluster: &mut Cluster,
        service_first: bool,
        service: Transaction,
        removal: Transaction,
    ) -> String {
        if service_first {
            second(cluster, service, removal)
        } else {
            second(cluster, removal, service)
        }
    }

    #[test]
    fn a_service_and_the_removal_of_its_network_exclude_each_other() {
        for service_first in [true, false] {
            let mut cluster = Cluster::new(&["n1"]);
            let network = cluster.create_network("n");
            let service = create(&mut cluster, on("web", &network));
            let removal = control::remove_network(&cluster.store, &network, cluster.now).unwrap();
            let text = ordered(&mut cluster, service_first, service, removal);
            let expected = if service_first {
                "is in use by service"
            } else {
                "not found"
            };
            assert!(text.contains(expected), "{text}");
        }
    }

    /// Also before the leader has given the service its port.
    #[test]
    fn a_published_service_and_the_removal_of_the_ingress_network_exclude_each_other() {
        for service_first in [true, false] {
            let mut cluster = Cluster::new(&["n1"]);
            let ingress = cluster.store.ingress_network().unwrap().id.clone();
            let mut spec = service_spec("web", 1);
            spec.endpoint = Some(publish(&[port(0, 80)]));
            let service = create(&mut cluster, spec);
            let removal = control::remove_network(&cluster.store, &ingress, cluster.now).unwrap();
            let text = ordered(&mut cluster, service_first, service, removal);
            let expected = if service_first {
                "ingress network cannot be removed because service"
            } else {
                "no ingress network is present"
            };
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn of_two_services_with_one_port_the_second_is_refused() {
        let mut cluster = Cluster::new(&["n1"]);
        let mut specs = ["a", "b"].map(|name| service_spec(name, 1));
        for spec in &mut specs {
            spec.endpoint = Some(publish(&[port(8080, 80)]));
        }
        let [a, b] = specs.map(|spec| create(&mut cluster, spec));
        let text = second(&mut cluster, a, b);
        assert!(text.contains("port '8080' is already in use"), "{text}");
    }
}
