//! The lab's registry, reachable from every host over the underlay, and pushing to it by the
//! registry's own HTTP API: no other tool is needed.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    claim::Site,
    image::{self, Blob, Image},
};
use crate::{http, netns::Netns, wait};

const PORT: u16 = 5000;

#[derive(Debug)]
pub(super) struct Registry {
    netns: Netns,
    socket: SocketAddr,
    address: String,
    process: Option<Child>,
}

impl Registry {
    pub(super) fn start(site: &Site, netns: Netns, ip: Ipv4Addr) -> anyhow::Result<Self> {
        let folder = site.folder.join("registry");
        fs::create_dir_all(&folder)?;
        let socket = SocketAddr::from((ip, PORT));
        let configuration = folder.join("config.yml");
        fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
                 rootdirectory: {}/blobs\nhttp:\n  addr: {socket}\n",
                folder.display()
            ),
        )?;
        let log = File::create(folder.join("log"))?;
        let process = netns
            .command("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start docker-registry")?;
        let registry = Self {
            netns,
            socket,
            address: socket.to_string(),
            process: Some(process),
        };
        wait::until("the registry to answer", Duration::from_secs(20), || {
            registry.netns.run(|| http::get(socket, "/v2/"))
        })
        .with_context(|| format!("its log is {}", folder.join("log").display()))?;
        Ok(registry)
    }

    /// `HOST:PORT`, as it stands in front of an image's name.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Builds the page-serving image on the spot and pushes it as `web:1`.
    pub(super) fn push_web_image(&self, site: &Site) -> anyhow::Result<()> {
        let image = image::web(&site.folder.join("image"))?;
        self.netns
            .run(|| push(self.socket, "web", "1", &image))
            .context("pushing the image")
    }

    pub(super) fn detach(mut self) {
        self.process = None;
    }
}

fn push(registry: SocketAddr, name: &str, tag: &str, image: &Image) -> anyhow::Result<()> {
    for blob in [&image.layer, &image.configuration] {
        push_blob(registry, name, blob)?;
    }
    let path = format!("/v2/{name}/manifests/{tag}");
    let kind = [("Content-Type", image::MANIFEST)];
    let answer = http::request("PUT", registry, &path, &kind, image.manifest.as_bytes())?;
    if answer.status != 201 {
        bail!(
            "the manifest was answered {}: {}",
            answer.status,
            answer.text()
        );
    }
    Ok(())
}

fn push_blob(registry: SocketAddr, name: &str, blob: &Blob) -> anyhow::Result<()> {
    let answer = http::request(
        "POST",
        registry,
        &format!("/v2/{name}/blobs/uploads/"),
        &[],
        &[],
    )?;
    let location = answer.header("location").context("no place to upload to")?;
    let path = location.find("/v2/").map_or(location, |at| &location[at..]);
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}digest={}", blob.digest);
    let kind = [("Content-Type", "application/octet-stream")];
    let answer = http::request("PUT", registry, &path, &kind, &blob.bytes)?;
    if answer.status != 201 {
        bail!(
            "blob {} was answered {}: {}",
            blob.digest,
            answer.status,
            answer.text()
        );
    }
    Ok(())
}
