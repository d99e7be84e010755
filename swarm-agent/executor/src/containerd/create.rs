//! Makes a container: folder, snapshot, files, volumes, runtime specification, containerd's object. Each
//! step that fails undoes the ones before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::{Container as Stored, CreateContainerRequest};
use containerd_client::types;
use prost_types::Any;
use serde_json::Value;
use tonic::Code;

use super::Engine;
use super::local::LocalImage;
use super::record::{Record, visible_labels};
use super::rootfs;
use crate::executor::Event;
use crate::oci::mounts::{HostMount, HostSource, normalise, validate};
use crate::oci::{self, Prepared};
use crate::signal::{SIGTERM, parse_signal};
use crate::spec::{ContainerId, ContainerSpec, Mount, MountKind, Propagation};
use crate::state::{ContainerFolder, write_file};
use crate::{Error, ImageReference, Timestamp, user};

const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

impl Engine {
    pub(crate) async fn create(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), Error> {
        for mount in &spec.mounts {
            validate(mount)?;
        }
        let reference = ImageReference::parse(&spec.image)?;
        let image = self.local_image(&reference).await?;
        let image = image.ok_or_else(|| Error::NoSuchImage {
            image: spec.image.clone(),
            failure: None,
        })?;
        let stop_signal = match spec
            .stop_signal
            .as_ref()
            .or(image.defaults.stop_signal.as_ref())
        {
            Some(name) => parse_signal(name)?,
            None => SIGTERM,
        };
        let _creating = self.containers.lock(id.as_str()).await;
        let folder = self.folders.create(id)?;
        let mut undo = Undo::default();
        let creation = Creation {
            id,
            spec,
            image: &image,
            stop_signal,
            folder: &folder,
        };
        if let Err(error) = self.make(&creation, &mut undo).await {
            self.undo(id, &folder, undo).await?;
            return Err(error);
        }
        self.announce(Event::Created { id: id.clone() });
        Ok(())
    }

    async fn make(&self, creation: &Creation<'_>, undo: &mut Undo) -> Result<(), Error> {
        let Creation {
            id,
            spec,
            image,
            stop_signal,
            folder,
        } = *creation;
        let rootfs = self.prepare_snapshot(id, &image.top_snapshot).await?;
        undo.snapshot = true;
        let accounts = rootfs::accounts(&rootfs);
        let user_name = spec.user.as_deref().unwrap_or(&image.defaults.user);
        let user = user::resolve(&accounts, user_name, &spec.groups)?;
        let mut mounts = Vec::new();
        for (index, mount) in spec.mounts.iter().enumerate() {
            mounts.push(self.host_mount(mount, index, folder, &rootfs, undo)?);
        }
        image_volumes(&image.defaults.volumes, spec, folder, &rootfs, &mut mounts)?;
        write_files(id, spec, folder)?;
        let prepared = Prepared {
            user,
            mounts,
            hostname_file: folder.hostname(),
            hosts_file: folder.hosts(),
            resolv_conf_file: folder.resolv_conf(),
            cgroups_path: format!("{}/{id}", self.config.cgroup_parent),
            swap_accounting: swap_accounting(),
            init_binary: self.config.init_binary.clone(),
        };
        let document = oci::build(id, spec, &image.defaults, &prepared)?;
        let record = Record {
            spec: spec.clone(),
            image_id: image.image.config_digest.clone(),
            command: oci::process::arguments(spec, &image.defaults)?,
            created_at: Timestamp::now(),
            stop_signal,
            cgroups_path: prepared.cgroups_path,
        };
        self.create_object(id, spec, &document, &record).await
    }

