//! How long writes wait for a new leader: the leader is killed, frozen or cut off, and from that moment one client asks a
//! surviving manager to write, and one node opens its session through another. Both end with a committed Raft entry.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::bail;
use serde_json::json;
use swarm_core::{
    control::ControlError,
    model::{NodeDescription, ServiceSpec},
};
use swarm_proto::{
    client::{ControlClient, DispatcherClient, Hello},
    tls::{self, Identity},
};
use tokio::time::{Instant, sleep};

use crate::managers::{Fault, Managers};

/// A write must be committed within this time after the fault.
const TARGET: Duration = Duration::from_secs(1);
/// Longest wait for anything.
const AT_MOST: Duration = Duration::from_secs(30);
/// Pause of a client before it asks again.
const PAUSE: Duration = Duration::from_millis(10);

/// Times of one fault and path.
#[derive(Debug)]
pub(crate) struct Series {
    fault: &'static str,
    path: &'static str,
    times: Vec<Duration>,
}

/// All faults, interleaved.
pub(crate) fn measure(binary: &Path, trials: u32) -> anyhow::Result<Vec<Series>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut managers = Managers::start(binary)?;
    let outside = managers.outside();
    // Everything on this thread, so that every connection begins outside of the managers' namespaces.
    outside.run(|| runtime.block_on(all_trials(&mut managers, trials)))
}

async fn all_trials(managers: &mut Managers, trials: u32) -> anyhow::Result<Vec<Series>> {
    let faults = [
        (Fault::Killed, "killed"),
        (Fault::Frozen, "frozen"),
        (Fault::CutOff, "cut off"),
    ];
    managers.form().await?;
    let mut series = Vec::new();
    for (_, fault) in faults {
        for path in ["a manager's API", "an agent's session"] {
            let times = Vec::new();
            series.push(Series { fault, path, times });
        }
    }
    let node = managers.worker().await?;
    for trial in 0..trials {
        for (index, (fault, name)) in faults.into_iter().enumerate() {
            let tried = Box::pin(one_trial(managers, fault, &node, trial));
            let (api, session) = tried.await?;
            print_trial(trial, name, api, session);
            series[2 * index].times.push(api);
            series[2 * index + 1].times.push(session);
        }
    }
    Ok(series)
}

#[expect(clippy::print_stderr, reason = "progress of a measurement of minutes")]
fn print_trial(trial: u32, fault: &str, api: Duration, session: Duration) {
    eprintln!(
        "trial {trial}, leader {fault}: API {} ms, session {} ms",
        api.as_millis(),
        session.as_millis()
    );
}

async fn one_trial(
    managers: &mut Managers,
    fault: Fault,
    node: &std::sync::Arc<Identity>,
    trial: u32,
) -> anyhow::Result<(Duration, Duration)> {
    let leader = managers.leader().await?;
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let (control, addr) = (managers.all[one].control(), managers.all[other].addr);
    let name = format!("{fault:?}-{trial}-{leader}").to_lowercase();
    written(&control, &format!("{name}-before")).await?;
    managers.strike(leader, fault)?;
    let began = Instant::now();
    let api = async {
        written(&control, &name).await?;
        anyhow::Ok(began.elapsed())
    };
    let session = async {
        opened(&addr.to_string(), node).await?;
        anyhow::Ok(began.elapsed())
    };
    let times = tokio::try_join!(api, session)?;
    managers.heal(leader, fault)?;
    // It is a member like the others again before the next trial begins.
    written(&managers.all[leader].control(), &format!("{name}-after")).await?;
    managers.leader().await?;
    // And has heard of the leader for longer than any election takes.
    sleep(Duration::from_millis(700)).await;
    Ok(times)
}

/// Asks until the write is confirmed. Who is told that the outcome is unknown looks, as a user does.
async fn written(control: &ControlClient, name: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + AT_MOST;
    loop {
        let Err(error) = control.create_service(&service(name)).await else {
            return Ok(());
        };
        if error.message.contains("look whether") && control.service(name).await.is_ok() {
            return Ok(());
        }
        again(error, deadline).await?;
    }
}

/// Opens a session, as a node does whose session broke; the answer comes after its registration was committed.
async fn opened(addr: &str, node: &std::sync::Arc<Identity>) -> anyhow::Result<()> {
    let deadline = Instant::now() + AT_MOST;
    loop {
        let hello = Hello {
            description: NodeDescription::default(),
            data_path_addr: None,
        };
        let channel = tls::any_manager(addr, node)?;
        match DispatcherClient::new(channel).open(hello).await {
            Ok(_session) => return Ok(()),
            Err(error) => again(error, deadline).await?,
        }
    }
}

async fn again(error: ControlError, deadline: Instant) -> anyhow::Result<()> {
    if Instant::now() > deadline {
        bail!("not within {AT_MOST:?}: {error}");
    }
    sleep(PAUSE).await;
    Ok(())
}

fn service(name: &str) -> ServiceSpec {
    ServiceSpec::replicated(name, "none", 0)
}

impl Series {
    /// The smallest time that this share of the trials does not exceed (nearest rank).
    fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn is_met(&self) -> bool {
        !self.times.is_empty() && self.percentile(99) <= TARGET
    }
}

/// A line per fault and path.
pub(crate) fn text(all: &[Series]) -> String {
    let mut text = format!(
        "{:<16} {:<20} {:>6} {:>8} {:>8} {:>8} {:>10}   verdict\n",
        "the leader is", "write through", "trials", "p50 ms", "p99 ms", "max ms", "target p99"
    );
    for series in all {
        let ms = |percent| series.percentile(percent).as_millis();
        let verdict = if series.is_met() { "ok" } else { "MISSED" };
        writeln!(
            text,
            "{:<16} {:<20} {:>6} {:>8} {:>8} {:>8} {:>10}   {verdict}",
            series.fault,
            series.path,
            series.times.len(),
            ms(50),
            ms(99),
            ms(100),
            format!("<= {}", TARGET.as_millis()),
        )
        .expect("writing to a string cannot fail");
    }
    text
}

/// One object per row and line.
pub(crate) fn json(all: &[Series]) -> String {
    let mut text = String::new();
    for series in all {
        let ms = |percent| series.percentile(percent).as_secs_f64() * 1000.0;
        let object = json!({
            "bench": "failover",
            "row": format!("{}, {}", series.fault, series.path),
            "unit": "ms",
            "ours": ms(99),
            "p50": ms(50),
            "max": ms(100),
            "trials": series.times.len(),
            "peers": {},
            "ratios": {},
            "target": format!("<= {}", TARGET.as_millis()),
            "ok": series.is_met(),
        });
        writeln!(text, "{object}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_about_the_99th_percentile() {
        let times = |slow: usize| {
            let quick = vec![Duration::from_millis(500); 100 - slow];
            let slow = vec![Duration::from_secs(2); slow];
            [quick, slow].concat()
        };
        let series = |slow| Series {
            fault: "killed",
            path: "api",
            times: times(slow),
        };
        assert!(series(1).is_met());
        assert!(!series(2).is_met());
        assert_eq!(series(2).percentile(100), Duration::from_secs(2));
        assert_eq!(series(2).percentile(50), Duration::from_millis(500));
        let value: serde_json::Value = serde_json::from_str(json(&[series(0)]).trim()).unwrap();
        assert_eq!(value["ours"], 500.0);
    }
}
