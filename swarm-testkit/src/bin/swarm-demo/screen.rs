//! How the demonstration looks: a heading per act, and each command as typed on its machine,
//! followed by what it printed.

use std::{
    io::{IsTerminal as _, stdout},
    process::Command,
};

use anyhow::{Context as _, bail};

/// A heading.
pub(crate) fn act(text: &str) {
    println!("\n{}", bold(&format!("── {text} ──")));
}

/// A remark.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Shows a command as typed on `machine` and runs it with the terminal attached.
pub(crate) fn show(machine: &str, typed: &str, command: &mut Command) -> anyhow::Result<()> {
    prompt(machine, typed);
    let status = command
        .status()
        .with_context(|| format!("cannot start {typed}"))?;
    if !status.success() {
        bail!("on {machine}: {typed} ({status})");
    }
    Ok(())
}

/// Shows a command and its output, and gives the output.
pub(crate) fn show_output(
    machine: &str,
    typed: &str,
    command: &mut Command,
) -> anyhow::Result<String> {
    prompt(machine, typed);
    let output = command
        .output()
        .with_context(|| format!("cannot start {typed}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    print!("{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("on {machine}: {typed} ({})", output.status);
    }
    Ok(text)
}

fn prompt(machine: &str, typed: &str) {
    println!("\n{} {}", bold(&format!("{machine} $")), bold(typed));
}

fn bold(text: &str) -> String {
    if stdout().is_terminal() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
