//! Whole outcomes of the orchestrators, driven through the leader: every test compares the complete table of tasks.

mod barrier;
mod rollback;

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use crate::{
    control,
    id::{NodeId, ServiceId},
    model::{
        Availability, FailureAction, RestartCondition, RestartPolicy, ServiceMode, TaskState,
        UpdateConfig, UpdateOrder, UpdateState,
    },
    orchestrator::ENFORCED,
    testing::{Cluster, attach, id, service_spec},
};

const SECOND: Duration = Duration::from_secs(1);

fn started(nodes: &[&str], replicas: u64) -> (Cluster, ServiceId) {
    let mut cluster = Cluster::new(nodes);
    let id = cluster.create(service_spec("web", replicas)).unwrap();
    cluster.run();
    (cluster, id)
}

fn set_replicas(cluster: &mut Cluster, id: &ServiceId, replicas: u64) {
    cluster.update(id, |spec| spec.mode = ServiceMode::Replicated { replicas });
}

#[test]
fn replicas_are_created_spread_and_run() {
    let (cluster, id) = started(&["n1", "n2", "n3"], 4);
    let table = cluster.table(&id);
    assert_eq!(table.len(), 4);
    let mut nodes: Vec<&str> = table.iter().map(|line| &line[2..4]).collect();
    nodes.sort_unstable();
    assert_eq!(
        nodes.iter().filter(|node| **node == "n1").count() + 2,
        nodes.len()
    );
    nodes.dedup();
    assert_eq!(nodes, ["n1", "n2", "n3"]);
    assert!(
        table
            .iter()
            .all(|line| line.ends_with("running/running v1"))
    );
}

#[test]
fn scaling_up_takes_the_lowest_free_numbers_and_down_prefers_crowded_nodes() {
    let (mut cluster, id) = started(&["n1", "n2"], 3);
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 running/running v1",
            "2 n2 running/running v1",
            "3 n1 running/running v1"
        ]
    );
    set_replicas(&mut cluster, &id, 2);
    cluster.run();
    assert_eq!(
        cluster.table(&id),
        ["1 n1 running/running v1", "2 n2 running/running v1"]
    );
    set_replicas(&mut cluster, &id, 4);
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 running/running v1",
            "2 n2 running/running v1",
            "3 n1 assigned/running v3",
            "4 n2 assigned/running v3"
        ]
    );
    set_replicas(&mut cluster, &id, 0);
    cluster.run();
    assert!(cluster.table(&id).is_empty());
}

#[test]
fn scaling_up_and_down_replaces_nothing_and_shows_no_update() {
    let (mut cluster, id) = started(&["n1"], 1);
    set_replicas(&mut cluster, &id, 2);
    cluster.run();
    assert_eq!(cluster.service(&id).update_status, None);
    assert_eq!(
        cluster.table(&id),
        ["1 n1 running/running v1", "2 n1 running/running v2"]
    );
}

/// A task ends; its replacement is prepared at once and starts after the delay.
#[test]
fn a_failed_task_is_replaced_after_the_restart_delay() {
    let (mut cluster, id) = started(&["n1"], 1);
    let failed = cluster.running(&id)[0].id.clone();
    cluster.report(&failed, TaskState::Failed, "task: non-zero exit (1)");
    cluster.run();
    let waiting = ["1 n1 failed/shutdown v1", "1 n1 ready/ready v1"];
    assert_eq!(cluster.table(&id), waiting);
    cluster.pass(Duration::from_millis(4500));
    assert_eq!(cluster.table(&id), waiting);
    cluster.pass(Duration::from_millis(500));
    assert_eq!(
        cluster.table(&id),
        ["1 n1 failed/shutdown v1", "1 n1 running/running v1"]
    );
}

