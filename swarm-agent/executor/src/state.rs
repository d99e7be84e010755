//! The folder of each container below the state directory: the files that are mounted into it, its log,
//! and what happened to it (`state.json`), which containerd does not remember beyond the task.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::ContainerId;
use crate::{Error, Exit, Timestamp};

/// What happened to a container so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) exit: Option<Exit>,
    /// Its task is gone and the last line of its log written.
    pub(crate) closed: bool,
}

/// Folders of containers, `<state>/containers/<id>`.
#[derive(Clone, Debug)]
pub(crate) struct ContainerFolders {
    root: PathBuf,
}

/// The folder of one container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerFolder {
    path: PathBuf,
}

impl ContainerFolders {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let root = state_dir.join("containers");
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        Ok(Self { root })
    }

    pub(crate) fn folder(&self, id: &ContainerId) -> ContainerFolder {
        ContainerFolder {
            path: self.root.join(id.as_str()),
        }
    }

    /// Fails if the container has one already.
    pub(crate) fn create(&self, id: &ContainerId) -> Result<ContainerFolder, Error> {
        let folder = self.folder(id);
        match fs::create_dir(&folder.path) {
            Ok(()) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::ContainerExists { id: id.clone() })
            }
            Err(error) => Err(Error::file("create", &folder.path)(error)),
        }
    }

    /// The identifiers of all folders.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let fail = || Error::file("list", &self.root);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(fail())? {
            let name = entry.map_err(fail())?.file_name();
            ids.extend(name.to_str().and_then(|name| ContainerId::new(name).ok()));
        }
        Ok(ids)
    }
}

impl ContainerFolder {
    pub(crate) fn hostname(&self) -> PathBuf {
        self.path.join("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.path.join("hosts")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.path.join("resolv.conf")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("json.log")
    }

    pub(crate) fn log_shim_config(&self) -> PathBuf {
        self.path.join("log-shim.json")
    }

    /// Data of the container's anonymous volumes.
    pub(crate) fn anonymous_volume(&self, index: usize) -> PathBuf {
        self.path.join("volumes").join(index.to_string())
    }

    /// For short use while the container is made.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// Empty for a container that has not been started yet.
    pub(crate) fn history(&self) -> Result<History, Error> {
        let path = self.path.join("state.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::file("read", path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(History::default()),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// All or nothing, also when the machine stops in the middle.
    pub(crate) fn save_history(&self, history: &History) -> Result<(), Error> {
        let path = self.path.join("state.json");
        let json = serde_json::to_vec(history)
            .map_err(|error| Error::file("write", &path)(error.into()))?;
        replace_file(&path, &json).map_err(Error::file("write", path))
    }

    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &self.path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A file of a container's folder.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(Error::file("write", path))
}

/// Writes beside and renames over.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    drop(file);
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_survives_and_folders_are_exclusive() {
        let directory = tempfile::tempdir().unwrap();
        let folders = ContainerFolders::open(directory.path()).unwrap();
        let id = ContainerId::new("c1").unwrap();
        let folder = folders.create(&id).unwrap();
        assert_eq!(folder.history().unwrap(), History::default());
        let exit = Exit {
            code: 7,
            at: Timestamp(5),
            oom_killed: true,
            error: None,
        };
        let history = History {
            started_at: Some(Timestamp(3)),
            exit: Some(exit),
            closed: false,
        };
        folder.save_history(&history).unwrap();
        assert_eq!(folder.history().unwrap(), history);
        assert!(matches!(
            folders.create(&id),
            Err(Error::ContainerExists { .. })
        ));
        assert_eq!(folders.ids().unwrap(), [id]);
        folder.remove().unwrap();
        folder.remove().unwrap();
        assert!(folders.ids().unwrap().is_empty());
    }
}
