//! `cargo xtask fix`: the only command that rewrites sources. Formats with the stable options,
//! then lets each tool that is installed mend what it can.

use crate::process;

pub(crate) fn run() -> anyhow::Result<()> {
    let clippy = [
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--all-targets",
    ];
    process::run(process::cargo().args(clippy))?;
    process::run(process::cargo().args(["fmt", "--all"]))?;
    for (tool, arguments) in [
        ("typos", &["--write-changes"][..]),
        ("taplo", &["format"][..]),
    ] {
        if process::find(tool).is_some() {
            process::run(process::command(tool).args(arguments))?;
        } else {
            println!("{tool} is not installed: skipped");
        }
    }
    Ok(())
}
