//! The image of demo and tests, built on the spot from this machine's static busybox: a web
//! server whose page names the task that answered and the client address that task saw.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::netns::run;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Commands of busybox that tasks and tests use.
const COMMANDS: &[&str] = &[
    "cat", "echo", "env", "hostname", "httpd", "id", "ip", "kill", "ls", "nc", "netstat",
    "nslookup", "ping", "ps", "sh", "sleep", "true", "wget",
];

/// The first process: it passes signals on, which a shell as process 1 otherwise ignores.
const START: &str = r#"#!/bin/sh
trap 'kill $server; exit 0' TERM INT
echo "task $(hostname) serves port ${PORT:-80}"
httpd -f -p "0.0.0.0:${PORT:-80}" -h /www &
server=$!
wait $server
"#;

/// The page.
const PAGE: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "task $(hostname) saw client $REMOTE_ADDR"
"#;

/// Bytes and their name.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes);
        Self { bytes, digest }
    }
}

/// An image of one layer.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) layer: Blob,
    pub(super) configuration: Blob,
    pub(super) manifest: String,
}

/// Builds the image, with `folder` as the place to work in.
pub(super) fn web(folder: &Path) -> anyhow::Result<Image> {
    let root = folder.join("root");
    fill(&root)?;
    let archive = folder.join("layer.tar");
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    run(tar.arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."))?;
    let uncompressed = digest(&fs::read(&archive)?);
    run(Command::new("gzip").args(["-1", "-n"]).arg(&archive))?;
    let layer = Blob::new(fs::read(folder.join("layer.tar.gz"))?);
    let configuration = Blob::new(configuration(&uncompressed).into_bytes());
    let manifest = manifest(&configuration, &layer);
    Ok(Image {
        layer,
        configuration,
        manifest,
    })
}

fn fill(root: &Path) -> anyhow::Result<()> {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "www/cgi-bin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(static_busybox()?, root.join("bin/busybox"))?;
    for command in COMMANDS {
        symlink("busybox", root.join("bin").join(command))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    for (path, text) in [("bin/start", START), ("www/cgi-bin/index.cgi", PAGE)] {
        fs::write(root.join(path), text)?;
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn static_busybox() -> anyhow::Result<&'static Path> {
    let path = ["/bin/busybox", "/usr/bin/busybox"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists())
        .context("no busybox; `cargo xtask setup` installs it")?;
    // A dynamically linked program names its loader in its first page.
    let bytes = fs::read(path)?;
    let head = &bytes[..bytes.len().min(4096)];
    if head
        .windows(8)
        .any(|window| window == b"/ld-linu" || window == b"/ld-musl")
    {
        bail!(
            "{} is not statically linked; install busybox-static",
            path.display()
        );
    }
    Ok(path)
}

fn configuration(layer: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["PATH=/bin"],"Cmd":["/bin/start"],"ExposedPorts":{{"80/tcp":{{}}}}}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}},"history":[{{"created_by":"swarm-testkit"}}]}}"#
    )
}

fn manifest(configuration: &Blob, layer: &Blob) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}]}}"#,
        configuration.digest,
        configuration.bytes.len(),
        layer.digest,
        layer.bytes.len()
    )
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sha256_in_hexadecimal() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
    }
}