#[test]
fn restart_conditions_decide_about_replacements() {
    use RestartCondition as C;
    for (condition, state, replaced) in [
        (C::Any, TaskState::Complete, true),
        (C::Any, TaskState::Failed, true),
        (C::OnFailure, TaskState::Complete, false),
        (C::OnFailure, TaskState::Failed, true),
        (C::OnFailure, TaskState::Rejected, true),
        (C::None, TaskState::Failed, false),
        (C::None, TaskState::Complete, false),
    ] {
        let mut cluster = Cluster::new(&["n1"]);
        let mut spec = service_spec("web", 1);
        spec.task.restart = Some(RestartPolicy {
            condition,
            ..RestartPolicy::default()
        });
        let id = cluster.create(spec).unwrap();
        cluster.run();
        let task = cluster.running(&id)[0].id.clone();
        cluster.report(&task, state, "");
        cluster.pass(6 * SECOND);
        assert_eq!(
            cluster.running(&id).len() == 1,
            replaced,
            "{condition:?} {state:?}"
        );
        assert_eq!(cluster.table(&id).len(), if replaced { 2 } else { 1 });
    }
}

fn fail_running(cluster: &mut Cluster, id: &ServiceId) -> bool {
    let running = cluster.running(id).first().map(|task| task.id.clone());
    if let Some(task) = &running {
        cluster.report(task, TaskState::Failed, "");
    }
    cluster.pass(2 * SECOND);
    running.is_some()
}

#[test]
fn attempts_are_limited_and_a_window_forgets_them() {
    for (window, expected) in [(0, 3), (600, 3), (3, 10)] {
        let mut cluster = Cluster::new(&["n1"]);
        let mut spec = service_spec("web", 1);
        spec.task.restart = Some(RestartPolicy {
            delay: SECOND,
            max_attempts: 2,
            window: Duration::from_secs(window),
            ..RestartPolicy::default()
        });
        let id = cluster.create(spec).unwrap();
        cluster.run();
        let failures = (0..10).filter(|_| fail_running(&mut cluster, &id)).count();
        assert_eq!(failures, expected, "window {window}");
    }
}

#[test]
fn only_so_many_dead_tasks_are_kept() {
    let (mut cluster, id) = started(&["n1"], 1);
    for _ in 0..9 {
        let task = cluster.running(&id)[0].id.clone();
        cluster.report(&task, TaskState::Failed, "");
        cluster.pass(6 * SECOND);
    }
    let dead = String::from("1 n1 failed/shutdown v1");
    let mut expected = alloc::vec![dead; 4];
    expected.push(String::from("1 n1 running/running v1"));
    assert_eq!(cluster.table(&id), expected);
}

/// A node is silent: it is down within three seconds, and its task is placed elsewhere in the same breath.
#[test]
fn a_lost_node_loses_its_tasks_without_a_delay() {
    let (mut cluster, id) = started(&["n1", "n2"], 2);
    cluster.silent.push(self::id::<NodeId>("n2"));
    cluster.pass(3 * SECOND);
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 running/running v1",
            "2 n2 running/shutdown v1",
            "2 n1 running/running v1"
        ]
    );
    // It comes back: its old task is told to stop, nothing moves back.
    cluster.register("n2");
    cluster.run();
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 running/running v1",
            "2 n2 shutdown/shutdown v1",
            "2 n1 running/running v1"
        ]
    );
}

#[test]
fn draining_a_node_moves_its_tasks_and_activating_it_moves_nothing_back() {
    let (mut cluster, id) = started(&["n1", "n2"], 2);
    cluster.edit_node("n2", |node| node.spec.availability = Availability::Drain);
    cluster.run();
    let moved = [
        "1 n1 running/running v1",
        "2 n2 shutdown/shutdown v1",
        "2 n1 running/running v1",
    ];
    assert_eq!(cluster.table(&id), moved);
    cluster.edit_node("n2", |node| node.spec.availability = Availability::Active);
    cluster.run();
    assert_eq!(cluster.table(&id), moved);
}

#[test]
fn a_task_whose_node_stops_to_fit_is_rejected_and_moved() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    for name in ["n1", "n2"] {
        cluster.edit_node(name, |node| {
            let labels = &mut node.spec.annotations.labels;
            labels.insert("disk".into(), "ssd".into());
        });
    }
    let mut spec = service_spec("web", 1);
    spec.task.placement.constraints = ["node.labels.disk==ssd".into()].into();
    let id = cluster.create(spec).unwrap();
    cluster.run();
    assert_eq!(cluster.table(&id), ["1 n1 running/running v1"]);
    cluster.edit_node("n1", |node| node.spec.annotations.labels.clear());
    cluster.run();
    assert_eq!(
        cluster.table(&id),
        ["1 n1 rejected/shutdown v1", "1 n2 running/running v1"]
    );
    let rejected = cluster.store.tasks_of_service(&id);
    let errors: Vec<_> = rejected.map(|task| task.status.err.clone()).collect();
    assert!(errors.contains(&ENFORCED.into()));
}

