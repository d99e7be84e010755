//! Breaks things, and mends them after a while.

use std::{sync::Arc, time::Duration};

use swarm_core::model::{Availability, Role};

use crate::{
    cluster::Cluster,
    ground::{sleep, spawn},
    network::HostId,
    raft::database::CrashPoint,
    requests::{Request, ask},
};

/// Between two faults, milliseconds.
const PAUSE_MS: (u64, u64) = (150, 2000);
/// How long a fault lasts, milliseconds.
const LASTS_MS: (u64, u64) = (200, 5000);
const MOST_MANAGERS: usize = 5;

/// Goes on until the chaos ends.
pub(crate) async fn run(cluster: Arc<Cluster>) {
    while cluster.is_chaos() {
        sleep(cluster.ground.millis(PAUSE_MS.0, PAUSE_MS.1)).await;
        one_fault(&cluster);
    }
}

fn one_fault(cluster: &Arc<Cluster>) {
    let ground = &cluster.ground;
    let lasts = ground.millis(LASTS_MS.0, LASTS_MS.1);
    let any = ground.index(cluster.hosts.len());
    let managers = cluster.managers();
    let Some(manager) = ground.pick(&managers).copied() else {
        return;
    };
    let leader = cluster.leader().map_or(manager, |leader| leader.host);
    match ground.below(24) {
        0 => kill(cluster, manager),
        1 | 2 => kill(cluster, leader),
        3 => kill_all(cluster, &managers),
        4 => power_off(cluster, any, lasts),
        5 => isolate(cluster, any, lasts),
        6 | 7 => isolate(cluster, leader, lasts),
        8 => one_way(cluster, leader, any, lasts),
        9 => one_way(cluster, any, leader, lasts),
        10 | 22 => split(cluster, lasts),
        11 | 21 => bad_network(cluster, lasts),
        12 => slow_disk(cluster, manager, lasts),
        13 => crash_point(cluster, manager, CrashPoint::AfterVote),
        14 => crash_point(cluster, manager, CrashPoint::AfterAppend),
        15 | 20 => hand_over(cluster),
        16 if managers.len() < MOST_MANAGERS => set_role(cluster, any, Role::Manager),
        16 | 17 => set_role(cluster, manager, Role::Worker),
        18 | 19 => set_role(cluster, any, Role::Manager),
        _ => kill_during_election(cluster, leader, &managers),
    }
}

fn kill(cluster: &Arc<Cluster>, host: HostId) {
    cluster
        .ground
        .trace(format_args!("FAULT kill manager of host {host}"));
    cluster.kill(host);
}

fn kill_all(cluster: &Arc<Cluster>, managers: &[HostId]) {
    cluster
        .ground
        .trace(format_args!("FAULT kill all managers {managers:?}"));
    for host in managers {
        cluster.kill(*host);
    }
}

/// The leader is cut off, and who gives a vote dies right after.
fn kill_during_election(cluster: &Arc<Cluster>, leader: HostId, managers: &[HostId]) {
    cluster.ground.trace(format_args!(
        "FAULT kill {leader} and each other after its vote"
    ));
    cluster.kill(leader);
    for host in managers.iter().filter(|host| **host != leader) {
        let (cluster, host) = (Arc::clone(cluster), *host);
        spawn(async move {
            sleep(cluster.ground.millis(250, 1200)).await;
            cluster.kill_for(host, cluster.ground.millis(1, 60));
        });
    }
}

fn power_off(cluster: &Arc<Cluster>, host: HostId, lasts: Duration) {
    cluster
        .ground
        .trace(format_args!("FAULT power off host {host} for {lasts:?}"));
    cluster.power(host, false);
    let cluster = Arc::clone(cluster);
    spawn(async move {
        sleep(lasts).await;
        cluster.power(host, true);
    });
}

/// Takes the cuts away after a while. Cuts do not add up: what comes last heals all.
fn join_later(cluster: &Arc<Cluster>, lasts: Duration) {
    let cluster = Arc::clone(cluster);
    spawn(async move {
        sleep(lasts).await;
        cluster.ground.trace(format_args!("mended: cuts"));
        cluster.network.join();
    });
}

