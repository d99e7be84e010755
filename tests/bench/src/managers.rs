//! Three real managers, each in a network namespace of its own, on one switch. No agents, no containers: what is measured is
//! consensus.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_core::model::{Availability, ClusterSpec, Role};
use swarm_proto::{
    client::{CaClient, ControlClient, InitRequest, LocalClient, Phase},
    tls::{self, Credentials, Identity, KEY_FILE, new_csr},
};
use swarm_testkit::{
    netns::{self, Netns, ip, run},
    wait,
};

/// Name of the namespaces and folders, with the process that made them.
const PREFIX: &str = "swmgr";
const PORT: u16 = 2377;
const AT_MOST: Duration = Duration::from_secs(30);

/// What happens to a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Frozen,
    CutOff,
}

/// Three managers of one cluster; dropping them takes everything down.
#[derive(Debug)]
pub(crate) struct Managers {
    pub(crate) all: Vec<Manager>,
    // Last: the processes go before the namespaces.
    site: Site,
}

/// One manager.
#[derive(Debug)]
pub(crate) struct Manager {
    folder: PathBuf,
    binary: PathBuf,
    netns: Netns,
    pub(crate) addr: SocketAddr,
    child: Option<Child>,
}

/// Namespaces and the folder.
#[derive(Debug)]
struct Site {
    folder: PathBuf,
    namespaces: Vec<String>,
}

impl Drop for Site {
    #[expect(clippy::print_stderr, reason = "nobody else would hear of it")]
    fn drop(&mut self) {
        for name in &self.namespaces {
            if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
                eprintln!("namespace {name} stays: {error:#}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        remove_stale()?;
        let own = format!("{PREFIX}{}", std::process::id());
        let folder = std::env::temp_dir().join(&own);
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut site = Self {
            folder,
            namespaces: Vec::new(),
        };
        for role in ["net", "1", "2", "3"] {
            let name = format!("{own}-{role}");
            Netns::create(&name)?;
            site.namespaces.push(name);
        }
        let net = site.switch();
        ip(net, "link add switch type bridge forward_delay 0")?;
        ip(net, "link set switch up")?;
        ip(net, "addr add 10.78.0.200/24 dev switch")?;
        for (index, name) in site.namespaces.iter().enumerate().skip(1) {
            let add = format!("link add port{index} type veth peer name eth0 netns {name}");
            ip(net, &add)?;
            ip(net, &format!("link set port{index} master switch up"))?;
            ip(name, &format!("addr add 10.78.0.{index}/24 dev eth0"))?;
            ip(name, "link set eth0 up")?;
        }
        Ok(site)
    }

    fn switch(&self) -> &str {
        &self.namespaces[0]
    }
}

/// Takes down what a run left that was killed.
fn remove_stale() -> anyhow::Result<()> {
    let alive = |name: &str| {
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        Path::new("/proc").join(digits).exists()
    };
    let stale = |folder: &Path| -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        if folder.exists() {
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.strip_prefix(PREFIX).is_some_and(|rest| !alive(rest)) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    };
    for name in stale(Path::new(netns::FOLDER))? {
        run(Command::new("ip").args(["netns", "del", &name]))?;
    }
    for name in stale(&std::env::temp_dir())? {
        fs::remove_dir_all(std::env::temp_dir().join(name))?;
    }
    Ok(())
}

impl Managers {
    /// Starts the processes; [`Managers::form`] is to follow.
    pub(crate) fn start(binary: &Path) -> anyhow::Result<Self> {
        let site = Site::new()?;
        let mut all = Vec::new();
        for number in 1..=3_u8 {
            let folder = site.folder.join(number.to_string());
            fs::create_dir_all(folder.join("certificates"))?;
            let mut manager = Manager {
                folder,
                binary: binary.to_owned(),
                netns: Netns::named(&site.namespaces[usize::from(number)]),
                addr: (Ipv4Addr::new(10, 78, 0, number), PORT).into(),
                child: None,
            };
            manager.spawn()?;
            all.push(manager);
        }
        Ok(Self { all, site })
    }

    /// Where a client is that is no manager.
    pub(crate) fn outside(&self) -> Netns {
        Netns::named(self.site.switch())
    }

    /// Makes the cluster; the first manager leads. Call it [outside](Self::outside).
    pub(crate) async fn form(&self) -> anyhow::Result<()> {
        let first = &self.all[0];
        first.init().await?;
        for other in &self.all[1..] {
            let credentials = self.certificate(Role::Manager).await?;
            credentials.save(&other.certificates())?;
            let local = LocalClient::new(tls::unix(&other.socket()));
            local
                .join(&[first.addr.to_string()], other.addr, other.addr)
                .await?;
        }
        Ok(())
    }

    /// The certificate of a new node, from the first manager.
    async fn certificate(&self, role: Role) -> anyhow::Result<Credentials> {
        let first = &self.all[0];
        let root = first.control().cluster().await?.root_ca;
        let token = swarm_core::ca::join_token(&root, role).context("the cluster has no tokens")?;
        let token = token.to_string();
        let csr = new_csr()?;
        let addr = first.addr.to_string();
        let joined = CaClient::join(&addr, &token, &csr, Availability::Active).await?;
        Ok(joined.into_credentials(csr.key_pem))
    }

    /// A new worker node that has no host.
    pub(crate) async fn worker(&self) -> anyhow::Result<Arc<Identity>> {
        Ok(Identity::new(&self.certificate(Role::Worker).await?)?)
    }

    /// The position of the manager that leads, as itself and all others see it.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = tokio::time::Instant::now() + AT_MOST;
        loop {
            let mut seen = Vec::new();
            for manager in &self.all {
                let local = LocalClient::new(tls::unix(&manager.socket()));
                let status = local.status().await.ok();
                let running = status.filter(|status| status.phase == Phase::Running);
                seen.push(running.and_then(|status| status.leader_addr));
            }
            let leads = self
                .all
                .iter()
                .position(|manager| seen.iter().all(|other| *other == Some(manager.addr)));
            if let Some(leads) = leads {
                return Ok(leads);
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "the managers see these leaders: {seen:?}"
            );
        }
    }

    /// Lets a fault happen; it has happened when this returns.
    pub(crate) fn strike(&mut self, position: usize, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.all[position].kill(),
            Fault::Frozen => self.all[position].signal(Signal::SIGSTOP),
            Fault::CutOff => self.line(position, "down"),
        }
    }

