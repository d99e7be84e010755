//! The state as text.

use std::{
    io::{self, Write},
    path::Path,
};

use super::plan::plan;
use crate::raft::{rebuild::Contents, seal::Sealer, survey::Survey};

/// Writes what was found.
pub(crate) fn show(
    dir: &Path,
    sealer: &Sealer,
    found: &Survey,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "State directory: {}", dir.display())?;
    match &found.member {
        Some(this) => writeln!(
            out,
            "Member:          raft number {}, node {}, reached at {}, listens on {}",
            this.raft_id, this.member.node_id, this.member.addr, this.listen_addr
        )?,
        None => writeln!(out, "Member:          not known")?,
    }
    match &found.vote {
        Some(vote) => writeln!(
            out,
            "Vote:            term {}, for raft number {}",
            vote.leader_id.term, vote.leader_id.node_id
        )?,
        None => writeln!(out, "Vote:            none")?,
    }
    let purged = found.purged.map_or_else(
        || "nothing purged".to_owned(),
        |id| format!("purged up to {}", id.index),
    );
    match found.log {
        Some((first, last)) => {
            writeln!(out, "Log:             entries {first} to {last}, {purged}")?;
        }
        None => writeln!(out, "Log:             empty, {purged}")?,
    }
    for (stored, wrong) in &found.snapshots {
        writeln!(
            out,
            "Snapshot:        up to entry {}, {} bytes, {}.snap, {}",
            stored.index(),
            stored.file.size_bytes,
            stored.file.id,
            if wrong.is_none() { "sound" } else { "DAMAGED" }
        )?;
    }
    if found.snapshots.is_empty() {
        writeln!(out, "Snapshot:        none")?;
    }
    show_contents(dir, sealer, found, out)?;
    match found.problems.len() {
        0 => writeln!(
            out,
            "Integrity:       every record and every snapshot is sound"
        ),
        count => {
            writeln!(out, "Integrity:       {count} problems")?;
            found
                .problems
                .iter()
                .try_for_each(|problem| writeln!(out, "  - {problem}"))
        }
    }
}

/// What the readable part gives.
fn show_contents(
    dir: &Path,
    sealer: &Sealer,
    found: &Survey,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Ok(plan) = plan(found, true) else {
        return Ok(());
    };
    let read = crate::raft::survey::peek(dir, sealer, |db| {
        Contents::read_until(db, plan.base.as_ref(), plan.end)
    });
    let contents = match read {
        Ok(contents) => contents,
        Err(error) => return writeln!(out, "Contents:        unreadable: {error}"),
    };
    let store = &contents.store;
    match store.cluster() {
        Some(cluster) => writeln!(
            out,
            "Cluster:         {} ({})",
            cluster.id, cluster.spec.annotations.name
        )?,
        None => writeln!(out, "Cluster:         none")?,
    }
    for (raft_id, member) in contents.members() {
        let own = found
            .member
            .as_ref()
            .is_some_and(|this| this.raft_id == raft_id);
        writeln!(
            out,
            "Manager:         raft number {raft_id}, node {}, {}{}",
            member.node_id,
            member.addr,
            if own { " (this one)" } else { "" }
        )?;
    }
    let last = contents.last.map_or(0, |id| id.index);
    writeln!(
        out,
        "Objects:         {} nodes, {} services, {} tasks, {} networks at entry {last}",
        store.nodes().count(),
        store.services().count(),
        store.tasks().count(),
        store.networks().count()
    )
}
