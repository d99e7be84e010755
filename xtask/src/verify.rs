//! `cargo xtask verify`: the read-only gate. Formatting, lints for the host and for the BPF
//! target, documentation, and spelling, TOML and dependency rules where their tools are
//! installed; a tool that is missing is named, never silently left out.

use std::process::Command;

use anyhow::bail;

use crate::{ebpf, process, setup};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// The tool is not on this machine.
    NotInstalled,
}

pub(crate) fn run() -> anyhow::Result<()> {
    setup::run()?;
    ebpf::build()?;
    let outcomes = checks()?;
    if outcomes
        .iter()
        .any(|(_, outcome)| *outcome == Outcome::Failed)
    {
        bail!("verify found something to mend; `cargo xtask fix` mends what a tool can");
    }
    Ok(())
}

/// Runs every check and says how each went. The eBPF object must be built.
pub(crate) fn checks() -> anyhow::Result<Vec<(&'static str, Outcome)>> {
    let mut outcomes = required_checks()?;
    let optional: [(&str, &str, &[&str]); 3] = [
        ("spelling", "typos", &[]),
        ("TOML formatting", "taplo", &["format", "--check"]),
        (
            "dependency rules",
            "cargo-deny",
            &["check", "bans", "licenses", "sources"],
        ),
    ];
    for (name, tool, arguments) in optional {
        outcomes.push((name, check_if_installed(tool, arguments)?));
    }
    for (name, outcome) in &outcomes {
        let word = match outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotInstalled => "not checked: its tool is not installed",
        };
        println!("  {name:<18} {word}");
    }
    Ok(outcomes)
}

/// The checks whose tools come with the toolchain.
fn required_checks() -> anyhow::Result<Vec<(&'static str, Outcome)>> {
    let deny_warnings = ["--", "-D", "warnings"];
    Ok(vec![
        (
            "formatting",
            check(process::cargo().args(["fmt", "--all", "--check"]))?,
        ),
        (
            "lints for BPF",
            check(ebpf::cargo("clippy").arg("--release").args(deny_warnings))?,
        ),
        (
            "lints",
            check(
                host_cargo("clippy")
                    .arg("--all-targets")
                    .args(deny_warnings),
            )?,
        ),
        (
            "documentation",
            check(
                host_cargo("doc")
                    .args(["--no-deps", "--document-private-items"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )?,
        ),
    ])
}

/// Cargo over every crate that builds for the host.
fn host_cargo(verb: &str) -> Command {
    let mut cargo = process::cargo();
    cargo.args([verb, "--workspace", "--exclude", "swarm-ebpf"]);
    cargo
}

fn check(command: &mut Command) -> anyhow::Result<Outcome> {
    let passed = process::status(command)?.success();
    Ok(if passed {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

fn check_if_installed(tool: &str, arguments: &[&str]) -> anyhow::Result<Outcome> {
    if process::find(tool).is_none() {
        return Ok(Outcome::NotInstalled);
    }
    check(process::command(tool).args(arguments))
}
