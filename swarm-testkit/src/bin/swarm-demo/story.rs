//! The demonstration itself, in the order a new user would type it. Every command is the real
//! one and every output what it printed; a command that fails ends the story.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_testkit::{
    lab::{self, Host, Lab, Plan, TaskProcess, Underlay},
    wait,
};

use crate::screen::{act, say, show, show_output};

const HOSTS: usize = 3;
const CONVERGED_AT_MOST: Duration = Duration::from_secs(30);

pub(crate) fn tell(agent: PathBuf, manager: PathBuf, keep: bool) -> anyhow::Result<()> {
    let start = Instant::now();
    let earlier = lab::stop_kept()?;
    if earlier > 0 {
        say("an earlier demo that was kept is taken down");
    }
    let mut lab = Lab::start(&Plan {
        hosts: HOSTS,
        underlay: Underlay::Switch,
        agent,
        manager,
    })?;
    introduce(&mut lab)?;
    make_swarm(&lab)?;
    run_service(&lab)?;
    ask_from_outside(&lab)?;
    ask_from_task(&lab)?;
    kill_task(&lab)?;
    let web = lab.host(1);
    typed(web, &["service", "scale", "web=5"])?;
    typed(web, &["service", "ps", "web"])?;
    show_counters(&lab)?;
    if keep {
        invite(&lab);
        return lab.keep();
    }
    act("and away");
    typed(web, &["service", "rm", "web"])?;
    typed(web, &["service", "ls"])?;
    drop(lab);
    say(&format!(
        "\nEverything is taken down. {:.0} seconds from the first namespace to the last.",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn introduce(lab: &mut Lab) -> anyhow::Result<()> {
    act("three hosts");
    say("Each is a network namespace with an agent of its own; one more is a client outside.");
    for host in lab.hosts_mut() {
        host.spawn_agent()?;
        say(&format!(
            "  {}  {}  {}",
            host.name(),
            host.ip(),
            host.socket().display()
        ));
    }
    say(&format!("  client {}", lab.client_ip()));
    say(&format!(
        "  registry {} with {}",
        lab.registry(),
        lab.web_image()
    ));
    Ok(())
}

fn make_swarm(lab: &Lab) -> anyhow::Result<()> {
    act("a swarm");
    let manager = lab.host(1);
    let words = [
        "swarm",
        "init",
        "--advertise-addr",
        &manager.ip().to_string(),
    ];
    let printed = show_output(
        manager.name(),
        &typed_text(&words),
        manager.swarm_command().args(words),
    )?;
    let token = printed
        .split_whitespace()
        .find(|word| word.starts_with("SWMTKN-"))
        .context("swarm init printed no token")?;
    let address = format!("{}:2377", manager.ip());
    for host in &lab.hosts()[1..] {
        typed(host, &["swarm", "join", "--token", token, &address])?;
    }
    // Tasks are spread over nodes that are ready; a join does not wait for ever for its node to be.
    wait::until("every node to be ready", CONVERGED_AT_MOST, || {
        let listed = manager.swarm(&["node", "ls"])?;
        if listed.matches("Ready").count() != HOSTS {
            bail!("the nodes are {listed}");
        }
        Ok(())
    })?;
    typed(manager, &["node", "ls"])
}

fn run_service(lab: &Lab) -> anyhow::Result<()> {
    act("a service");
    let manager = lab.host(1);
    typed(
        manager,
        &["network", "create", "--driver", "overlay", "app"],
    )?;
    let image = lab.web_image();
    let create = [
        "service",
        "create",
        "--name",
        "web",
        "--replicas",
        "3",
        "--network",
        "app",
        "-p",
        "8080:80",
        &image,
    ];
    typed(manager, &create)?;
    typed(manager, &["service", "ls"])?;
    typed(manager, &["service", "ps", "web"])
}

fn ask_from_outside(lab: &Lab) -> anyhow::Result<()> {
    act("through the mesh: every host answers, and the task sees who really asked");
    for host in lab.hosts() {
        typed(
            host,
            &["container", "ls", "--format", "task {{.ID}} is {{.Names}}"],
        )?;
    }
    for host in lab.hosts() {
        let url = format!("http://{}:8080/", host.ip());
        show("client", &format!("curl {url}"), &mut curl(lab, &url))?;
    }
    Ok(())
}

fn ask_from_task(lab: &Lab) -> anyhow::Result<()> {
    act("task to task: the name is a virtual address, balanced in eBPF");
    let host = lab.host(2);
    let task = first_task(lab, host)?;
    let machine = format!("task on {}", host.name());
    for words in [&["nslookup", "web"][..], &["wget", "-qO-", "http://web/"]] {
        show(&machine, &words.join(" "), in_task(&task).args(words))?;
    }
    Ok(())
}

fn kill_task(lab: &Lab) -> anyhow::Result<()> {
    act("a task dies and is replaced");
    let host = lab.host(3);
    let killed = first_task(lab, host)?;
    say(&format!("\n{} # kill -9 {}", host.name(), killed.pid));
    kill(Pid::from_raw(i32::try_from(killed.pid)?), Signal::SIGKILL)?;
    let start = Instant::now();
    wait::until(
        "three tasks without the killed one",
        CONVERGED_AT_MOST,
        || {
            let tasks = all_tasks(lab)?;
            if tasks.contains(&killed) || tasks.len() != 3 {
                bail!("the tasks are {tasks:?}");
            }
            Ok(())
        },
    )?;
    say(&format!(
        "three again after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    typed(lab.host(1), &["service", "ps", "web"])
}

fn show_counters(lab: &Lab) -> anyhow::Result<()> {
    act("what crossed which eBPF program");
    for host in lab.hosts() {
        say(&format!(
            "\n{} # swarm-agent datapath counters",
            host.name()
        ));
        say(host.datapath(&["counters"])?.trim_end());
    }
    Ok(())
}

fn invite(lab: &Lab) {
    act("it keeps running: play with it");
    let host = lab.host(1);
    let program = host
        .swarm_command()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let client = lab.client();
    say(&format!(
        "  export SWARM_HOST=unix://{}",
        host.socket().display()
    ));
    say(&format!("  {program} service ps web"));
    say(&format!(
        "  docker -H unix://{} node ls",
        host.socket().display()
    ));
    say(&format!(
        "  nsenter --net={} curl http://{}:8080/",
        client.path().display(),
        host.ip()
    ));
    say(&format!(
        "  nsenter --net={} tcpdump -ni eth0 udp port 4789",
        host.netns().path().display()
    ));
    say(&format!(
        "  bpftool map dump pinned {}/*/endpoints",
        host.bpffs().display()
    ));
    say("  cargo xtask demo --stop    takes it down");
}

/// Shows and runs our command line on a host.
fn typed(host: &Host, words: &[&str]) -> anyhow::Result<()> {
    show(
        host.name(),
        &typed_text(words),
        host.swarm_command().args(words),
    )
}

fn typed_text(words: &[&str]) -> String {
    format!("swarm-manager {}", words.join(" "))
}

fn curl(lab: &Lab, url: &str) -> Command {
    let mut curl = lab.client().command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "5", url]);
    curl
}

/// A command inside a task: its file system and its network.
fn in_task(task: &TaskProcess) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &task.pid.to_string(), "--mount", "--net", "--"]);
    nsenter
}

fn first_task(lab: &Lab, host: &Host) -> anyhow::Result<TaskProcess> {
    lab.tasks(host)?
        .into_iter()
        .next()
        .with_context(|| format!("no task on {}", host.name()))
}

fn all_tasks(lab: &Lab) -> anyhow::Result<Vec<TaskProcess>> {
    let mut tasks = Vec::new();
    for host in lab.hosts() {
        tasks.extend(lab.tasks(host)?);
    }
    Ok(tasks)
}
