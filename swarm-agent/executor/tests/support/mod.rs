//! A private containerd and a private registry, started for one test and gone after it, with images built
//! on the spot from the busybox of this machine. Needs root, containerd, runc, docker-registry and
//! busybox-static; a missing one fails the test.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use serde_json::json;
use sha2::{Digest, Sha256};
use swarm_agent_executor::{
    ContainerId, ContainerSpec, ContainerdConfig, ContainerdExecutor, Executor, LogQuery,
    LogSource, PullRequest,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What an image of the test does when it is run.
pub(crate) const EXIT_7: &str = "echo out; echo err >&2; exit 7";
pub(crate) const SERVER: &str =
    "trap 'exit 3' TERM; echo ready; while :; do sleep 100 & wait $!; done";
pub(crate) const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 100 & wait $!; done";

/// A process that is ended with the value.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it has written a line with `ready`; returns that line.
    pub(crate) fn start(command: &mut Command, ready: &str) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        let wanted = ready.to_owned();
        // Goes on reading to the end, so that the daemon never blocks.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains(&wanted) {
                    drop(sender.send(line));
                }
            }
        });
        let line = receiver.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|_| panic!("{command:?} did not say {ready:?}"));
        (Self { child }, line)
    }

    pub(crate) fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) registry: String,
    pub(crate) containerd: Option<Daemon>,
    registry_daemon: Option<Daemon>,
}

impl World {
    /// containerd, a registry and the images `app:exit7`, `app:server`, `app:stubborn`, `app:broken`.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("swx").tempdir().unwrap();
        let (registry_daemon, registry) = start_registry(directory.path());
        let mut world = Self {
            directory,
            registry,
            containerd: None,
            registry_daemon: Some(registry_daemon),
        };
        world.start_containerd();
        let shell = |script: &str| json!({ "Cmd": ["/bin/sh", "-c", script] });
        for (tag, config) in [
            ("exit7", shell(EXIT_7)),
            ("server", shell(SERVER)),
            ("stubborn", shell(STUBBORN)),
            ("broken", json!({ "Cmd": ["/nosuch"] })),
        ] {
            world.push(&format!("app:{tag}"), &config).await;
        }
        world
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("c.sock")
    }

    pub(crate) fn start_containerd(&mut self) {
        let root = self.directory.path();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{0}/c.sock\"\n[ttrpc]\naddress = \"{0}/t.sock\"\n",
            root.display()
        );
        std::fs::write(root.join("config.toml"), config).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(root.join("config.toml"));
        let (daemon, _) = Daemon::start(&mut command, "containerd successfully booted");
        self.containerd = Some(daemon);
    }

    pub(crate) fn stop_containerd(&mut self) {
        self.containerd = None;
    }

    pub(crate) fn stop_registry(&mut self) {
        self.registry_daemon = None;
    }

    pub(crate) fn config(&self) -> ContainerdConfig {
        let root = self.directory.path();
        ContainerdConfig {
            log_shim: env!("CARGO_BIN_EXE_swarm-log-shim").into(),
            ..ContainerdConfig::new(
                self.socket(),
                self.name(),
                root.join("agent"),
                root.join("run"),
            )
        }
    }

    /// Unique on this machine: runc keeps the containers of one namespace in one place, whichever
    /// containerd they belong to.
    fn name(&self) -> &str {
        self.directory.path().file_name().unwrap().to_str().unwrap()
    }

    pub(crate) async fn connect(&self) -> ContainerdExecutor {
        ContainerdExecutor::connect(self.config()).await.unwrap()
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.registry)
    }

    /// Pulls the image and returns a specification for it.
    pub(crate) async fn spec(&self, executor: &dyn Executor, name: &str) -> ContainerSpec {
        let image = self.image(name);
        executor
            .pull(&PullRequest {
                image: image.clone(),
                auth: None,
            })
            .await
            .unwrap();
        ContainerSpec {
            image,
            ..ContainerSpec::default()
        }
    }

    /// Pushes an image of busybox and some folders; returns the digest of its manifest.
    pub(crate) async fn push(&self, name: &str, config: &serde_json::Value) -> String {
        let (base, top) = (busybox_layer(), files_layer());
        let file = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [base.1, top.1] },
        });
        let layer = |data: Vec<u8>| ImageLayer::oci_v1_gzip(data, None);
        let config = Config::oci_v1(file.to_string().into_bytes(), None);
        let reference = self.image(name).parse().unwrap();
        let layers = [layer(base.0), layer(top.0)];
        let pushed = Self::registry_client()
            .push(&reference, &layers, config, &RegistryAuth::Anonymous, None)
            .await
            .unwrap();
        pushed.manifest_url.rsplit('/').next().unwrap().to_owned()
    }

    pub(crate) fn registry_client() -> oci_client::Client {
        let installed = rustls::crypto::ring::default_provider().install_default();
        drop(installed);
        oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        })
    }
}

