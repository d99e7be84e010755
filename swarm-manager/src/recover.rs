//! `swarm-manager recover`: what a state directory holds, what is wrong with it, and what can be done about it while the manager
//! does not run. Exit codes: 0 everything is sound (perhaps now), 1 nothing could be looked at or done, 3 something is damaged.

mod plan;
mod show;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use redb::Database;
use swarm_core::{id::NodeId, lock::SecretKey};
use swarm_manager_replica::new_raft_id;
use swarm_proto::tls::{Credentials, Identity, NodeKeys};

use self::{
    plan::{Plan, Refusal, plan},
    show::show,
};
use crate::{
    clock::{SystemRandom, now},
    raft::{
        database::{DirLock, StateDb, StateError, database_file},
        rebuild::{Contents, RebuildError, Survivor, force_new_cluster},
        seal::Sealer,
        survey::{Survey, survey},
    },
};

/// Where a manager listens if nothing else is known.
const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 2377);

/// Shows what a manager's state directory holds, and repairs what can be repaired. The manager must not run.
#[derive(Debug, Parser)]
#[command(name = "swarm-manager recover")]
pub(crate) struct RecoverArgs {
    /// Directory of the manager's own state
    #[arg(long, default_value = "/var/lib/swarm/manager")]
    state_dir: PathBuf,
    /// Directory with node.key, node.crt and ca.crt
    #[arg(long, default_value = "/var/lib/swarm/certificates")]
    certificates: PathBuf,
    /// Read the unlock key of a locked manager from standard input
    #[arg(long)]
    unlock_key_stdin: bool,
    /// Repair what can be repaired without losing anything
    #[arg(long)]
    repair: bool,
    /// Drop the log from the first damaged entry on. What was confirmed in it is lost
    #[arg(long)]
    truncate_corrupt_tail: bool,
    /// Make a cluster of one from what is readable; the other managers are forgotten
    #[arg(long)]
    force_new_cluster: bool,
    /// Address the other nodes will reach this manager at (with --force-new-cluster)
    #[arg(long, requires = "force_new_cluster")]
    advertise_addr: Option<SocketAddr>,
    /// Address to listen on (with --force-new-cluster)
    #[arg(long, requires = "force_new_cluster")]
    listen_addr: Option<SocketAddr>,
}

impl RecoverArgs {
    fn changes(&self) -> bool {
        self.repair || self.truncate_corrupt_tail || self.force_new_cluster
    }
}

/// Why nothing could be looked at or done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    /// There is nothing.
    #[error("{}: there is no manager's state here", .0.display())]
    NoState(PathBuf),
    /// The directory, the lock or the key.
    #[error(transparent)]
    State(#[from] StateError),
    /// Reading or writing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A repair that must not be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No cluster of one can be made.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// What was typed is no unlock key.
    #[error("that is no unlock key: it begins with SWMKEY-1-")]
    UnlockKey,
    /// The certificate files.
    #[error("{}: {reason}", dir.display())]
    Certificates { dir: PathBuf, reason: String },
}

/// Runs the command line.
pub(crate) fn main(arguments: Vec<String>) -> ExitCode {
    let args = RecoverArgs::parse_from(arguments);
    let mut output = io::stdout().lock();
    match run(&args, &mut io::stdin().lock(), &mut output) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            if let Err(unwritten) = writeln!(io::stderr(), "Error: {error}") {
                tracing::debug!(%unwritten, "nobody reads the error");
            }
            ExitCode::FAILURE
        }
    }
}

