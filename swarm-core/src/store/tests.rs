//! The reducer: all or nothing, versions, unique names, what changed, and the snapshot.

use alloc::{string::String, vec::Vec};

use super::{Change, Event, Kind, Object, ObjectId, Store, StoreError, Transaction};
use crate::{
    control::{Code, ControlError},
    model::{Meta, Network, Version},
    testing::{Cluster, at, attach, id, network_spec, node, port, publish, service_spec},
};

fn network(name: &str) -> Network {
    Network {
        id: id(name),
        meta: Meta::default(),
        spec: network_spec(name),
        allocation: None,
    }
}

fn version_of(store: &Store, name: &str) -> Option<u64> {
    let id = ObjectId::Network(id(name));
    store.version(&id).map(|version| version.0)
}

#[test]
fn the_version_is_the_index_of_the_last_write() {
    let mut store = Store::new();
    let create = Transaction::new(at(1)).create(Object::Network(network("a")));
    let events = store.apply(5, create).unwrap();
    let mut stored = network("a");
    stored.meta = Meta {
        version: Version(5),
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(events, [Event::Created(Object::Network(stored.clone()))]);
    let put = Transaction::new(at(2)).put(Object::Network(network("a")), Version(5));
    let events = store.apply(9, put).unwrap();
    let old = Object::Network(stored.clone());
    stored.meta.version = Version(9);
    stored.meta.updated_at = at(2);
    let new = Object::Network(stored.clone());
    assert_eq!(events, [Event::Updated { old, new }]);
    let remove = Transaction::new(at(3)).remove(ObjectId::Network(id("a")), Version(9));
    let events = store.apply(10, remove).unwrap();
    assert_eq!(events, [Event::Removed(Object::Network(stored))]);
    assert_eq!(version_of(&store, "a"), None);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut store = Store::new();
    let create = Transaction::new(at(1)).create(Object::Network(network("a")));
    store.apply(1, create).unwrap();
    let before = store.clone();
    let stale = Transaction::new(at(2))
        .create(Object::Network(network("b")))
        .put(Object::Network(network("a")), Version(7));
    assert_eq!(
        store.apply(2, stale),
        Err(StoreError::Stale {
            id: ObjectId::Network(id("a")),
            expected: Version(7),
            found: Version(1),
        })
    );
    assert_eq!(version_of(&store, "b"), None);
    assert_eq!(store.tables, before.tables);
}

#[test]
fn names_are_unique_but_may_be_handed_over_in_one_transaction() {
    let mut store = Store::new();
    let create = Transaction::new(at(1)).create(Object::Network(network("a")));
    store.apply(1, create).unwrap();
    let mut other = network("b");
    other.spec.annotations.name = String::from("a");
    let taken = Transaction::new(at(2)).create(Object::Network(other.clone()));
    let refused = store.apply(2, taken).unwrap_err();
    assert_eq!(
        refused,
        StoreError::NameTaken {
            kind: Kind::Network,
            name: String::from("a"),
        }
    );
    assert_eq!(ControlError::from(refused).code, Code::AlreadyExists);
    let hand_over = Transaction::new(at(3))
        .remove(ObjectId::Network(id("a")), Version(1))
        .create(Object::Network(other));
    store.apply(3, hand_over).unwrap();
    assert_eq!(store.network_by_name("a").unwrap().id, id("b"));
}

#[test]
fn blind_writes_need_no_version() {
    let mut store = Store::new();
    for index in 1..4 {
        let blind = Transaction {
            now: at(index),
            changes: [Change::Put {
                object: Object::Node(node("n1")),
                expect: None,
            }]
            .into(),
        };
        store.apply(index, blind).unwrap();
    }
    let meta = store.node(&id("n1")).unwrap().meta;
    assert_eq!(
        (meta.version, meta.created_at, meta.updated_at),
        (Version(3), at(1), at(3))
    );
}

#[test]
fn what_changed_is_known_until_a_snapshot_is_loaded() {
    let mut store = Store::new();
    for (index, name) in [(3, "a"), (4, "b"), (8, "c")] {
        let create = Transaction::new(at(1)).create(Object::Network(network(name)));
        store.apply(index, create).unwrap();
    }
    let since = |store: &Store, index| -> Option<Vec<ObjectId>> {
        let changes = store.changes_since(index)?;
        Some(changes.map(|touched| touched.id.clone()).collect())
    };
    let ids = |names: &[&str]| -> Vec<ObjectId> {
        names
            .iter()
            .map(|name| ObjectId::Network(id(name)))
            .collect()
    };
    assert_eq!(since(&store, 0), Some(ids(&["a", "b", "c"])));
    assert_eq!(since(&store, 3), Some(ids(&["b", "c"])));
    assert_eq!(since(&store, 8), Some(Vec::new()));
    let mut loaded = Store::at_index(store.index());
    store.objects().for_each(|object| loaded.restore(object));
    assert_eq!(since(&loaded, 3), None);
    assert_eq!(since(&loaded, 8), Some(Vec::new()));
}

/// The indexes of a loaded snapshot answer as those of the store that made it.
#[test]
fn a_snapshot_holds_everything() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", 3);
    spec.task.networks = [attach(&network)].into();
    spec.endpoint = Some(publish(&[port(8080, 80)]));
    let service = cluster.create(spec).unwrap();
    cluster.run();
    let text = serde_json::to_string(&cluster.store).unwrap();
    let loaded: Store = serde_json::from_str(&text).unwrap();
    assert_eq!(loaded, cluster.store, "indexes included");
    assert_eq!(loaded.tasks_of_service(&service).count(), 3);
    let holder = loaded.port_holder(crate::model::Protocol::Tcp, 8080);
    assert_eq!(holder.map(|found| &found.id), Some(&service));
}

/// A clone is a picture of its moment, although it shares the objects.
#[test]
fn a_clone_does_not_follow_the_store() {
    let mut store = Store::new();
    let create = Transaction::new(at(1)).create(Object::Network(network("a")));
    store.apply(1, create).unwrap();
    let picture = store.clone();
    let remove = Transaction::new(at(2)).remove(ObjectId::Network(id("a")), Version(1));
    store.apply(2, remove).unwrap();
    assert_eq!(version_of(&picture, "a"), Some(1));
    assert_eq!(version_of(&store, "a"), None);
}