#[test]
fn a_global_service_follows_the_nodes() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"]);
    let mut spec = service_spec("agent", 1);
    spec.mode = ServiceMode::Global;
    spec.task.placement.constraints = ["node.hostname!=n3".into()].into();
    let id = cluster.create(spec).unwrap();
    cluster.run();
    let on = |cluster: &Cluster| -> Vec<String> {
        let running = cluster.running(&id);
        running
            .iter()
            .map(|task| task.node.short()[..2].into())
            .collect()
    };
    assert_eq!(on(&cluster), ["n1", "n2"]);
    cluster.edit_node("n2", |node| node.spec.availability = Availability::Drain);
    cluster.run();
    assert_eq!(on(&cluster), ["n1"]);
    cluster.edit_node("n2", |node| node.spec.availability = Availability::Active);
    cluster.run();
    assert_eq!(on(&cluster), ["n1", "n2"]);
    // A paused node keeps its task and gets no replacement.
    cluster.edit_node("n1", |node| node.spec.availability = Availability::Pause);
    cluster.run();
    assert_eq!(on(&cluster), ["n1", "n2"]);
    let task = cluster.running(&id)[0].id.clone();
    cluster.report(&task, TaskState::Failed, "");
    cluster.pass(6 * SECOND);
    assert_eq!(on(&cluster), ["n2"]);
    cluster.edit_node("n1", |node| node.spec.availability = Availability::Active);
    cluster.run();
    assert_eq!(on(&cluster), ["n1", "n2"]);
}

fn update_with(cluster: &mut Cluster, id: &ServiceId, config: UpdateConfig) {
    cluster.update(id, |spec| {
        spec.task.container.image = "nginx:2".into();
        spec.update = Some(config);
    });
}

fn state(cluster: &Cluster, id: &ServiceId) -> Option<(UpdateState, String)> {
    let status = cluster.service(id).update_status.as_ref()?;
    Some((status.state, status.message.clone()))
}

#[test]
fn stop_first_replaces_one_slot_after_the_other() {
    let (mut cluster, id) = started(&["n1", "n2"], 2);
    update_with(
        &mut cluster,
        &id,
        UpdateConfig {
            delay: 2 * SECOND,
            ..UpdateConfig::default()
        },
    );
    assert_eq!(
        state(&cluster, &id),
        Some((UpdateState::Updating, "update in progress".into()))
    );
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 running/shutdown v1",
            "1 n1 assigned/ready v2",
            "2 n2 running/running v1"
        ]
    );
    cluster.run();
    let first_done = [
        "1 n1 shutdown/shutdown v1",
        "1 n1 running/running v2",
        "2 n2 running/running v1",
    ];
    assert_eq!(cluster.table(&id), first_done);
    cluster.pass(SECOND);
    assert_eq!(cluster.table(&id), first_done, "the delay lasts");
    cluster.pass(SECOND);
    assert_eq!(
        cluster.table(&id),
        [
            "1 n1 shutdown/shutdown v1",
            "1 n1 running/running v2",
            "2 n2 shutdown/shutdown v1",
            "2 n2 running/running v2"
        ]
    );
    assert_eq!(
        state(&cluster, &id).unwrap().0,
        UpdateState::Updating,
        "still watched"
    );
    cluster.pass(5 * SECOND);
    assert_eq!(
        state(&cluster, &id),
        Some((UpdateState::Completed, "update completed".into()))
    );
}

#[test]
fn start_first_keeps_the_old_task_until_the_new_one_runs() {
    let (mut cluster, id) = started(&["n1"], 1);
    let config = UpdateConfig {
        order: UpdateOrder::StartFirst,
        ..UpdateConfig::default()
    };
    update_with(&mut cluster, &id, config);
    assert_eq!(
        cluster.table(&id),
        ["1 n1 running/running v1", "1 n1 assigned/running v2"]
    );
    cluster.run();
    assert_eq!(
        cluster.table(&id),
        ["1 n1 shutdown/shutdown v1", "1 n1 running/running v2"]
    );
}

