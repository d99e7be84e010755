//! Rollbacks: on failure, refused because the old specification has lost what it needs, and by hand.

use super::*;
use crate::testing::{port, publish};

#[test]
fn a_failing_update_rolls_back_if_so_asked() {
    let (mut cluster, id) = failing_update(FailureAction::Rollback);
    let (state_now, message) = state(&cluster, &id).unwrap();
    assert_eq!(state_now, UpdateState::RollbackStarted);
    assert!(message.starts_with("update rolled back due to failure"));
    assert_eq!(cluster.service(&id).spec.task.container.image, "nginx:1");
    assert_eq!(cluster.service(&id).previous_spec, None);
    cluster.pass(30 * SECOND);
    assert_eq!(
        state(&cluster, &id),
        Some((UpdateState::RollbackCompleted, "rollback completed".into()))
    );
    let running = cluster.running(&id);
    assert_eq!(running.len(), 2);
    assert!(
        running
            .iter()
            .all(|task| task.spec.container.image == "nginx:1")
    );
}

/// An update from one endpoint and network to others fails after `meanwhile`; returns where it stands then.
fn failing_after(meanwhile: impl FnOnce(&mut Cluster)) -> (UpdateState, String, bool) {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("old");
    let mut spec = service_spec("web", 1);
    spec.endpoint = Some(publish(&[port(8080, 80)]));
    spec.task.networks = [attach(&network)].into();
    let service = cluster.create(spec).unwrap();
    cluster.run();
    cluster.update(&service, |spec| {
        spec.endpoint = Some(publish(&[port(9090, 80)]));
        spec.task.networks.clear();
        spec.update = Some(UpdateConfig {
            failure_action: FailureAction::Rollback,
            ..UpdateConfig::default()
        });
    });
    cluster.pass(3 * SECOND);
    meanwhile(&mut cluster);
    let new = cluster.running(&service)[0].id.clone();
    cluster.report(&new, TaskState::Failed, "");
    cluster.settle();
    let (state, message) = state(&cluster, &service).unwrap();
    let kept = cluster.service(&service).previous_spec.is_some();
    (state, message, kept)
}

/// The leader must come to rest: a transaction that is refused again and again would carry all its other work with it.
#[test]
fn a_rollback_that_is_no_longer_possible_pauses_instead() {
    let (state, _message, kept) = failing_after(|_cluster| {});
    assert_eq!((state, kept), (UpdateState::RollbackStarted, false));
    let (state, message, kept) = failing_after(|cluster| {
        let mut spec = service_spec("other", 1);
        spec.endpoint = Some(publish(&[port(8080, 80)]));
        cluster.create(spec).unwrap();
    });
    assert_eq!((state, kept), (UpdateState::Paused, true));
    let refusal = "; cannot roll back: port '8080' is already in use by service 'other'";
    assert!(message.contains(refusal), "{message}");
    let (state, message, kept) = failing_after(|cluster| {
        let network = cluster.store.network_by_name("old").unwrap().id.clone();
        let removal = control::remove_network(&cluster.store, &network, cluster.now).unwrap();
        cluster.commit(removal);
    });
    assert_eq!((state, kept), (UpdateState::Paused, true));
    assert!(message.ends_with(" not found"), "{message}");
    assert!(message.starts_with("update paused due to failure"));
}

#[test]
fn a_manual_rollback_returns_and_a_second_one_toggles() {
    let (mut cluster, id) = started(&["n1"], 1);
    cluster.update(&id, |spec| spec.task.container.image = "nginx:2".into());
    cluster.pass(10 * SECOND);
    for expected in ["nginx:1", "nginx:2"] {
        let service = cluster.service(&id).clone();
        let transaction = control::update_service(
            &cluster.store,
            &id,
            service.meta.version,
            service.spec,
            true,
            cluster.now,
        );
        cluster.commit(transaction.unwrap());
        cluster.settle();
        assert_eq!(
            state(&cluster, &id),
            Some((
                UpdateState::RollbackStarted,
                "manually requested rollback".into()
            ))
        );
        cluster.pass(10 * SECOND);
        assert_eq!(
            state(&cluster, &id).unwrap().0,
            UpdateState::RollbackCompleted
        );
        let running = cluster.running(&id);
        assert_eq!(running[0].spec.container.image, expected);
    }
}
