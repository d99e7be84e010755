//! What the end-to-end tests share: a swarm that is up, its tasks as values, and the page a
//! task answers with. Every test has a lab of its own and goes through the real binaries.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use swarm_testkit::{
    http,
    lab::{Host, Lab, Plan},
    netns::{Netns, run},
    traffic::Place,
    wait,
};

/// How long the swarm may take to become what was asked for.
pub const CONVERGED_AT_MOST: Duration = Duration::from_secs(40);

/// The port that [`Swarm::create_web`] publishes.
pub const PUBLISHED: u16 = 8080;

/// A lab whose hosts are one swarm; host 1 is the manager.
#[derive(Debug)]
pub struct Swarm {
    pub lab: Lab,
}

/// A running task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// Number of its host, from 1.
    pub host: usize,
    pub container: String,
    pub pid: u32,
}

/// What a task's page says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Page {
    /// The container's host name.
    pub hostname: String,
    /// The client address that the task saw.
    pub client: String,
}

impl Swarm {
    /// Agents on all hosts, the first a manager, the others joined with its token.
    pub fn up(hosts: usize) -> anyhow::Result<Self> {
        Self::up_with(hosts, 1)
    }

    /// Agents on all hosts, the first ones managers.
    pub fn up_with(hosts: usize, managers: usize) -> anyhow::Result<Self> {
        Self::with_managers(Lab::start(&Plan::from_environment(hosts)?)?, managers)
    }

    /// Makes the hosts of a lab one swarm with one manager.
    pub fn on(lab: Lab) -> anyhow::Result<Self> {
        Self::with_managers(lab, 1)
    }

    fn with_managers(mut lab: Lab, managers: usize) -> anyhow::Result<Self> {
        let hosts = lab.hosts().len();
        for host in lab.hosts_mut() {
            host.spawn_agent()?;
        }
        let swarm = Self { lab };
        let manager = swarm.manager();
        manager.swarm(&[
            "swarm",
            "init",
            "--advertise-addr",
            &manager.ip().to_string(),
        ])?;
        let (first, rest) = swarm.lab.hosts()[1..].split_at(managers - 1);
        let addr = swarm.manager_address();
        let token = swarm.token("manager")?;
        for host in first {
            host.swarm(&["swarm", "join", "--token", &token, &addr])?;
        }
        let token = swarm.worker_token()?;
        for host in rest {
            host.swarm(&["swarm", "join", "--token", &token, &addr])?;
        }
        wait::until("every node to be ready", CONVERGED_AT_MOST, || {
            let nodes = swarm.nodes()?;
            let ready = nodes.lines().filter(|line| line.contains("Ready")).count();
            if ready == hosts {
                Ok(())
            } else {
                bail!("{nodes}")
            }
        })?;
        Ok(swarm)
    }

    pub fn manager(&self) -> &Host {
        self.lab.host(1)
    }

    /// Where joiners find the manager.
    pub fn manager_address(&self) -> String {
        format!("{}:2377", self.manager().ip())
    }

    pub fn worker_token(&self) -> anyhow::Result<String> {
        self.token("worker")
    }

    fn token(&self, role: &str) -> anyhow::Result<String> {
        let token = self
            .manager()
            .swarm(&["swarm", "join-token", "--quiet", role])?;
        Ok(token.trim().to_owned())
    }

    pub fn nodes(&self) -> anyhow::Result<String> {
        self.manager().swarm(&["node", "ls"])
    }

    /// `network create --driver overlay app`, then a service `web` on it that publishes
    /// [`PUBLISHED`]; returns when all replicas run.
    pub fn create_web(&self, replicas: usize) -> anyhow::Result<Vec<Task>> {
        self.manager()
            .swarm(&["network", "create", "--driver", "overlay", "app"])?;
        let publish = format!("{PUBLISHED}:80");
        self.create(
            "web",
            replicas,
            &["--network", "app", "--publish", &publish],
        )
    }

    /// A service of the page-serving image; returns when all replicas run.
    pub fn create(&self, name: &str, replicas: usize, flags: &[&str]) -> anyhow::Result<Vec<Task>> {
        let before = self.tasks()?.len();
        let count = replicas.to_string();
        let image = self.lab.web_image();
        let mut words = vec![
            "service",
            "create",
            "--quiet",
            "--name",
            name,
            "--replicas",
            &count,
        ];
        words.extend(flags);
        words.push(&image);
        self.manager().swarm(&words)?;
        self.until_tasks(before + replicas)
    }