/// Shows, and changes what was asked for; whether everything is sound in the end.
pub(crate) fn run(
    args: &RecoverArgs,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<bool, RecoverError> {
    let dir = &args.state_dir;
    if !StateDb::exists(dir)? {
        return Err(RecoverError::NoState(dir.clone()));
    }
    let _lock = DirLock::take(dir)?;
    let key = unlock_key(args, input)?;
    let sealer = Sealer::open(dir, false, key.as_ref()).map_err(StateError::from)?;
    let found = survey(dir, &sealer);
    show(dir, &sealer, &found, output)?;
    if !args.changes() {
        return Ok(found.problems.is_empty());
    }
    let done = change(args, &sealer, &found)?;
    for line in &done {
        writeln!(output, "{line}")?;
    }
    let after = survey(dir, &sealer);
    writeln!(output)?;
    show(dir, &sealer, &after, output)?;
    Ok(after.problems.is_empty())
}

/// The operator's key, not as an argument: those are everybody's to read.
fn unlock_key(
    args: &RecoverArgs,
    input: &mut dyn BufRead,
) -> Result<Option<SecretKey>, RecoverError> {
    if !args.unlock_key_stdin {
        return Ok(None);
    }
    let mut line = String::new();
    input.read_line(&mut line)?;
    let key = line.trim().parse().map_err(|_| RecoverError::UnlockKey)?;
    Ok(Some(key))
}

/// Opens the state although something in it may be wrong.
fn open(dir: &Path, sealer: &Sealer) -> Result<StateDb, RecoverError> {
    let path = database_file(dir);
    let database = Database::open(&path).map_err(|source| StateError::Database { path, source })?;
    Ok(StateDb::of(database, dir, sealer.clone()))
}

/// Does what was asked for; one line for each thing that was done.
fn change(
    args: &RecoverArgs,
    sealer: &Sealer,
    found: &Survey,
) -> Result<Vec<String>, RecoverError> {
    let plan = plan(found, args.truncate_corrupt_tail)?;
    let db = open(&args.state_dir, sealer)?;
    let contents = Contents::read_until(&db, plan.base.as_ref(), plan.end)?;
    if args.force_new_cluster {
        let survivor = survivor(args, found, &contents, &sealer.node_keys())?;
        let this = force_new_cluster(&db, contents, &survivor, now())?;
        return Ok(vec![format!(
            "made a cluster of one: raft number {}, node {}, reached at {}",
            this.raft_id, this.member.node_id, this.member.addr
        )]);
    }
    repair(&db, found, &plan, &contents)
}

/// Brings log and snapshots into a form that a manager starts with.
fn repair(
    db: &StateDb,
    found: &Survey,
    plan: &Plan,
    contents: &Contents,
) -> Result<Vec<String>, RecoverError> {
    let mut done = Vec::new();
    if plan.needs_new_cluster {
        return Err(Refusal::NeedsNewCluster.into());
    }
    if plan.lossy && contents.members().count() > 1 {
        return Err(Refusal::OthersKnowMore {
            managers: contents.members().count(),
        }
        .into());
    }
    let sound = found.snapshots.iter().filter(|(_, wrong)| wrong.is_none());
    let sound: Vec<_> = sound.map(|(stored, _)| stored.clone()).collect();
    if sound.len() != found.snapshots.len() {
        db.change_snapshots(|all| {
            *all = sound;
            Some(())
        })?;
        done.push("forgot damaged snapshots".to_owned());
    }
    if let Some(upto) = plan.purge {
        db.purge(upto.index, &upto)?;
        done.push(format!(
            "dropped entries up to {}: the snapshot holds them",
            upto.index
        ));
    }
    if plan.lossy {
        db.truncate(plan.end)?;
        done.push(format!("dropped the log from entry {} on", plan.end));
    }
    if done.is_empty() {
        done.push("nothing had to be repaired".to_owned());
    }
    Ok(done)
}

/// Who goes on alone: the node that the certificate names, or the member record.
fn survivor(
    args: &RecoverArgs,
    found: &Survey,
    contents: &Contents,
    node_keys: &NodeKeys,
) -> Result<Survivor, RecoverError> {
    let certificates = |reason: String| RecoverError::Certificates {
        dir: args.certificates.clone(),
        reason,
    };
    let credentials = Credentials::load_with(&args.certificates, node_keys)
        .map_err(|error| certificates(error.to_string()))?;
    let node_id: NodeId = match (credentials, &found.member) {
        (Some(credentials), _) => {
            let identity = Identity::new(&credentials);
            let identity = identity.map_err(|error| certificates(error.to_string()))?;
            identity.this_node().node_id
        }
        (None, Some(this)) => this
            .member
            .node_id
            .parse()
            .map_err(|_malformed| certificates("the member record names no node".to_owned()))?,
        (None, None) => {
            return Err(certificates(
                "there is no certificate that says which node this is; name the directory with --certificates"
                    .to_owned(),
            ));
        }
    };
    let known = contents
        .members()
        .find(|(_, member)| member.node_id == node_id.as_str());
    let recorded = found.member.as_ref().map(|this| &this.member.addr);
    let addr = recorded.or_else(|| known.map(|(_, member)| &member.addr));
    let addr = args
        .advertise_addr
        .or_else(|| addr.and_then(|addr| addr.parse().ok()));
    Ok(Survivor {
        raft_id: new_raft_id(&mut SystemRandom),
        node_id,
        addr: addr.ok_or(Refusal::NoAddress)?,
        listen_addr: args
            .listen_addr
            .or_else(|| found.member.as_ref().map(|this| this.listen_addr))
            .unwrap_or(DEFAULT_LISTEN),
    })
}
