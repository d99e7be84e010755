//! Named volumes of Docker's `local` driver: a folder each, below the state directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::replace_file;
use crate::{Error, Timestamp};

/// A named volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// Where its data is on the host.
    pub mountpoint: PathBuf,
    pub labels: BTreeMap<String, String>,
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Record {
    labels: BTreeMap<String, String>,
    created_at: Timestamp,
}

/// `<state>/volumes/<name>/{_data,volume.json}`.
#[derive(Clone, Debug)]
pub(crate) struct VolumeStore {
    root: PathBuf,
}

impl VolumeStore {
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let root = state_dir.join("volumes");
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        Ok(Self { root })
    }

    /// Makes it unless it is there, in which case the labels stay as they are. True: it is new.
    pub(crate) fn ensure(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<(Volume, bool), Error> {
        check_name(name)?;
        if let Some(volume) = self.get(name)? {
            return Ok((volume, false));
        }
        let data = self.root.join(name).join("_data");
        fs::create_dir_all(&data).map_err(Error::file("create volume", &data))?;
        let record = Record {
            labels: labels.clone(),
            created_at: now,
        };
        let path = self.root.join(name).join("volume.json");
        let json = serde_json::to_vec(&record).map_err(io::Error::from);
        json.and_then(|json| replace_file(&path, &json))
            .map_err(Error::file("write", path))?;
        Ok((self.volume(name, record), true))
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Volume>, Error> {
        check_name(name)?;
        let path = self.root.join(name).join("volume.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::file("read", path)(error.into()))?;
                Ok(Some(self.volume(name, record)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// By name.
    pub(crate) fn list(&self) -> Result<Vec<Volume>, Error> {
        let fail = || Error::file("list", &self.root);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(fail())? {
            names.extend(entry.map_err(fail())?.file_name().into_string().ok());
        }
        names.sort_unstable();
        let mut volumes = Vec::new();
        for name in names.iter().filter(|name| check_name(name).is_ok()) {
            volumes.extend(self.get(name)?);
        }
        Ok(volumes)
    }

    /// `users` are the containers that have it.
    pub(crate) fn remove(&self, name: &str, users: Vec<String>) -> Result<(), Error> {
        if self.get(name)?.is_none() {
            return Err(Error::NoSuchVolume {
                name: name.to_owned(),
            });
        }
        if !users.is_empty() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                users,
            });
        }
        let path = self.root.join(name);
        fs::remove_dir_all(&path).map_err(Error::file("remove volume", path))
    }

    fn volume(&self, name: &str, record: Record) -> Volume {
        Volume {
            name: name.to_owned(),
            mountpoint: self.root.join(name).join("_data"),
            labels: record.labels,
            created_at: record.created_at,
        }
    }
}

/// Docker's rule; also what keeps a name inside the volumes' folder.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let length = (2..=255).contains(&name.len());
    if first && length && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        Ok(())
    } else {
        Err(Error::InvalidVolumeName {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_made_once_and_removed_when_unused() {
        let directory = tempfile::tempdir().unwrap();
        let store = VolumeStore::open(directory.path()).unwrap();
        let labels: BTreeMap<_, _> = [("a".to_owned(), "1".to_owned())].into();
        let (volume, new) = store.ensure("data", &labels, Timestamp(9)).unwrap();
        assert!(new && volume.mountpoint.is_dir());
        let (again, new) = store
            .ensure("data", &BTreeMap::new(), Timestamp(10))
            .unwrap();
        assert_eq!((again, new), (volume.clone(), false));
        assert_eq!(store.list().unwrap(), [volume]);
        let error = store.remove("data", vec!["c1".into()]).unwrap_err();
        assert_eq!(error.to_string(), "remove data: volume is in use - [c1]");
        store.remove("data", vec![]).unwrap();
        let error = store.remove("data", vec![]).unwrap_err();
        assert_eq!(error.to_string(), "get data: no such volume");
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for name in ["", "a", ".x", "../x", "a/b", "a b", "-a"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("my_vol-1.x").is_ok());
    }
}
