//! One run: a cluster is set up, lives through faults, is mended, and must come to rest.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use openraft::{AsyncRuntime as _, async_runtime::watch::WatchReceiver as _};
use openraft_rt_sim::SimRuntime;
use swarm_core::{
    control::{self, InitRequest, NewNode},
    id::NodeId,
    model::{Availability, ClusterSpec, Role},
    store::Transaction,
};

use crate::{
    clients,
    cluster::{Cluster, Host},
    ground::{Dice, Ground, Sabotage, elapsed, lock, sleep, spawn},
    invariants::{acknowledged_writes_stay, allocated_is_live, same_state, services_run},
    keeper,
    manager::Process,
    nemesis, outcasts, session,
};

/// Hosts, at least and at most.
const HOSTS: (u64, u64) = (4, 6);
const CLIENTS: usize = 3;
/// Nodes that are removed while faults happen.
const OUTCASTS: usize = 2;
/// How long faults go on, milliseconds.
const CHAOS_MS: (u64, u64) = (7_000, 16_000);
/// How long the cluster may take to come to rest.
const REST_TIMEOUT: Duration = Duration::from_mins(4);
/// Without a committed entry for so long, it is at rest.
const QUIET: Duration = Duration::from_secs(4);
const SETUP_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(250);

/// So small that snapshots happen.
const SNAPSHOT_INTERVAL: u64 = 60;
const KEEP_ENTRIES: u64 = 20;

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// A fault put in by hand.
    pub sabotage: Option<Sabotage>,
    /// Whether the lines of the trace are kept.
    pub keep_trace: bool,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The first invariant that broke.
    pub violation: Option<String>,
    /// Events, and the SHA-256 of all of them.
    pub events: u64,
    /// See `events`.
    pub digest: String,
    /// The events, if they were to be kept.
    pub trace: Vec<String>,
    /// Committed entries.
    pub committed: u64,
    /// Operations of clients that were confirmed: writes, reads.
    pub confirmed: (u64, u64),
    /// Leaders there have been.
    pub leaders: usize,
    /// Virtual time.
    pub lasted: Duration,
}

/// Runs a cluster through the faults of a seed.
pub fn run(options: Options) -> Outcome {
    let ground = Ground::new(options.seed, options.sabotage, options.keep_trace);
    let mut runtime = SimRuntime::with_seed(options.seed);
    let hosts = HOSTS.0 + ground.below(HOSTS.1 - HOSTS.0 + 1);
    let cluster = Cluster::new(ground, usize::try_from(hosts).unwrap_or(4));
    let lasted = runtime.block_on(async {
        if let Err(problem) = whole_life(&cluster).await {
            lock(&cluster.history.inner).judge(Err(problem));
        }
        elapsed()
    });
    let (events, digest, trace) = cluster.ground.finish_trace();
    let history = lock(&cluster.history.inner);
    let outcome = Outcome {
        violation: None,
        events,
        digest,
        trace,
        committed: history.entries.len() as u64,
        confirmed: (history.order.writes, history.order.reads),
        leaders: history.leaders.count(),
        lasted,
    };
    drop(history);
    let violation = cluster.history.violation();
    cluster.take_apart();
    Outcome {
        violation,
        ..outcome
    }
}

async fn whole_life(cluster: &Arc<Cluster>) -> Result<(), String> {
    let outcasts = set_up(cluster).await?;
    let names = Arc::new(Mutex::default());
    cluster.chaos.store(true, Ordering::Relaxed);
    for _ in 0..CLIENTS {
        spawn(clients::run(Arc::clone(cluster), Arc::clone(&names)));
    }
    spawn(nemesis::run(Arc::clone(cluster)));
    for node in outcasts {
        spawn(outcasts::live(Arc::clone(cluster), node));
    }
    let end = elapsed() + cluster.ground.millis(CHAOS_MS.0, CHAOS_MS.1);
    while elapsed() < end && cluster.history.violation().is_none() {
        sleep(POLL).await;
    }
    cluster.chaos.store(false, Ordering::Relaxed);
    if cluster.history.violation().is_some() {
        return Ok(());
    }
    // Faults that were under way end by themselves; then everything is mended for good.
    sleep(Duration::from_secs(6)).await;
    nemesis::mend_everything(cluster);
    let give_up = elapsed() + REST_TIMEOUT;
    let activated = Arc::clone(cluster);
    spawn(async move { nemesis::activate_everything(&activated).await });
    let mut last = (0, elapsed());
    loop {
        sleep(POLL).await;
        if cluster.history.violation().is_some() {
            return Ok(());
        }
        let committed = lock(&cluster.history.inner).entries.len();
        if committed != last.0 {
            last = (committed, elapsed());
        }
        let quiet = elapsed() >= last.1 + QUIET;
        if !quiet && elapsed() < give_up {
            continue;
        }
        match at_rest(cluster) {
            Ok(()) if quiet => return at_end(cluster),
            Ok(()) => return Err("the managers never stop writing".to_owned()),
            Err(problem) if elapsed() >= give_up => {
                return Err(format!("no rest after {REST_TIMEOUT:?}: {problem}"));
            }
            Err(_) => {}
        }
    }
}

