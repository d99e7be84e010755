//! Looks into a container's root file system before it runs: the image's account files, and the content
//! that a new volume starts with.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use containerd_client::types;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Error;
use crate::user::Accounts;

/// The account files, empty where the image has none.
pub(crate) fn accounts(mounts: &[types::Mount]) -> Accounts {
    let layers = layers(mounts);
    let read = |name: &str| topmost_file(&layers, name).unwrap_or_default();
    Accounts {
        passwd: read("passwd"),
        group: read("group"),
    }
}

/// The folders a mount is made of, the topmost first. No mount is needed to read a file.
fn layers(mounts: &[types::Mount]) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for mount in mounts {
        if mount.r#type == "bind" {
            layers.push(PathBuf::from(&mount.source));
        }
        for option in &mount.options {
            if let Some(lower) = option.strip_prefix("lowerdir=") {
                layers.extend(lower.split(':').map(PathBuf::from));
            }
        }
    }
    layers
}

/// `/etc/<name>` as the container would see it. Links are not followed: they would lead out of the image.
fn topmost_file(layers: &[PathBuf], name: &str) -> Option<String> {
    for layer in layers {
        let etc = layer.join("etc");
        match fs::symlink_metadata(&etc) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return None,
            Err(_) => continue,
        }
        let file = etc.join(name);
        match fs::symlink_metadata(&file) {
            Ok(metadata) if metadata.is_file() => {
                return fs::read(&file)
                    .ok()
                    .map(|b| String::from_utf8_lossy(&b).into_owned());
            }
            // Overlay's mark for a deleted file, or a link.
            Ok(_) => return None,
            Err(_) => {}
        }
    }
    None
}

/// Copies what the image has at `target` into the new, empty folder `destination`. `scratch` is a folder
/// that does not exist.
pub(crate) fn copy_out(
    mounts: &[types::Mount],
    target: &str,
    destination: &Path,
    scratch: &Path,
) -> Result<(), Error> {
    let mounted = Mounted::new(mounts, scratch)?;
    let Some(source) = inside(&mounted.path, target) else {
        return Ok(());
    };
    copy_tree(&source, destination).map_err(Error::file("copy image content to", destination))
}

/// The folder at `target` below `root`, if it is one and no link is on the way.
fn inside(root: &Path, target: &str) -> Option<PathBuf> {
    let mut path = root.to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => return None,
        }
        if !fs::symlink_metadata(&path).ok()?.is_dir() {
            return None;
        }
    }
    Some(path)
}

/// Folders, files and links with owner and mode. Devices, sockets and pipes stay behind.
fn copy_tree(source: &Path, destination: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), destination.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_tree(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
            let metadata = fs::symlink_metadata(&from)?;
            std::os::unix::fs::lchown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
            copy_attributes(&from, &to)?;
        } else {
            let special = kind.is_socket() || kind.is_fifo();
            tracing::debug!(path = %from.display(), special, "not copied into the volume");
        }
    }
    copy_attributes(source, destination)
}

fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    // After chown, which clears set-user-ID.
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

/// A mounted root file system; gone when dropped.
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn new(mounts: &[types::Mount], path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::file("create", path))?;
        let mounted = Self {
            path: path.to_owned(),
        };
        for entry in mounts {
            let (flags, data) = split_options(&entry.options);
            mount(
                Some(entry.source.as_str()),
                path,
                Some(entry.r#type.as_str()),
                flags,
                Some(data.as_str()),
            )
            .map_err(|errno| Error::file("mount image on", path)(errno.into()))?;
        }
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing mounted (a failed mount) and busy are both settled: lazily, or not there.
        if let Err(errno) = umount2(&self.path, MntFlags::MNT_DETACH) {
            tracing::debug!(path = %self.path.display(), %errno, "nothing to unmount");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a mount point");
        }
    }
}

fn split_options(options: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "rw" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(lower: &[&Path]) -> Vec<types::Mount> {
        let lower: Vec<String> = lower
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        vec![types::Mount {
            r#type: "overlay".into(),
            source: "overlay".into(),
            options: vec!["workdir=/w".into(), format!("lowerdir={}", lower.join(":"))],
            ..types::Mount::default()
        }]
    }

    #[test]
    fn account_files_come_from_the_topmost_layer_that_has_them() {
        let directory = tempfile::tempdir().unwrap();
        let (top, base) = (directory.path().join("top"), directory.path().join("base"));
        fs::create_dir_all(top.join("etc")).unwrap();
        fs::create_dir_all(base.join("etc")).unwrap();
        fs::write(base.join("etc/passwd"), "base").unwrap();
        fs::write(base.join("etc/group"), "group").unwrap();
        let mounts = overlay(&[&top, &base]);
        assert_eq!(accounts(&mounts).passwd, "base");
        fs::write(top.join("etc/passwd"), "top").unwrap();
        symlink("/etc/shadow", top.join("etc/group")).unwrap();
        let found = accounts(&mounts);
        assert_eq!(
            (found.passwd.as_str(), found.group.as_str()),
            ("top", ""),
            "no link is followed"
        );
        assert_eq!(accounts(&[]), Accounts::default());
    }

    #[test]
    fn trees_are_copied_with_modes_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/file"), "text").unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        copy_tree(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/file")).unwrap(), "text");
        assert_eq!(
            fs::metadata(to.join("sub/file")).unwrap().mode() & 0o7777,
            0o640
        );
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("/nowhere")
        );
        assert_eq!(inside(&from, "/sub/../sub"), None);
        assert_eq!(inside(&from, "/link"), None);
        assert_eq!(inside(&from, "/sub"), Some(from.join("sub")));
    }
}
