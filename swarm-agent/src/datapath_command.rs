//! `swarm-agent datapath ...`: looks into the pinned data plane of this host from another process than the agent. Repairing needs the
//! plan, which follows from what the agent remembers and from the interfaces the kernel has.

#![expect(
    clippy::print_stdout,
    reason = "the output of these commands is their purpose"
)]

use anyhow::{Context, bail};
use swarm_agent_datapath::{DataPath, Tables, probe};

use crate::config::{DatapathCommand, Options};

/// Runs the command and prints what it found.
pub(crate) fn run(command: DatapathCommand, options: &Options) -> anyhow::Result<()> {
    match command {
        DatapathCommand::Probe => {
            println!("{}", probe(&options.bpffs));
            Ok(())
        }
        DatapathCommand::Counters => {
            let observer = DataPath::attach_existing(&options.bpffs)
                .context("is this host a member of a swarm?")?;
            print!("{}", observer.counters()?);
            Ok(())
        }
        DatapathCommand::Show => {
            let observer = DataPath::attach_existing(&options.bpffs)
                .context("is this host a member of a swarm?")?;
            print!("{}", Tables(&observer.contents()?));
            Ok(())
        }
        DatapathCommand::Verify => verify(options),
    }
}

/// Asks the running agent, which has the plan, to compare and repair.
fn verify(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let socket = options.run_dir.join(crate::maintenance::SOCKET);
    let report = runtime
        .block_on(crate::maintenance::ask_verify(&socket))
        .with_context(|| format!("is the agent running? Its socket is {}", socket.display()))?;
    print!("{}", report.text);
    if report.failed {
        bail!("the data path could not be verified");
    }
    Ok(())
}
