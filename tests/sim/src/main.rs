//! Runs simulated clusters: `swarm-sim --seeds 200`, or one with its trace: `swarm-sim --seed 17 --trace`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command for people"
)]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use clap::Parser;
use swarm_tests_sim::{Options, Outcome, Sabotage, run};

#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Prints every event
    #[arg(long)]
    trace: bool,
    /// A fault put in by hand, which has to be found
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let next = AtomicU64::new(arguments.seed);
    let failed = AtomicU64::new(0);
    let start = Instant::now();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seed.saturating_add(arguments.seeds) {
                        return;
                    }
                    let outcome = run(Options {
                        seed,
                        sabotage: arguments.sabotage,
                        keep_trace: arguments.trace,
                    });
                    failed.fetch_add(u64::from(!report(seed, &outcome)), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "{} seeds, {failed} failed, {:.1} s",
        arguments.seeds,
        start.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints how a run went; whether it went well.
fn report(seed: u64, outcome: &Outcome) -> bool {
    for line in &outcome.trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} entries, {} writes and {} reads confirmed, {} leaders, {} events in {:.1} s, trace {}",
        outcome.committed,
        outcome.confirmed.0,
        outcome.confirmed.1,
        outcome.leaders,
        outcome.events,
        outcome.lasted.as_secs_f64(),
        outcome.digest.get(..12).unwrap_or_default()
    );
    match &outcome.violation {
        None => true,
        Some(violation) => {
            eprintln!("seed {seed} FAILED: {violation}");
            eprintln!("  again, with every event: cargo xtask sim --seed {seed} --trace");
            false
        }
    }
}
