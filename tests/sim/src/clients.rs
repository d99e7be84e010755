//! Operators: they create, scale, update, remove and read, from any host, and remember what they were told.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use swarm_core::model::{Availability, Role, ServiceMode};

use crate::{
    cluster::Cluster,
    ground::{lock, sleep},
    invariants::{acknowledged_writes_stay as promised, linearizable},
    requests::{Answer, Request, ask},
};

/// Time between two requests of one client, milliseconds.
const THINKS_MS: (u64, u64) = (20, 900);
const MOST_SERVICES: usize = 7;
const MOST_NETWORKS: usize = 4;
const MOST_REPLICAS: u64 = 4;

/// Names that are or may be in use.
#[derive(Debug, Default)]
pub(crate) struct Names {
    made: u64,
    services: BTreeSet<String>,
    networks: BTreeSet<String>,
}

/// One client; ends with the chaos.
pub(crate) async fn run(cluster: Arc<Cluster>, names: Arc<Mutex<Names>>) {
    while cluster.is_chaos() {
        sleep(cluster.ground.millis(THINKS_MS.0, THINKS_MS.1)).await;
        let request = choose(&cluster, &mut lock(&names));
        before(&cluster, &request);
        let floor = linearizable::begin(&lock(&cluster.history.inner));
        let from = cluster.ground.index(cluster.hosts.len());
        let answer = ask(&cluster, from, request.clone()).await;
        cluster.ground.trace(format_args!(
            "client on host {from} {request:?}: {}",
            match &answer {
                None => "no".to_owned(),
                Some(Answer::Read(index)) => format!("read {index}"),
                Some(Answer::Written(index, _)) => format!("written {index}"),
            }
        ));
        if let Some(answer) = answer {
            after(&cluster, &request, floor, &answer);
        }
    }
}

fn choose(cluster: &Cluster, names: &mut Names) -> Request {
    let ground = &cluster.ground;
    let services: Vec<String> = names.services.iter().cloned().collect();
    let networks: Vec<String> = names.networks.iter().cloned().collect();
    let service = ground.pick(&services).cloned();
    let network = ground.pick(&networks).cloned();
    match (ground.below(100), service, network) {
        (25..45, _, network) if services.len() < MOST_SERVICES => {
            names.made += 1;
            let name = format!("s{}", names.made);
            names.services.insert(name.clone());
            create(cluster, name, network)
        }
        (45..65, Some(name), _) => Request::Scale {
            name,
            replicas: ground.below(MOST_REPLICAS + 1),
        },
        (65..70, Some(name), _) => Request::SetImage {
            name,
            image: format!("nginx:{}", ground.below(9)),
        },
        (70..78, Some(name), _) => {
            names.services.remove(&name);
            Request::RemoveService { name }
        }
        (78..86, _, _) if networks.len() < MOST_NETWORKS => {
            names.made += 1;
            let name = format!("n{}", names.made);
            names.networks.insert(name.clone());
            Request::CreateNetwork { name }
        }
        (86..89, _, Some(name)) => Request::RemoveNetwork { name },
        (89..91, _, _) => Request::RotateToken {
            role: Role::Manager,
        },
        (91..96, _, _) => Request::SetAvailability {
            node: cluster.hosts[ground.index(cluster.hosts.len())]
                .node_id
                .clone(),
            availability: if ground.chance(400) {
                Availability::Drain
            } else {
                Availability::Active
            },
        },
        _ => Request::Read,
    }
}

fn create(cluster: &Cluster, name: String, network: Option<String>) -> Request {
    let ground = &cluster.ground;
    let replicas = ground.below(MOST_REPLICAS) + 1;
    let mode = if ground.chance(100) {
        ServiceMode::Global
    } else {
        ServiceMode::Replicated { replicas }
    };
    let port = match ground.below(10) {
        0..3 => Some(0),
        3..5 => Some(8000 + u16::try_from(ground.below(4)).unwrap_or(0)),
        _ => None,
    };
    Request::CreateService {
        name,
        mode,
        network: network.filter(|_| ground.chance(700)),
        port,
    }
}

fn before(cluster: &Cluster, request: &Request) {
    let acknowledged = &mut lock(&cluster.history.inner).acknowledged;
    match request {
        Request::RemoveService { name } | Request::RemoveNetwork { name } => {
            acknowledged.doomed(name);
        }
        Request::Scale { name, .. } => acknowledged.scaling(name),
        Request::Read
        | Request::CreateService { .. }
        | Request::SetImage { .. }
        | Request::CreateNetwork { .. }
        | Request::SetRole { .. }
        | Request::SetAvailability { .. }
        | Request::RotateToken { .. }
        | Request::RemoveNode { .. } => {}
    }
}

fn after(cluster: &Cluster, request: &Request, floor: u64, answer: &Answer) {
    let history = &mut *lock(&cluster.history.inner);
    let (index, transaction) = match answer {
        Answer::Read(index) => {
            let verdict = linearizable::read(history, floor, *index);
            history.judge(verdict);
            return;
        }
        Answer::Written(0, _) => return,
        Answer::Written(index, transaction) => (*index, transaction),
    };
    let verdict = linearizable::write(history, floor, index);
    history.judge(verdict);
    let verdict = promised::confirm(history, index, transaction);
    history.judge(verdict);
    let acknowledged = &mut history.acknowledged;
    match request {
        Request::CreateService { name, mode, .. } => {
            let replicas = match mode {
                ServiceMode::Replicated { replicas } => Some(*replicas),
                ServiceMode::Global => None,
            };
            acknowledged.created(name, replicas);
        }
        Request::CreateNetwork { name } => acknowledged.created(name, None),
        Request::RemoveService { name } | Request::RemoveNetwork { name } => {
            acknowledged.removed(name);
        }
        Request::Read
        | Request::Scale { .. }
        | Request::SetImage { .. }
        | Request::SetRole { .. }
        | Request::SetAvailability { .. }
        | Request::RotateToken { .. }
        | Request::RemoveNode { .. } => {}
    }
}
