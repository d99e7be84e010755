//! Task to task across two hosts: one bulk stream, and one byte there and back. Every round
//! measures each path, one right after the other; the medians are shown.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use swarm_testkit::{
    lab::{Lab, Plan, Underlay},
    traffic::{bulk_unchecked, exchange_tcp},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

use crate::{
    peers::{self, Path},
    table::{Peer, Row, Wanted, median},
};

const BULK_BYTES: u64 = 1 << 30;
/// Exchanges in one go: a tenth of a second, so that what disturbs the machine disturbs all paths alike.
const EXCHANGES: usize = 5_000;
/// How often each path exchanges in a round.
const TURNS: u32 = 4;
const CABLE: &str = "veth";
const VXLAN: &str = "kernel VXLAN+bridge";

/// What one path gave: one value per round for the stream, [`TURNS`] for the exchanges.
#[derive(Debug, Default)]
struct Samples {
    gigabits_per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

pub(crate) fn measure(agent: PathBuf, manager: PathBuf, rounds: u32) -> anyhow::Result<Vec<Row>> {
    let plan = Plan {
        hosts: 2,
        underlay: Underlay::Cable,
        agent,
        manager,
    };
    let swarm = Swarm::on(Lab::start(&plan)?)?;
    let paths = [
        ours(&swarm)?,
        peers::cable(&swarm.lab)?,
        peers::vxlan_on_bridge(&swarm.lab)?,
    ];
    for path in &paths {
        wait::until("a path to carry packets", CONVERGED_AT_MOST, || {
            exchange_tcp(&path.from.netns, &path.to, 100)
        })?;
    }
    let mut samples: [Samples; 3] = Default::default();
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for (path, samples) in paths.iter().zip(&mut samples) {
            let bulk = bulk_unchecked(&path.from.netns, &path.to, BULK_BYTES)?;
            samples.gigabits_per_second.push(bulk.gigabits_per_second());
        }
        let turns = (0..TURNS).flat_map(|_| 0..paths.len());
        for index in turns {
            let (path, samples) = (&paths[index], &mut samples[index]);
            let exchange = exchange_tcp(&path.from.netns, &path.to, EXCHANGES)?;
            samples.p50_us.push(microseconds(exchange.percentile(50)));
            samples.p99_us.push(microseconds(exchange.percentile(99)));
        }
    }
    let [ours, cable, vxlan] = samples;
    Ok(vec![
        Row {
            name: "bulk, one stream",
            unit: "Gb/s",
            ours: median(ours.gigabits_per_second),
            peers: vec![
                peer(CABLE, cable.gigabits_per_second, None),
                peer(
                    VXLAN,
                    vxlan.gigabits_per_second,
                    Some((Wanted::AtLeast, 1.2)),
                ),
            ],
        },
        Row {
            name: "request/response p50",
            unit: "us",
            ours: median(ours.p50_us),
            peers: vec![
                peer(CABLE, cable.p50_us, Some((Wanted::AtMost, 1.12))),
                peer(VXLAN, vxlan.p50_us, Some((Wanted::AtMost, 0.75))),
            ],
        },
        Row {
            name: "request/response p99",
            unit: "us",
            ours: median(ours.p99_us),
            peers: vec![
                peer(CABLE, cable.p99_us, None),
                peer(VXLAN, vxlan.p99_us, None),
            ],
        },
    ])
}

fn peer(name: &'static str, values: Vec<f64>, target: Option<(Wanted, f64)>) -> Peer {
    Peer {
        name,
        value: median(values),
        target,
    }
}

/// Two tasks of one service on two hosts.
fn ours(swarm: &Swarm) -> anyhow::Result<Path> {
    let tasks = swarm.create_web(2)?;
    let task = |host| {
        tasks
            .iter()
            .find(|task| task.host == host)
            .context("one task on each host")?
            .on_app()
    };
    Ok(Path {
        from: task(1)?,
        to: task(2)?,
    })
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
