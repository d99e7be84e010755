//! What a host's agent does for its manager: starts it again when it died, has it join and leave as the role demands.

use std::{sync::Arc, time::Duration};

use swarm_core::model::Role;
use swarm_manager_replica::Snapshots as _;

use crate::{
    cluster::{Cluster, Host, Wish},
    ground::{lock, sleep, spawn, within},
    manager::Process,
    network::HostId,
};

const TICK: Duration = Duration::from_millis(50);
/// How long a join may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(35);

/// Looks after the manager of a host.
pub(crate) async fn keep(cluster: Arc<Cluster>, host: HostId) {
    let mut joined = false;
    loop {
        sleep(TICK).await;
        if let Some(corpse) = cluster.corpse(host) {
            cluster.ground.trace(format_args!("dead {corpse:?}"));
            cluster.pause(host);
            bury(corpse);
        }
        if !cluster.may_start(host) {
            continue;
        }
        let this = cluster.host(host);
        let member = *lock(&this.member);
        let Some(member) = member else {
            joined = false;
            if (*lock(&this.wish)).is_some_and(|wish| wish.role == Role::Manager) {
                join(&cluster, this).await;
            }
            continue;
        };
        if cluster.process(host).is_none() {
            if let Err(error) = Process::start(&cluster, host, member).await {
                cluster
                    .ground
                    .trace(format_args!("host {host}: no start: {error}"));
            }
            continue;
        }
        let Some(wish) = *lock(&this.wish) else {
            continue;
        };
        joined |= wish.member == Some(member);
        match wish {
            Wish {
                role: Role::Worker,
                member: None,
            } => forget(&cluster, this),
            // Taken out and asked for again: under a new number.
            Wish { member: now, .. } if joined && now != Some(member) => forget(&cluster, this),
            Wish {
                role: Role::Manager,
                member: now,
            } if now != Some(member) => become_voter(&cluster, this, member).await,
            Wish { .. } => {}
        }
    }
}

/// Lets a dead process's tasks end.
fn bury(corpse: Arc<Process>) {
    spawn(async move {
        corpse.raft.stop().await;
    });
}

/// The manager leaves; nothing of it stays.
fn forget(cluster: &Arc<Cluster>, host: &Host) {
    cluster
        .ground
        .trace(format_args!("host {} forgets its manager", host.id));
    *lock(&host.member) = None;
    host.disk.wipe();
}

/// The leader, over the network, by way of any manager.
async fn find_leader(cluster: &Arc<Cluster>, host: HostId) -> Option<Arc<Process>> {
    let managers = cluster.managers();
    let first = *cluster.ground.pick(&managers)?;
    cluster.network.stream(host, first).await.ok()?;
    let leader = cluster.process(first)?.leader_host().await?;
    cluster.network.stream(first, host).await.ok()?;
    cluster.network.stream(host, leader).await.ok()?;
    cluster.process(leader)
}

/// Asks for a number and starts under it.
async fn join(cluster: &Arc<Cluster>, host: &Host) {
    let asked = async {
        let leader = find_leader(cluster, host.id).await?;
        let given = leader.join(host.id, 0).await.ok()?;
        cluster.network.stream(leader.host, host.id).await.ok()?;
        Some(given)
    };
    let Some((number, removed, index)) = within(JOIN_TIMEOUT, asked).await.flatten() else {
        sleep(cluster.ground.millis(100, 1000)).await;
        return;
    };
    host.disk.wipe();
    let noted = host.disk.open().note_removed(move || removed).await;
    if let Err(error) = noted {
        cluster
            .ground
            .trace(format_args!("host {}: no join: {error}", host.id));
        return;
    }
    lock(&cluster.history.inner).removals.knows(number, index);
    *lock(&host.member) = Some(number);
    if let Err(error) = Process::start(cluster, host.id, number).await {
        cluster
            .ground
            .trace(format_args!("host {}: no start: {error}", host.id));
        return;
    }
    become_voter(cluster, host, number).await;
}

/// Asks to be made a voter; repeated until the node object says so.
async fn become_voter(cluster: &Arc<Cluster>, host: &Host, number: u64) {
    let asked = async {
        let leader = find_leader(cluster, host.id).await?;
        let host_id = host.id;
        let joined = leader.join(host_id, number).await;
        if let Err(error) = &joined {
            cluster
                .ground
                .trace(format_args!("host {host_id} does not join: {error}"));
        }
        joined.ok()
    };
    if within(JOIN_TIMEOUT, asked).await.flatten().is_none() {
        sleep(cluster.ground.millis(100, 1000)).await;
    }
}
