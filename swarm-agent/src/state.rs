//! What the agent must remember over a restart: which node it is, and the last assignments, so that tasks, names and
//! the data path go on while no manager answers. Files are replaced atomically; a torn write leaves the old file.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use swarm_core::{
    dispatch::{Assignment, AssignmentKey},
    id::NodeId,
};
use swarm_proto::tls::replace_file;

use crate::worker::LocalTasks;

/// Why state could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what we wrote.
    #[error("{} is damaged: {source}; remove it to start this node afresh", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What does not parse.
        source: serde_json::Error,
    },
}

/// Which node this host is. Its role is its certificate's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeState {
    /// Common name of the certificate.
    pub(crate) node_id: NodeId,
    /// Where the manager listens, if this is one.
    pub(crate) listen_addr: SocketAddr,
    /// Where others reach this node's manager.
    pub(crate) advertise_addr: SocketAddr,
    /// Source address of this node's VXLAN packets.
    pub(crate) data_path_addr: IpAddr,
    /// UDP port of the data path.
    pub(crate) data_path_port: u16,
    /// Managers to open a session with, the last good one first.
    pub(crate) managers: Vec<KnownManager>,
}

impl NodeState {
    /// The host has another address now.
    pub(crate) fn move_to(&mut self, addr: SocketAddr) {
        let old = std::mem::replace(&mut self.advertise_addr, addr);
        if self.data_path_addr == old.ip() {
            self.data_path_addr = addr.ip();
        }
        for manager in self.managers.iter_mut().filter(|it| it.addr == old) {
            manager.addr = addr;
        }
    }
}

/// A manager of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownManager {
    /// Its node; empty until a session told.
    pub(crate) node_id: NodeId,
    /// Where it is reached.
    pub(crate) addr: SocketAddr,
}

/// The agent's files.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    /// One writer of `node.json` at a time.
    writing: Arc<Mutex<()>>,
}

impl StateDir {
    /// Makes the directory, readable by root and passable by the manager's user.
    pub(crate) fn open(root: &Path) -> Result<Self, StateError> {
        make_dir(root, 0o711)?;
        Ok(Self {
            root: root.to_owned(),
            writing: Arc::default(),
        })
    }

    /// Which node this host is; `None` outside a swarm.
    pub(crate) fn node(&self) -> Result<Option<NodeState>, StateError> {
        read_json(&self.root.join("node.json"))
    }

    /// Remembers which node this host is.
    pub(crate) fn save_node(&self, node: &NodeState) -> Result<(), StateError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        write_json(&self.root.join("node.json"), node)
    }

    /// Remembers where the managers are, if this host still is a node: those it joined through may be gone when the agent
    /// starts again.
    pub(crate) fn save_managers(&self, managers: &[KnownManager]) -> Result<(), StateError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut node) = self.node()? else {
            return Ok(());
        };
        if node.managers == managers {
            return Ok(());
        }
        node.managers = managers.to_vec();
        write_json(&self.root.join("node.json"), &node)
    }

    /// Forgets the manager's data: the node is a worker from now on.
    pub(crate) fn forget_manager(&self) -> Result<(), StateError> {
        remove(&self.root.join("manager"), |path| fs::remove_dir_all(path))
    }

    /// The assignments of the last session; empty if there was none.
    pub(crate) fn assignments(&self) -> Result<Vec<(AssignmentKey, Assignment)>, StateError> {
        Ok(read_json(&self.root.join("assignments.json"))?.unwrap_or_default())
    }

    /// Remembers the assignments.
    pub(crate) fn save_assignments(
        &self,
        assignments: &[(&AssignmentKey, &Assignment)],
    ) -> Result<(), StateError> {
        write_json(&self.root.join("assignments.json"), &assignments)
    }

    /// What was known of this node's tasks; empty if there were none.
    pub(crate) fn local_tasks(&self) -> Result<LocalTasks, StateError> {
        Ok(read_json(&self.root.join("tasks.json"))?.unwrap_or_default())
    }

    /// Remembers what is known of this node's tasks.
    pub(crate) fn save_local_tasks(&self, tasks: &LocalTasks) -> Result<(), StateError> {
        write_json(&self.root.join("tasks.json"), tasks)
    }

    /// Forgets the swarm: identity, assignments and the manager's data; as much of it as can be removed.
    pub(crate) fn forget(&self) -> Result<(), StateError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = ["node.json", "assignments.json", "tasks.json"];
        let directories = ["certificates", "manager"];
        let files = files.map(|name| remove(&self.root.join(name), |path| fs::remove_file(path)));
        let directories =
            directories.map(|name| remove(&self.root.join(name), |path| fs::remove_dir_all(path)));
        files.into_iter().chain(directories).collect()
    }
}

/// Makes a directory and its parents; sets the mode of the last one.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), StateError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| StateError::Io {
            path: path.to_owned(),
            source,
        })
}

/// Writes a file so that after a crash either the old or the whole new content is there.
pub(crate) fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), StateError> {
    replace_file(path, content, mode).map_err(|source| StateError::Io {
        path: path.to_owned(),
        source,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Ok(content) => serde_json::from_slice(&content)
            .map(Some)
            .map_err(|source| StateError::Damaged {
                path: path.to_owned(),
                source,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StateError> {
    let content = serde_json::to_vec(value).map_err(|source| StateError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    write_atomic(path, &content, 0o600)
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), StateError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Io {
            path: path.to_owned(),
            source: error,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_state;

    #[test]
    fn a_node_is_remembered_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.node().unwrap(), None);
        state.save_node(&node_state()).unwrap();
        assert_eq!(state.node().unwrap(), Some(node_state()));
        let others = [KnownManager {
            node_id: NodeId::default(),
            addr: "10.1.0.2:2377".parse().unwrap(),
        }];
        state.save_managers(&others).unwrap();
        assert_eq!(state.node().unwrap().unwrap().managers, others);
        state.forget().unwrap();
        assert_eq!(state.node().unwrap(), None);
        state.save_managers(&others).unwrap();
        assert_eq!(
            state.node().unwrap(),
            None,
            "a host that left stays outside"
        );
        state.forget().unwrap();
    }

    #[test]
    fn a_node_that_moves_takes_what_was_at_its_old_address_along() {
        let mut node = node_state();
        node.move_to("10.9.0.1:2400".parse().unwrap());
        assert_eq!(node.data_path_addr, node.advertise_addr.ip());
        assert_eq!(node.managers[0].addr, node.advertise_addr);
        let mut apart = node_state();
        apart.data_path_addr = "172.16.0.1".parse().unwrap();
        apart.move_to("10.9.0.1:2400".parse().unwrap());
        assert_eq!(apart.data_path_addr.to_string(), "172.16.0.1");
    }

    #[test]
    fn a_role_that_an_earlier_version_wrote_down_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let mut json = serde_json::to_value(node_state()).unwrap();
        assert!(json.get("role").is_none(), "{json}");
        json["role"] = "Manager".into();
        fs::write(dir.path().join("node.json"), json.to_string()).unwrap();
        assert_eq!(state.node().unwrap(), Some(node_state()));
    }

    #[test]
    fn a_damaged_file_is_named_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("node.json"), b"{\"node_id\":").unwrap();
        let error = state.node().unwrap_err().to_string();
        assert!(error.contains("node.json is damaged"), "{error}");
    }
}