    /// Undoes a fault.
    pub(crate) fn heal(&mut self, position: usize, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => self.all[position].spawn(),
            Fault::Frozen => self.all[position].signal(Signal::SIGCONT),
            Fault::CutOff => self.line(position, "up"),
        }
    }

    /// Cuts the line of a manager at the switch, so that the manager itself notices nothing but silence.
    fn line(&self, position: usize, state: &str) -> anyhow::Result<()> {
        let set = format!("link set port{} {state}", position + 1);
        ip(self.site.switch(), &set).map(drop)
    }
}

impl Manager {
    fn socket(&self) -> PathBuf {
        self.folder.join("manager.sock")
    }

    fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// Control over the unix socket, as its agent has it.
    pub(crate) fn control(&self) -> ControlClient {
        ControlClient::new(tls::unix(&self.socket()))
    }

    async fn init(&self) -> anyhow::Result<()> {
        let csr = new_csr()?;
        fs::write(self.certificates().join(KEY_FILE), &csr.key_pem)?;
        let request = InitRequest {
            csr_pem: csr.csr_pem,
            listen_addr: self.addr,
            advertise_addr: self.addr,
            data_path_addr: None,
            hostname: "first".to_owned(),
            spec: ClusterSpec::default(),
            force_new_cluster: false,
            default_address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            availability: Availability::Active,
        };
        let made = LocalClient::new(tls::unix(&self.socket()))
            .init(&request)
            .await?;
        let credentials = Credentials {
            key_pem: csr.key_pem,
            cert_chain_pem: made.cert_chain_pem,
            ca_pem: made.ca_pem,
        };
        Ok(credentials.save(&self.certificates())?)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        let mut daemon = self.netns.command(&self.binary);
        daemon.arg("daemon");
        daemon.arg("--state-dir").arg(self.folder.join("state"));
        daemon.arg("--socket").arg(self.socket());
        daemon.arg("--certificates").arg(self.certificates());
        let child = daemon
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| self.binary.display().to_string())?;
        self.child = Some(child);
        let socket = self.socket();
        wait::until("the manager's socket", AT_MOST, || {
            Ok(std::os::unix::net::UnixStream::connect(&socket).map(drop)?)
        })
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the manager does not run")?;
        Ok(kill(Pid::from_raw(i32::try_from(child.id())?), signal)?)
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Manager {
    #[expect(clippy::print_stderr, reason = "nobody else would hear of it")]
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("a manager still runs: {error:#}");
        }
    }
}