/// Containers outlive containerd: each is removed before it goes. Nothing here may panic, the test may
/// have.
impl Drop for World {
    fn drop(&mut self) {
        if self.containerd.is_none() {
            self.start_containerd();
        }
        let config = self.config();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime
                .block_on(remove_all(config))
                .map_err(std::io::Error::other)
        });
        if !matches!(cleaned.join(), Ok(Ok(()))) {
            tracing::error!(directory = %self.directory.path().display(), "containers are left");
        }
        self.containerd = None;
        let cgroups = CONTROLLERS.map(|name| format!("/sys/fs/cgroup/{name}/{}", self.name()));
        let runc = format!("/run/containerd/runc/{}", self.name());
        for folder in cgroups.into_iter().chain([runc]) {
            if let Err(error) = std::fs::remove_dir(&folder) {
                tracing::debug!(folder, %error, "not removed");
            }
        }
    }
}

const CONTROLLERS: [&str; 12] = [
    "memory", "cpu", "cpuacct", "pids", "devices", "freezer", "blkio", "cpuset", "systemd",
    "unified", "hugetlb", "net_cls",
];

async fn remove_all(config: ContainerdConfig) -> Result<(), swarm_agent_executor::Error> {
    let executor = ContainerdExecutor::connect(config).await?;
    for container in executor.list().await? {
        executor.delete(&container.id, true).await?;
    }
    Ok(())
}

fn start_registry(directory: &Path) -> (Daemon, String) {
    let config = format!(
        "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {}/registry }} }}\n\
         http: {{ addr: '127.0.0.1:0' }}\n",
        directory.display()
    );
    let path = directory.join("registry.yml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new("docker-registry");
    let (daemon, line) = Daemon::start(command.arg("serve").arg(path), "listening on 127.0.0.1:");
    let port = line.split("listening on 127.0.0.1:").nth(1).unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    (daemon, format!("127.0.0.1:{port}"))
}

/// A gzipped layer and its diff ID.
fn layer(build: impl FnOnce(&Path)) -> (Vec<u8>, String) {
    let directory = tempfile::tempdir().unwrap();
    build(directory.path());
    let tar = run(Command::new("tar")
        .args(["-c", "--numeric-owner", "--mtime=@0", "-C"])
        .arg(directory.path())
        .arg("."));
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&tar)));
    let file = directory.path().join("layer.tar");
    std::fs::write(&file, tar).unwrap();
    (
        run(Command::new("gzip").args(["-n", "-c"]).arg(file)),
        diff_id,
    )
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

fn busybox_layer() -> (Vec<u8>, String) {
    layer(|root| {
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in String::from_utf8(run(Command::new("/bin/busybox").arg("--list")))
            .unwrap()
            .lines()
        {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
        }
    })
}

fn files_layer() -> (Vec<u8>, String) {
    layer(|root| {
        for folder in ["etc", "tmp", "proc", "sys", "dev", "data/sub"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(
            root.join("etc/group"),
            "root:x:0:\nweb:x:44:\nextra:x:55:web\n",
        )
        .unwrap();
        std::fs::write(root.join("data/sub/seed"), "from the image\n").unwrap();
    })
}

pub(crate) fn id(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

/// Everything a container printed, by stream.
pub(crate) async fn output(
    executor: &dyn Executor,
    id: &ContainerId,
) -> BTreeMap<&'static str, String> {
    let mut lines = executor.logs(id, &LogQuery::default()).await.unwrap();
    let mut texts = BTreeMap::new();
    while let Some(line) = within(lines.next()).await {
        let line = line.unwrap();
        let stream = match line.source {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
        };
        texts
            .entry(stream)
            .or_insert_with(String::new)
            .push_str(&line.text);
    }
    texts
}

/// Runs a shell script to its end and returns exit code and what it printed to stdout.
pub(crate) async fn run_script(
    executor: &dyn Executor,
    name: &str,
    spec: &ContainerSpec,
    script: &str,
) -> (u32, String) {
    let spec = ContainerSpec {
        args: Some(vec!["/bin/sh".into(), "-c".into(), script.into()]),
        ..spec.clone()
    };
    let id = id(name);
    executor.create(&id, &spec).await.unwrap();
    executor.start(&id).await.unwrap();
    let exit = within(executor.wait(&id)).await.unwrap();
    let mut output = output(executor, &id).await;
    (exit.code, output.remove("stdout").unwrap_or_default())
}

/// Waits until a container has printed a line with `text`.
pub(crate) async fn wait_for_line(executor: &dyn Executor, id: &ContainerId, text: &str) {
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut lines = executor.logs(id, &query).await.unwrap();
    loop {
        let line = within(lines.next())
            .await
            .expect("the container goes on")
            .unwrap();
        if line.text.contains(text) {
            return;
        }
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("done before the deadline")
}

/// Whole content of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    let mut file = std::fs::File::open(path.as_ref())
        .unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    file.read_to_string(&mut text).unwrap();
    text
}

/// Lines that count up from 0.
pub(crate) fn numbered(prefix: &str, count: u32) -> String {
    let lines: Vec<String> = (0..count)
        .map(|number| format!("{prefix}{number}\n"))
        .collect();
    lines.concat()
}