    /// Waits for exactly this many running tasks in the swarm.
    pub fn until_tasks(&self, count: usize) -> anyhow::Result<Vec<Task>> {
        wait::until(&format!("{count} running tasks"), CONVERGED_AT_MOST, || {
            let tasks = self.tasks()?;
            if tasks.len() == count {
                Ok(tasks)
            } else {
                bail!("running are {tasks:?}")
            }
        })
    }

    /// Every running task, by host.
    pub fn tasks(&self) -> anyhow::Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for (index, host) in self.lab.hosts().iter().enumerate() {
            for process in self.lab.tasks(host)? {
                tasks.push(Task {
                    host: index + 1,
                    container: process.id,
                    pid: process.pid,
                });
            }
        }
        tasks.sort(); // containerd lists them in any order
        Ok(tasks)
    }

    /// Asks host `number` from outside for the published page.
    pub fn page_from_outside(&self, number: usize) -> anyhow::Result<Page> {
        let server = SocketAddr::from((self.lab.host(number).ip(), PUBLISHED));
        self.lab.client().run(|| page(server))
    }

    /// Waits until every host serves the published page to the client outside.
    pub fn until_served(&self) -> anyhow::Result<()> {
        for number in 1..=self.lab.hosts().len() {
            wait::until(
                &format!("host {number} to serve the page"),
                CONVERGED_AT_MOST,
                || self.page_from_outside(number),
            )?;
        }
        Ok(())
    }
}

impl Drop for Swarm {
    #[expect(clippy::print_stderr, reason = "what a failed test has to go on")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.lab.hosts() {
                eprintln!(
                    "== last words of {}'s agent\n{}",
                    host.name(),
                    host.log_tail()
                );
            }
        }
    }
}

impl Task {
    pub fn netns(&self) -> Netns {
        Netns::of_process(self.pid)
    }

    /// A program of the task's own image, with the task's files and network.
    pub fn exec(&self, words: &[&str]) -> anyhow::Result<String> {
        let pid = self.pid.to_string();
        let mut nsenter = Command::new("nsenter");
        run(nsenter
            .args(["--target", &pid, "--mount", "--net", "--"])
            .args(words))
    }

    /// Its address below a prefix such as `10.0.1.`.
    pub fn address(&self, prefix: &str) -> anyhow::Result<Ipv4Addr> {
        let mut ip = self.netns().command("ip");
        let text = run(ip.args(["-4", "-oneline", "address", "show"]))?;
        text.split_whitespace()
            .filter_map(|word| word.split_once('/'))
            .map(|(address, _)| address)
            .find(|address| address.starts_with(prefix))
            .with_context(|| format!("no address {prefix}* in\n{text}"))?
            .parse()
            .context("an address")
    }

    /// The task on the service network `app`, the first that was created.
    pub fn on_app(&self) -> anyhow::Result<Place> {
        Ok(Place {
            netns: self.netns(),
            address: self.address(APP)?,
        })
    }

    /// What a name resolves to in the task, in order.
    pub fn resolve(&self, name: &str) -> anyhow::Result<Vec<Ipv4Addr>> {
        let text = self.exec(&["nslookup", name])?;
        let answers = text.split_once("Name:").map_or("", |(_, answers)| answers);
        let mut addresses: Vec<Ipv4Addr> = answers
            .split_whitespace()
            .filter_map(|word| word.split(':').next()?.parse().ok())
            .collect();
        addresses.sort_unstable();
        Ok(addresses)
    }
}

/// Addresses of the first network that a user makes.
pub const APP: &str = "10.0.1.";

/// The page a server answers with; run it where the question is to come from.
pub fn page(server: SocketAddr) -> anyhow::Result<Page> {
    parse_page(&http::get(server, "/")?)
}

fn parse_page(text: &str) -> anyhow::Result<Page> {
    let (hostname, client) = text
        .trim()
        .strip_prefix("task ")
        .and_then(|rest| rest.split_once(" saw client "))
        .with_context(|| format!("page {text:?}"))?;
    Ok(Page {
        hostname: hostname.to_owned(),
        client: client.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_task_and_client() {
        let page = parse_page("task 0123456789ab saw client 10.77.1.200\n").unwrap();
        assert_eq!(page.hostname, "0123456789ab");
        assert_eq!(page.client, "10.77.1.200");
        assert!(parse_page("<html>").is_err());
    }
}
