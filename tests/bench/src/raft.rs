//! Committed writes per second and their latency: three managers that sync, with 1 and 64 clients at one of them, beside a
//! loop that only writes and syncs on the same disk.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use swarm_core::{id::NodeId, model::Node};
use swarm_proto::client::ControlClient;

use crate::{
    managers::Managers,
    table::{Peer, Row, Wanted, median},
};

/// How long each measurement of a round takes.
const ROUND: Duration = Duration::from_secs(2);
/// Clients of the second measurement.
const MANY: usize = 64;
/// What the loop writes before each sync: about a sealed entry.
const BLOCK: [u8; 1024] = [0x5a; 1024];

/// One measurement of one round.
#[derive(Debug, Clone, Copy)]
struct Sample {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    fn new(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            let time = times.get(rank - 1).copied().unwrap_or_default();
            time.as_secs_f64() * 1000.0
        };
        Self {
            per_second: times.len() as f64 / took.as_secs_f64(),
            p50_ms: at(50),
            p99_ms: at(99),
        }
    }
}

/// Rounds of all three, interleaved.
pub(crate) fn measure(binary: &Path, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let managers = Managers::start(binary)?;
    let nodes = managers.outside().run(|| {
        let alone = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        alone.block_on(nodes_of(&managers, MANY))
    })?;
    let control = {
        let _inside = runtime.enter();
        managers.all[0].control()
    };
    let (mut loops, mut ones, mut manys) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        loops.push(sync_loop()?);
        ones.push(runtime.block_on(writers(&control, &nodes[..1]))?);
        manys.push(runtime.block_on(writers(&control, &nodes))?);
    }
    Ok(rows(&loops, &ones, &manys))
}

async fn nodes_of(managers: &Managers, count: usize) -> anyhow::Result<Vec<NodeId>> {
    managers.form().await?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(managers.worker().await?.this_node().node_id);
    }
    Ok(nodes)
}

/// Writes and syncs one block after the other.
fn sync_loop() -> anyhow::Result<Sample> {
    let path = std::env::temp_dir().join(format!("swarm-sync-{}", std::process::id()));
    let mut file = File::create(&path).with_context(|| path.display().to_string())?;
    file.set_len(1 << 20)?;
    file.sync_all()?;
    let (began, mut times) = (Instant::now(), Vec::new());
    let mut position = 0;
    while began.elapsed() < ROUND {
        let start = Instant::now();
        file.seek(SeekFrom::Start(position))?;
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(start.elapsed());
        position = (position + 4096) % (1 << 20);
    }
    let took = began.elapsed();
    std::fs::remove_file(&path)?;
    Ok(Sample::new(times, took))
}

/// One client per node, each changing a label of its own node as fast as it is confirmed.
async fn writers(control: &ControlClient, nodes: &[NodeId]) -> anyhow::Result<Sample> {
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for node in nodes {
        clients.spawn(writer(control.clone(), node.clone(), began + ROUND));
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client??);
    }
    Ok(Sample::new(times, began.elapsed()))
}

async fn writer(
    control: ControlClient,
    id: NodeId,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut node: Node = control.node(id.as_str()).await?;
    let mut times = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        let mut spec = node.spec.clone();
        let count = times.len().to_string();
        spec.annotations.labels.insert("count".to_owned(), count);
        match control.update_node(&id, node.meta.version, &spec).await {
            Ok(updated) => {
                node = updated;
                times.push(start.elapsed());
            }
            // The leader wrote the node's state in between.
            Err(stale) if stale.message == "update out of sequence" => {
                node = control.node(id.as_str()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(times)
}

fn rows(loops: &[Sample], ones: &[Sample], manys: &[Sample]) -> Vec<Row> {
    let of =
        |samples: &[Sample], pick: fn(&Sample) -> f64| median(samples.iter().map(pick).collect());
    let row = |name, unit, samples: &[Sample], pick: fn(&Sample) -> f64, target| Row {
        name,
        unit,
        ours: of(samples, pick),
        peers: vec![Peer {
            name: "write+fsync loop",
            value: of(loops, pick),
            target,
        }],
    };
    // One write is a sync of the leader beside one of a follower; many share theirs.
    let shares = Some((Wanted::AtLeast, 1.0));
    vec![
        row("1 writer", "/s", ones, |s| s.per_second, None),
        row("1 writer, p50", "ms", ones, |s| s.p50_ms, None),
        row("1 writer, p99", "ms", ones, |s| s.p99_ms, None),
        row("64 writers", "/s", manys, |s| s.per_second, shares),
        row("64 writers, p50", "ms", manys, |s| s.p50_ms, None),
        row("64 writers, p99", "ms", manys, |s| s.p99_ms, None),
    ]
}
