//! What objects need of each other: a service its networks and ports. Two requests that exclude each other may both pass their
//! checks before either is committed; the one that is applied second is refused here, on every manager.
//!
//! ```text
//!   remove network n    ─► checked: no service uses n   ─► committed
//!   create service on n ─► checked: n is there          ─► committed second: a service that can never run
//! ```

use super::{Object, ObjectId, Store, StoreError};
use crate::control::{check_references, check_unused};

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

    #[test]
    fn a_service_and_the_removal_of_its_network_exclude_each_other() {
        for service_first in [true, false] {
            let mut cluster = Cluster::new(&["n1"]);
            let network = cluster.create_network("n");
            let service = create(&mut cluster, on("web", &network));
            let removal = control::remove_network(&cluster.store, &network, cluster.now).unwrap();
            let text = if service_first {
                second(&mut cluster, service, removal)
            } else {
                second(&mut cluster, removal, service)
            };
            let expected = if service_first {
                "is in use by service"
            } else {
                "not found"
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
