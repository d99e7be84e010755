//! What the fake executor remembers: images, containers and volumes, and what happens to one of them.
//! Announces nothing; the events are the executor's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tokio::sync::watch;

use super::Behaviour;
use crate::executor::{Container, Exit, Status};
use crate::logs::LogLine;
use crate::oci::mounts::validate;
use crate::spec::{ContainerId, Mount, MountKind};
use crate::volumes::check_name;
use crate::{Error, PullFailure, Timestamp, Volume};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) clock: u64,
    pub(super) next_pid: u32,
    /// What the registry has, by complete name.
    pub(super) remote: BTreeMap<String, Behaviour>,
    pub(super) failures: BTreeMap<String, PullFailure>,
    pub(super) local: BTreeMap<String, Behaviour>,
    pub(super) containers: BTreeMap<ContainerId, Running>,
    pub(super) volumes: BTreeMap<String, Volume>,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) container: Container,
    pub(super) behaviour: Behaviour,
    pub(super) stop_signal: u32,
    pub(super) exit: watch::Sender<Option<Exit>>,
    pub(super) lines: watch::Sender<Vec<LogLine>>,
}

impl State {
    pub(super) fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        Timestamp(self.clock)
    }

    pub(super) fn running(&mut self, id: &ContainerId) -> Result<&mut Running, Error> {
        let missing = || Error::NoSuchContainer { id: id.clone() };
        self.containers.get_mut(id).ok_or_else(missing)
    }

    pub(super) fn ensure_volume(
        &mut self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Volume {
        let created_at = self.tick();
        let volume = self
            .volumes
            .entry(name.to_owned())
            .or_insert_with(|| Volume {
                name: name.to_owned(),
                mountpoint: PathBuf::from(format!("/fake/volumes/{name}/_data")),
                labels: labels.clone(),
                created_at,
            });
        volume.clone()
    }

    /// The named volumes of a container's mounts.
    pub(super) fn ensure_volumes(&mut self, mounts: &[Mount]) -> Result<(), Error> {
        for mount in mounts {
            if let MountKind::Volume {
                name: Some(name),
                labels,
                ..
            } = &mount.kind
            {
                check_name(name)?;
                self.ensure_volume(name, labels);
            }
        }
        Ok(())
    }
}

impl Running {
    /// The container ends without having run.
    pub(super) fn refuse_start(&mut self, code: u32, message: &str, at: Timestamp) -> Exit {
        let exit = Exit {
            code,
            at,
            oom_killed: false,
            error: Some(message.to_owned()),
        };
        self.container.status = Status::Exited {
            started_at: None,
            exit: exit.clone(),
        };
        self.exit.send_replace(Some(exit.clone()));
        exit
    }

    /// Prints what its image prints at start.
    pub(super) fn write_lines(&mut self, at: Timestamp) {
        let lines = self.behaviour.lines.iter().map(|(source, text)| LogLine {
            source: *source,
            time: at,
            text: text.clone(),
        });
        self.lines.send_replace(lines.collect());
    }
}

/// Each mount makes sense, and no two are at one place.
pub(super) fn check_mounts(mounts: &[Mount]) -> Result<(), Error> {
    let mut targets = BTreeSet::new();
    for mount in mounts {
        validate(mount)?;
        if !targets.insert(&mount.target) {
            return Err(Error::DuplicateMount {
                target: mount.target.clone(),
            });
        }
    }
    Ok(())
}