    async fn prepare_snapshot(
        &self,
        id: &ContainerId,
        parent: &str,
    ) -> Result<Vec<types::Mount>, Error> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.config.snapshotter.clone(),
            key: id.to_string(),
            parent: parent.to_owned(),
            // Nothing refers to it until the container object exists.
            labels: [(
                "containerd.io/gc.root".to_owned(),
                Timestamp::now().to_string(),
            )]
            .into(),
        };
        let prepared = self
            .api
            .snapshots()
            .prepare(self.api.request(request))
            .await;
        let response = prepared.map_err(|status| {
            if status.code() == Code::AlreadyExists {
                Error::ContainerExists { id: id.clone() }
            } else {
                self.api.failed("prepare snapshot")(status)
            }
        })?;
        Ok(response.into_inner().mounts)
    }

    fn host_mount(
        &self,
        mount: &Mount,
        index: usize,
        folder: &ContainerFolder,
        rootfs: &[types::Mount],
        undo: &mut Undo,
    ) -> Result<HostMount, Error> {
        let source = match &mount.kind {
            MountKind::Tmpfs { size_bytes, mode } => HostSource::Tmpfs {
                size_bytes: *size_bytes,
                mode: *mode,
            },
            MountKind::Bind {
                source,
                propagation,
                recursive,
            } => bind_source(source, *propagation, *recursive)?,
            MountKind::Volume {
                name,
                labels,
                no_copy,
            } => {
                let (path, new) = match name {
                    None => (folder.anonymous_volume(index), true),
                    Some(name) => self.named_volume(name, labels, undo)?,
                };
                if new {
                    new_volume(&path, &mount.target, rootfs, *no_copy, folder)?;
                }
                plain_path(path)
            }
        };
        Ok(HostMount {
            target: mount.target.clone(),
            read_only: mount.read_only,
            source,
        })
    }

    /// Where a named volume is, and whether it is new.
    fn named_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        undo: &mut Undo,
    ) -> Result<(PathBuf, bool), Error> {
        let (volume, new) = self.volumes.ensure(name, labels, Timestamp::now())?;
        if new {
            undo.volumes.push(name.to_owned());
        }
        Ok((volume.mountpoint, new))
    }

    async fn create_object(
        &self,
        id: &ContainerId,
        spec: &ContainerSpec,
        document: &Value,
        record: &Record,
    ) -> Result<(), Error> {
        let request = CreateContainerRequest {
            container: Some(self.object(id, spec, document, record)?),
        };
        match self
            .api
            .containers()
            .create(self.api.request(request))
            .await
        {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                Err(Error::ContainerExists { id: id.clone() })
            }
            Err(status) => Err(self.api.failed("create container")(status)),
        }
    }

    /// The container as containerd keeps it.
    fn object(
        &self,
        id: &ContainerId,
        spec: &ContainerSpec,
        document: &Value,
        record: &Record,
    ) -> Result<Stored, Error> {
        let any = Any {
            type_url: SPEC_TYPE.to_owned(),
            value: document.to_string().into_bytes(),
        };
        Ok(Stored {
            id: id.to_string(),
            labels: visible_labels(spec),
            image: spec.image.clone(),
            runtime: Some(Runtime {
                name: self.config.runtime.clone(),
                options: None,
            }),
            spec: Some(any),
            snapshotter: self.config.snapshotter.clone(),
            snapshot_key: id.to_string(),
            extensions: record.to_extensions()?,
            ..Stored::default()
        })
    }

    async fn undo(
        &self,
        id: &ContainerId,
        folder: &ContainerFolder,
        undo: Undo,
    ) -> Result<(), Error> {
        for name in undo.volumes {
            self.volumes.remove(&name, Vec::new())?;
        }
        if undo.snapshot {
            self.remove_snapshot(id.as_str()).await?;
        }
        folder.remove()
    }
}

/// What is to be made.
struct Creation<'a> {
    id: &'a ContainerId,
    spec: &'a ContainerSpec,
    image: &'a LocalImage,
    stop_signal: u32,
    folder: &'a ContainerFolder,
}

/// What a failed creation has to take back, beside the folder.
#[derive(Default)]
struct Undo {
    snapshot: bool,
    /// Named volumes that did not exist before.
    volumes: Vec<String>,
}

/// The source of a bind, which the user has to make (Docker's rule for services).
fn bind_source(
    source: &Path,
    propagation: Propagation,
    recursive: bool,
) -> Result<HostSource, Error> {
    if !source.exists() {
        return Err(Error::InvalidMount {
            kind: "bind",
            reason: format!("bind source path does not exist: {}", source.display()),
        });
    }
    Ok(HostSource::Path {
        path: source.to_owned(),
        propagation,
        recursive,
    })
}

/// A place the image declares as a volume gets an anonymous one, unless something is mounted there.
fn image_volumes(
    targets: &[String],
    spec: &ContainerSpec,
    folder: &ContainerFolder,
    rootfs: &[types::Mount],
    mounts: &mut Vec<HostMount>,
) -> Result<(), Error> {
    for (index, target) in targets.iter().enumerate() {
        if mounts
            .iter()
            .any(|mount| normalise(&mount.target) == normalise(target))
        {
            continue;
        }
        let path = folder.anonymous_volume(spec.mounts.len() + index);
        new_volume(&path, target, rootfs, false, folder)?;
        let source = plain_path(path);
        mounts.push(HostMount {
            target: target.clone(),
            read_only: false,
            source,
        });
    }
    Ok(())
}

fn plain_path(path: PathBuf) -> HostSource {
    HostSource::Path {
        path,
        propagation: Propagation::default(),
        recursive: true,
    }
}

/// An empty folder, or, as in Docker, a copy of what the image has at the target.
fn new_volume(
    path: &Path,
    target: &str,
    rootfs: &[types::Mount],
    no_copy: bool,
    folder: &ContainerFolder,
) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::file("create volume", path))?;
    if no_copy {
        Ok(())
    } else {
        rootfs::copy_out(rootfs, target, path, &folder.scratch())
    }
}

fn write_files(
    id: &ContainerId,
    spec: &ContainerSpec,
    folder: &ContainerFolder,
) -> Result<(), Error> {
    let hostname = format!("{}\n", oci::hostname(id, spec));
    write_file(&folder.hostname(), hostname.as_bytes())?;
    write_file(&folder.hosts(), spec.hosts.as_bytes())?;
    write_file(&folder.resolv_conf(), spec.resolv_conf.as_bytes())
}

/// Whether the kernel counts swap: always with cgroup v2, by boot option with v1.
fn swap_accounting() -> bool {
    let v1_memory = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
    !v1_memory || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}
