//! `cargo xtask test`: every kind of test with the rights it needs, one line per kind with its
//! time, slow kinds last, and a closing count. A kind that cannot run is a failure, not a skip.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::{build, process, setup, verify};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Kinds to run; all when none is named
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

/// In the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Every test of the crates themselves
    Unit,
    /// Examples in the documentation
    Doc,
    /// Packets through the eBPF programs by BPF_PROG_TEST_RUN
    Bpf,
    /// Whole clusters of managers on virtual time, with faults by seed
    Sim,
    /// Formatting, lints, documentation
    Lint,
    /// Whole hosts in network namespaces with real packets
    Netns,
}

/// The crates whose tests need nothing but what set-up brings. Both kinds that run them name the same crates: another choice would
/// have other features and compile the dependencies once more.
const BY_THEMSELVES: [&str; 13] = [
    "test",
    "--no-fail-fast",
    "--workspace",
    "--exclude",
    "swarm-ebpf",
    "--exclude",
    "swarm-tests-bpf",
    "--exclude",
    "swarm-tests-netns",
    "--exclude",
    "swarm-tests-sim",
    "--exclude",
    "swarm-testkit",
];

/// What running a kind came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::Bpf => "bpf",
            Self::Sim => "sim",
            Self::Lint => "lint",
            Self::Netns => "netns",
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::require_root()?;
    setup::run()?;
    let binaries = build::build(false)?;
    let kinds = if options.kinds.is_empty() {
        Kind::value_variants()
    } else {
        &options.kinds
    };
    let mut total = Count::default();
    let mut table = String::new();
    for kind in kinds {
        println!("\n== {} ==", kind.name());
        let start = Instant::now();
        let count = run_kind(*kind, &binaries)?;
        writeln!(table, "{}", row(*kind, count, start.elapsed()))?;
        total.passed += count.passed;
        total.failed += count.failed;
        total.ignored += count.ignored;
    }
    println!("\nkind    passed  failed  seconds\n{table}");
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 || total.ignored > 0 {
        bail!("{} failed, {} not run", total.failed, total.ignored);
    }
    Ok(())
}

fn row(kind: Kind, count: Count, time: Duration) -> String {
    let mut row = format!(
        "{:<7} {:>6}  {:>6}  {:>7.1}",
        kind.name(),
        count.passed,
        count.failed,
        time.as_secs_f64()
    );
    if count.failed > 0 {
        row.push_str("  again: cargo xtask test ");
        row.push_str(kind.name());
    }
    row
}

fn run_kind(kind: Kind, binaries: &build::Binaries) -> anyhow::Result<Count> {
    match kind {
        Kind::Unit => cargo_test(process::cargo().args(BY_THEMSELVES).arg("--tests")),
        Kind::Doc => cargo_test(process::cargo().args(BY_THEMSELVES).arg("--doc")),
        Kind::Bpf => cargo_test(
            process::cargo()
                .args(["test", "--no-fail-fast", "--package", "swarm-tests-bpf"])
                .args(["--lib", "--tests", "--", "--test-threads=1"]),
        ),
        // A test uses every processor by itself.
        Kind::Sim => cargo_test(
            process::cargo()
                .args(["test", "--no-fail-fast", "--package", "swarm-tests-sim"])
                .args(["--lib", "--tests", "--", "--test-threads=1"]),
        ),
        Kind::Netns => cargo_test(
            process::cargo()
                .args(["test", "--no-fail-fast", "--package", "swarm-testkit"])
                .args([
                    "--package",
                    "swarm-tests-netns",
                    "--tests",
                    "--",
                    "--test-threads=1",
                ])
                .env("RUST_LIB_BACKTRACE", "0")
                .env("SWARM_AGENT", &binaries.agent)
                .env("SWARM_MANAGER", &binaries.manager),
        ),
        Kind::Lint => lint(),
    }
}

fn lint() -> anyhow::Result<Count> {
    let outcomes = verify::checks()?;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .count()
            .try_into()
            .unwrap_or(0)
    };
    Ok(Count {
        passed: count(verify::Outcome::Passed),
        failed: count(verify::Outcome::Failed),
        ignored: 0,
    })
}

/// Runs `cargo test`, shows its output as it comes and counts by its closing lines. A run that
/// fails without a failed test (it did not compile, it crashed) counts as one failure.
fn cargo_test(command: &mut Command) -> anyhow::Result<Count> {
    let shown = process::shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let output = child.stdout.take().context("the output was asked for")?;
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(more) = closing_line(&line) {
            count.passed += more.passed;
            count.failed += more.failed;
            count.ignored += more.ignored;
        }
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn closing_line(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut found = Count::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        match what {
            "passed" => found.passed = number,
            "failed" => found.failed = number,
            "ignored" => found.ignored = number,
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_cargo_test_are_counted_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered \
                    out; finished in 0.01s";
        assert_eq!(
            closing_line(line),
            Some(Count {
                passed: 12,
                failed: 3,
                ignored: 1
            })
        );
        assert_eq!(closing_line("test result_is_kept ... ok"), None);
        assert_eq!(closing_line("running 3 tests"), None);
    }
}