#[test]
fn parallelism_limits_the_slots_on_the_move() {
    let (mut cluster, id) = started(&["n1"], 5);
    let config = UpdateConfig {
        parallelism: 2,
        ..UpdateConfig::default()
    };
    update_with(&mut cluster, &id, config);
    let moving = cluster
        .table(&id)
        .iter()
        .filter(|line| line.ends_with("v2"))
        .count();
    assert_eq!(moving, 2);
    cluster.pass(10 * SECOND);
    assert_eq!(state(&cluster, &id).unwrap().0, UpdateState::Completed);
    assert!(
        cluster
            .running(&id)
            .iter()
            .all(|task| task.spec_version == 2)
    );
    assert_eq!(cluster.running(&id).len(), 5);
}

/// The first new task fails right after its start.
fn failing_update(action: FailureAction) -> (Cluster, ServiceId) {
    let (mut cluster, id) = started(&["n1"], 2);
    let config = UpdateConfig {
        failure_action: action,
        delay: 10 * SECOND,
        ..UpdateConfig::default()
    };
    update_with(&mut cluster, &id, config);
    cluster.run();
    let new = cluster
        .running(&id)
        .into_iter()
        .find(|task| task.spec_version == 2);
    let new = new.unwrap().id.clone();
    cluster.now = cluster.now + SECOND;
    cluster.report(&new, TaskState::Failed, "");
    cluster.settle();
    (cluster, id)
}

#[test]
fn a_failing_update_pauses_and_a_new_one_resumes() {
    let (mut cluster, id) = failing_update(FailureAction::Pause);
    let (state_now, message) = state(&cluster, &id).unwrap();
    assert_eq!(state_now, UpdateState::Paused);
    assert!(message.starts_with("update paused due to failure or early termination of task "));
    cluster.pass(20 * SECOND);
    let old = cluster
        .running(&id)
        .iter()
        .filter(|task| task.spec_version == 1)
        .count();
    assert_eq!(old, 1, "nothing more is replaced");
    cluster.update(&id, |spec| spec.task.container.image = "nginx:3".into());
    cluster.pass(30 * SECOND);
    assert_eq!(state(&cluster, &id).unwrap().0, UpdateState::Completed);
    assert!(
        cluster
            .running(&id)
            .iter()
            .all(|task| task.spec_version == 3)
    );
}

#[test]
fn a_failing_update_goes_on_if_so_asked() {
    let (mut cluster, id) = failing_update(FailureAction::Continue);
    cluster.pass(30 * SECOND);
    assert_eq!(state(&cluster, &id).unwrap().0, UpdateState::Completed);
    assert!(
        cluster
            .running(&id)
            .iter()
            .all(|task| task.spec_version == 2)
    );
}

/// An image that never starts, start-first: the old tasks stay, the new ones are not retried in a hurry.
#[test]
fn a_hopeless_start_first_update_keeps_the_old_tasks() {
    for action in [FailureAction::Pause, FailureAction::Continue] {
        let (mut cluster, id) = started(&["n1"], 2);
        let config = UpdateConfig {
            order: UpdateOrder::StartFirst,
            failure_action: action,
            ..UpdateConfig::default()
        };
        update_with(&mut cluster, &id, config);
        for _ in 0..20 {
            let new = cluster.store.tasks_of_service(&id).find(|task| {
                task.spec_version == 2
                    && task.status.state == TaskState::Assigned
                    && task.desired_state == TaskState::Running
            });
            if let Some(new) = new.map(|task| task.id.clone()) {
                cluster.report(&new, TaskState::Rejected, "No such image");
            }
            cluster.settle();
            cluster.now = cluster.now + SECOND;
            cluster.leader.heartbeat(
                &cluster.store,
                &self::id("n1"),
                &crate::leader::SessionId("n1".into()),
                cluster.now,
            );
        }
        assert_eq!(cluster.running(&id).len(), 2, "{action:?}");
        let tries = cluster.store.tasks_of_service(&id).count() - 2;
        assert!(
            (1..=6).contains(&tries),
            "{action:?}: {tries} tries in 20 s"
        );
    }
}
