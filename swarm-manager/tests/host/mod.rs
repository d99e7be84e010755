//! A host for the tests: the manager's binary with directories of its own and an address of 127/8 of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod fixtures;
mod log;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use swarm_core::{
    control::ControlError,
    model::{Availability, ClusterSpec, Role},
};
use swarm_proto::{
    client::{CaClient, ControlClient, InitRequest, Initialized, LocalClient},
    tls::{self, Credentials, Csr, Identity, KEY_FILE, new_csr},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use self::log::Log;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Awaits an event, but not for ever.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, event)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}

/// Asks until it is so, but not for ever, and not faster than this: every question costs all managers a round of messages.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        while !is_so().await {
            pace.tick().await;
        }
    };
    within(what, asking).await;
}

/// A file that makes the manager log everything.
const TRACED: &str = "traced";

/// A running manager.
pub(crate) struct Host {
    dir: TempDir,
    /// Where it listens for other nodes.
    pub(crate) addr: SocketAddr,
    child: Child,
    log: Log,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_swarm-manager"));
    command
        .arg("daemon")
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--socket")
        .arg(dir.join("manager.sock"))
        .arg("--certificates")
        .arg(dir.join("certificates"))
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if dir.join(TRACED).exists() {
        command.args(["--log", "trace"]);
    }
    command
}

/// Starts the binary and waits until it says that it is ready; the log goes on being read.
async fn spawn(dir: &Path) -> (Child, Log) {
    spawn_command(dir, command(dir)).await
}

async fn spawn_command(dir: &Path, mut command: Command) -> (Child, Log) {
    let mut child = command.spawn().unwrap();
    let shown = !dir.join(TRACED).exists();
    let log = Log::read(child.stderr.take().unwrap(), shown);
    log.says("manager is ready", 1).await;
    (child, log)
}

impl Host {
    /// Starts a manager without a state; `number` makes its address unique within the tests.
    pub(crate) async fn start(number: u8) -> Self {
        Self::start_in(number, tempfile::tempdir().unwrap()).await
    }

    /// The same in directories that are prepared first.
    pub(crate) async fn start_on(number: u8, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        Self::start_in(number, dir).await
    }