fn isolate(cluster: &Arc<Cluster>, host: HostId, lasts: Duration) {
    cluster
        .ground
        .trace(format_args!("FAULT isolate host {host} for {lasts:?}"));
    for other in 0..cluster.hosts.len() {
        cluster.network.cut(host, other);
        cluster.network.cut(other, host);
    }
    join_later(cluster, lasts);
}

fn one_way(cluster: &Arc<Cluster>, from: HostId, to: HostId, lasts: Duration) {
    cluster
        .ground
        .trace(format_args!("FAULT cut from {from} to {to} for {lasts:?}"));
    cluster.network.cut(from, to);
    join_later(cluster, lasts);
}

fn split(cluster: &Arc<Cluster>, lasts: Duration) {
    let hosts = cluster.hosts.len();
    let side: Vec<bool> = (0..hosts).map(|_| cluster.ground.chance(500)).collect();
    cluster
        .ground
        .trace(format_args!("FAULT split {side:?} for {lasts:?}"));
    for from in 0..hosts {
        for to in 0..hosts {
            if side.get(from) != side.get(to) {
                cluster.network.cut(from, to);
            }
        }
    }
    join_later(cluster, lasts);
}

fn bad_network(cluster: &Arc<Cluster>, lasts: Duration) {
    let ground = &cluster.ground;
    let (lost, copied) = (ground.below(250), ground.below(250));
    let delay_ms = 2 + ground.below(150);
    ground.trace(format_args!(
        "FAULT bad network {lost} {copied} {delay_ms} for {lasts:?}"
    ));
    cluster.network.set_bad(lost, copied, delay_ms);
    let cluster = Arc::clone(cluster);
    spawn(async move {
        sleep(lasts).await;
        cluster.network.set_bad(0, 0, 2);
    });
}

fn slow_disk(cluster: &Arc<Cluster>, host: HostId, lasts: Duration) {
    let factor = 10 + u32::try_from(cluster.ground.below(300)).unwrap_or(0);
    cluster.ground.trace(format_args!(
        "FAULT disk of {host} {factor} times slower for {lasts:?}"
    ));
    cluster.host(host).disk.set_slow(factor);
    let cluster = Arc::clone(cluster);
    spawn(async move {
        sleep(lasts).await;
        cluster.host(host).disk.set_slow(1);
    });
}

fn crash_point(cluster: &Arc<Cluster>, host: HostId, point: CrashPoint) {
    cluster
        .ground
        .trace(format_args!("FAULT host {host} will die {point:?}"));
    cluster.host(host).disk.set_crash_point(Some(point));
}

fn hand_over(cluster: &Arc<Cluster>) {
    let Some(leader) = cluster.leader() else {
        return;
    };
    spawn(async move {
        leader.hand_over().await;
    });
}

fn set_role(cluster: &Arc<Cluster>, host: HostId, role: Role) {
    let cluster = Arc::clone(cluster);
    spawn(async move {
        let node = cluster.host(host).node_id.clone();
        let answer = ask(&cluster, host, Request::SetRole { node, role }).await;
        let done = answer.is_some();
        cluster
            .ground
            .trace(format_args!("role of host {host} {role:?}: {done}"));
    });
}

/// Takes every fault away.
pub(crate) fn mend_everything(cluster: &Arc<Cluster>) {
    cluster.ground.trace(format_args!("everything is mended"));
    cluster.network.heal();
    for host in &cluster.hosts {
        host.disk.set_slow(1);
        host.disk.set_crash_point(None);
        cluster.power(host.id, true);
    }
}

/// The operator gives every node its tasks back.
pub(crate) async fn activate_everything(cluster: &Arc<Cluster>) {
    for host in &cluster.hosts {
        loop {
            let request = Request::SetAvailability {
                node: host.node_id.clone(),
                availability: Availability::Active,
            };
            if ask(cluster, host.id, request).await.is_some() {
                break;
            }
            if cluster.history.violation().is_some() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}