/// The first manager makes the cluster, the other nodes join, two to four of them as managers. Gives the nodes that have no host.
async fn set_up(cluster: &Arc<Cluster>) -> Result<Vec<NodeId>, String> {
    let first = cluster.host(0);
    let raft_id = cluster.ground.below(1 << 48) + 1;
    *lock(&first.member) = Some(raft_id);
    let process = Process::start(cluster, 0, raft_id).await?;
    let made = process.raft.initialize().await;
    made.map_err(|error| error.to_string())?;
    until(cluster, "the first election", || process.leads().is_some()).await?;
    propose(&process, first_transaction(cluster, first, raft_id)?).await?;
    let managers = 2 + cluster.ground.below(3);
    for host in cluster.hosts.iter().skip(1) {
        let node = NewNode {
            id: host.node_id.clone(),
            role: if (host.id as u64) <= managers {
                Role::Manager
            } else {
                Role::Worker
            },
            availability: Availability::Active,
            addr: Some(host.addr()),
            manager: None,
        };
        let joins = control::add_node(&process.store().read(), node, host.now());
        propose(&process, joins.map_err(|error| error.to_string())?).await?;
    }
    for host in 0..cluster.hosts.len() {
        spawn(keeper::keep(Arc::clone(cluster), host));
        spawn(session::work(Arc::clone(cluster), host));
        spawn(session::talk(Arc::clone(cluster), host));
    }
    until(cluster, "set-up", || at_rest(cluster).is_ok()).await?;
    add_outcasts(cluster).await
}

/// Nodes without a host: there is no rest until they are gone.
async fn add_outcasts(cluster: &Arc<Cluster>) -> Result<Vec<NodeId>, String> {
    let leader = cluster.leader().ok_or("nobody leads")?;
    let mut outcasts = Vec::new();
    for _ in 0..OUTCASTS {
        let node = NewNode {
            id: NodeId::random(&mut Dice(&cluster.ground)),
            role: Role::Worker,
            availability: Availability::Active,
            addr: None,
            manager: None,
        };
        outcasts.push(node.id.clone());
        let now = cluster.host(leader.host).now();
        let joins = control::add_node(&leader.store().read(), node, now);
        propose(&leader, joins.map_err(|error| error.to_string())?).await?;
    }
    Ok(outcasts)
}

async fn propose(process: &Process, transaction: Transaction) -> Result<(), String> {
    let outcome = process.raft.propose(transaction).await;
    outcome.map_err(|error| error.to_string())
}

async fn until(cluster: &Cluster, what: &str, condition: impl Fn() -> bool) -> Result<(), String> {
    let give_up = elapsed() + SETUP_TIMEOUT;
    while !condition() {
        if elapsed() >= give_up || cluster.history.violation().is_some() {
            return Err(format!("{what} takes too long"));
        }
        sleep(POLL).await;
    }
    Ok(())
}

fn first_transaction(cluster: &Cluster, host: &Host, raft_id: u64) -> Result<Transaction, String> {
    let request = InitRequest {
        spec: ClusterSpec {
            snapshot_interval: SNAPSHOT_INTERVAL,
            log_entries_for_slow_followers: KEEP_ENTRIES,
            ..ClusterSpec::default()
        },
        default_address_pools: Vec::new(),
        subnet_size: 24,
        data_path_port: 4789,
        root_cert_pem: "the certificate of the root".to_owned(),
        root_key_pem: "the private key of the root".to_owned(),
        root_cert_digest: "ab".repeat(32),
        root_issuer: swarm_core::model::CertificateIssuer::default(),
        node: NewNode {
            id: host.node_id.clone(),
            role: Role::Manager,
            availability: Availability::Active,
            addr: Some(host.addr()),
            manager: Some((raft_id, host.manager_addr())),
        },
    };
    control::bootstrap(request, host.now(), &mut Dice(&cluster.ground))
        .map_err(|error| error.to_string())
}

/// Whether every member has the same state, is a member as the nodes' roles say, and every service runs.
fn at_rest(cluster: &Arc<Cluster>) -> Result<(), String> {
    let leader = cluster.leader().ok_or("nobody leads")?;
    let store = leader.store().read().clone();
    let wanted: BTreeSet<_> = store
        .nodes()
        .filter(|node| node.spec.role == Role::Manager)
        .map(|node| node.id.to_string())
        .collect();
    let voters = leader.raft.voters();
    let found: BTreeSet<_> = voters
        .values()
        .map(|member| member.node_id.clone())
        .collect();
    if wanted != found || voters.len() != found.len() {
        return Err(format!(
            "managers are to be {wanted:?}, members are {voters:?}"
        ));
    }
    let applied = lock(&cluster.history.inner).entries.len() as u64;
    for (id, member) in &voters {
        let process = cluster
            .host_at(member)
            .and_then(|host| cluster.process(host));
        let process = process.filter(|process| process.raft_id == *id);
        let process = process.ok_or_else(|| format!("member {id} does not run"))?;
        let metrics = process.raft.raft().metrics().borrow_watched().clone();
        let index = metrics.last_applied.map_or(0, |log| log.index);
        if index + 1 != applied {
            return Err(format!(
                "member {id} has applied {index} of {applied} entries"
            ));
        }
    }
    let running = cluster.managers().len();
    if running != voters.len() {
        return Err(format!(
            "{running} managers run, {} are members",
            voters.len()
        ));
    }
    services_run::check(&store, |node| cluster.runs(node))
}

/// What must hold at the end, on every member.
fn at_end(cluster: &Arc<Cluster>) -> Result<(), String> {
    let history = &mut *lock(&cluster.history.inner);
    for host in cluster.managers() {
        let Some(process) = cluster.process(host) else {
            continue;
        };
        let store = process.store().read();
        same_state::check_whole(history, process.raft_id, &store)?;
        allocated_is_live::check(&store)?;
        acknowledged_writes_stay::check_end(history, &store)?;
    }
    Ok(())
}