    /// Like [`Host::start`], and logs everything there is to log.
    pub(crate) async fn start_traced(number: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(TRACED), "").unwrap();
        Self::start_in(number, dir).await
    }

    async fn start_in(number: u8, dir: TempDir) -> Self {
        std::fs::create_dir(dir.path().join("certificates")).unwrap();
        let pid = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 100 + number, pid[2], pid[3].max(1));
        let addr = SocketAddr::new(IpAddr::V4(ip), 2377);
        let (child, log) = spawn(dir.path()).await;
        Self {
            dir,
            addr,
            child,
            log,
        }
    }

    /// Starts a manager that ended in its directories; it has the address that it had.
    pub(crate) async fn start_again(dir: TempDir) -> Self {
        let (child, log) = spawn(dir.path()).await;
        Self {
            dir,
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            child,
            log,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("manager.sock")
    }

    /// Where the manager keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.dir.path().join("certificates")
    }

    /// The manager's own certificate files.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::load(&self.certificates()).unwrap().unwrap()
    }

    /// Where the agent of this host would keep its certificate, and how it would tell the manager.
    pub(crate) fn keeper(&self) -> (PathBuf, LocalClient) {
        (self.certificates(), self.local())
    }

    /// Control over the unix socket.
    pub(crate) fn control(&self) -> ControlClient {
        ControlClient::new(tls::unix(&self.socket()))
    }

    pub(crate) fn local(&self) -> LocalClient {
        LocalClient::new(tls::unix(&self.socket()))
    }

    /// Makes a cluster as an agent does.
    pub(crate) async fn init(&self) -> Initialized {
        self.try_init(ClusterSpec::default()).await.unwrap()
    }

    fn init_request(&self, csr_pem: String, spec: ClusterSpec) -> InitRequest {
        InitRequest {
            csr_pem,
            listen_addr: self.addr,
            advertise_addr: self.addr,
            data_path_addr: None,
            hostname: "first".to_owned(),
            spec,
            force_new_cluster: false,
            default_address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            availability: Availability::Active,
        }
    }

    /// Makes a cluster of one from the state that is there.
    pub(crate) async fn force_new_cluster(&self) -> Result<Initialized, ControlError> {
        let mut request = self.init_request(String::new(), ClusterSpec::default());
        request.force_new_cluster = true;
        self.local().init(&request).await
    }

    pub(crate) async fn try_init(&self, spec: ClusterSpec) -> Result<Initialized, ControlError> {
        self.init_with(&self.write_key(), spec).await
    }

    /// Makes the key, as the agent does before it asks for a cluster.
    pub(crate) fn write_key(&self) -> Csr {
        let csr = new_csr().unwrap();
        std::fs::write(self.certificates().join(KEY_FILE), &csr.key_pem).unwrap();
        csr
    }

    /// Makes a cluster with the key that is there.
    pub(crate) async fn init_with(
        &self,
        csr: &Csr,
        spec: ClusterSpec,
    ) -> Result<Initialized, ControlError> {
        let request = self.init_request(csr.csr_pem.clone(), spec);
        let made = self.local().init(&request).await?;
        let credentials = Credentials {
            key_pem: csr.key_pem.clone(),
            cert_chain_pem: made.cert_chain_pem.clone(),
            ca_pem: made.ca_pem.clone(),
        };
        credentials.save(&self.certificates()).unwrap();
        Ok(made)
    }

    async fn certificate(
        &self,
        control: &ControlClient,
        role: Role,
        at: &SocketAddr,
    ) -> Credentials {
        let root = control.cluster().await.unwrap().root_ca;
        let token = swarm_core::ca::join_token(&root, role).unwrap().to_string();
        let csr = new_csr().unwrap();
        let joined = CaClient::join(&at.to_string(), &token, &csr, Availability::Active).await;
        joined.unwrap().into_credentials(csr.key_pem)
    }

    /// Gets the certificate of a new node that has no host here.
    pub(crate) async fn join_as(&self, control: &ControlClient, role: Role) -> Arc<Identity> {
        let credentials = self.certificate(control, role, &self.addr).await;
        Identity::new(&credentials).unwrap()
    }

    /// Gets the certificate of a new node, as its files.
    pub(crate) async fn join_credentials(
        &self,
        control: &ControlClient,
        role: Role,
    ) -> Credentials {
        self.certificate(control, role, &self.addr).await
    }

    /// Makes this host a manager of `first`'s cluster.
    pub(crate) async fn join_managers(&self, control: &ControlClient, first: &Self) {
        let credentials = self.certificate(control, Role::Manager, &first.addr).await;
        credentials.save(&self.certificates()).unwrap();
        self.local()
            .join(&[first.addr.to_string()], self.addr, self.addr)
            .await
            .unwrap();
    }

    /// What is on the host's disk: all files of the state and the certificates.
    pub(crate) fn disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut left = vec![self.state(), self.certificates()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
        }
        all
    }

    /// Tries to make this host a manager of `first`'s cluster, under an address that may be wrong.
    pub(crate) async fn try_join_managers(
        &self,
        control: &ControlClient,
        first: &Self,
        advertise: SocketAddr,
    ) -> Result<(), ControlError> {
        let credentials = self.certificate(control, Role::Manager, &first.addr).await;
        credentials.save(&self.certificates()).unwrap();
        let remotes = [first.addr.to_string()];
        self.local().join(&remotes, self.addr, advertise).await
    }

    /// `kill -9`, then the same directories again at another address.
    pub(crate) async fn move_to(mut self, addr: SocketAddr) -> Self {
        self.child.kill().await.unwrap();
        let mut command = command(self.dir.path());
        command.arg(format!("--listen-addr={addr}"));
        command.arg(format!("--advertise-addr={addr}"));
        (self.child, self.log) = spawn_command(self.dir.path(), command).await;
        self.addr = addr;
        self
    }

    /// Whether the process runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Leaves the managers.
    pub(crate) async fn leave(&self) -> Result<(), ControlError> {
        self.local().leave(false).await
    }

    /// `kill -9`; can be started again.
    pub(crate) async fn killed(mut self) -> Self {
        self.child.kill().await.unwrap();
        self
    }

    /// Starts a killed manager again.
    pub(crate) async fn restart(mut self) -> Self {
        (self.child, self.log) = spawn(self.dir.path()).await;
        self
    }

    /// `kill -9`, then the same directories again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.child.kill().await.unwrap();
        let (child, log) = spawn(self.dir.path()).await;
        self.child = child;
        self.log = log;
    }

    /// `kill -9`; gives the directories.
    pub(crate) async fn kill(mut self) -> TempDir {
        self.child.kill().await.unwrap();
        self.dir
    }

    /// Waits until the manager has said this that many times since its start.
    pub(crate) async fn said(&self, text: &str, times: usize) {
        self.log.says(text, times).await;
    }

    /// How often the manager has said this since its start.
    pub(crate) fn times_said(&self, text: &str) -> usize {
        self.log.times(text)
    }

    /// Sends a signal to the manager, such as `STOP`.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.await.unwrap().success());
    }

    /// The manager's directories.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until the manager ends by itself; gives its exit code and log, and the directories.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String, TempDir) {
        let status = within("the end of the manager", self.child.wait()).await;
        (status.unwrap().code(), self.log.whole().await, self.dir)
    }

    /// Runs `swarm-manager recover` on the directories of a manager; gives its exit code and what it says.
    pub(crate) async fn recover(dir: &Path, flags: &[&str]) -> (Option<i32>, String) {
        Self::recover_with(dir, flags, "").await
    }

    /// The same with a line on standard input.
    pub(crate) async fn recover_with(
        dir: &Path,
        flags: &[&str],
        input: &str,
    ) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swarm-manager"));
        command
            .arg("recover")
            .arg("--state-dir")
            .arg(dir.join("state"));
        command.arg("--certificates").arg(dir.join("certificates"));
        command.args(flags).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that asks for nothing may have ended by now.
        drop(stdin.write_all(format!("{input}\n").as_bytes()).await);
        drop(stdin);
        let run = within("the end of recover", child.wait_with_output())
            .await
            .unwrap();
        let said = [run.stdout, run.stderr].concat();
        (
            run.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// SIGTERM; gives the whole log.
    pub(crate) async fn stop(mut self) -> String {
        self.signal("TERM").await;
        let status = within("the end of the manager", self.child.wait()).await;
        let log = self.log.whole().await;
        assert!(status.unwrap().success(), "{log}");
        log
    }

    /// Runs a manager that is expected to refuse; gives its exit code and log.
    pub(crate) async fn run_to_end(dir: &Path) -> (Option<i32>, String) {
        let mut child = command(dir).spawn().unwrap();
        let mut log = String::new();
        let mut stderr = child.stderr.take().unwrap();
        within("the refusal", stderr.read_to_string(&mut log))
            .await
            .unwrap();
        let status = within("the exit", child.wait()).await.unwrap();
        (status.code(), log)
    }
}
