//! Task to task across hosts: every protocol both ways, large transfers whole, and nothing on
//! the wire but well-formed VXLAN.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Read as _,
    process::{Child, Stdio},
};

use swarm_testkit::{
    lab::{Host, Lab, Plan},
    traffic::{UdpEcho, ask_udp, bulk},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

#[test]
fn tasks_on_two_hosts_reach_each_other_and_big_transfers_arrive_whole() {
    let swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    assert_ne!(tasks[0].host, tasks[1].host, "replicas are spread");
    let (one, two) = (tasks[0].on_app().unwrap(), tasks[1].on_app().unwrap());
    wait::until("the overlay to carry packets", CONVERGED_AT_MOST, || {
        tasks[0].exec(&["ping", "-c", "1", "-W", "1", &two.address.to_string()])
    })
    .unwrap();
    let wire = Capture::start(swarm.manager(), "udp port 4789");
    let bare = Capture::start(swarm.manager(), "net 10.0.0.0/16 or arp net 10.0.0.0/16");
    for (task, from, to) in [(&tasks[0], &one, &two), (&tasks[1], &two, &one)] {
        task.exec(&["ping", "-c", "3", "-W", "2", &to.address.to_string()])
            .unwrap();
        task.exec(&[
            "ping",
            "-c",
            "1",
            "-W",
            "2",
            "-s",
            "1400",
            &to.address.to_string(),
        ])
        .unwrap();
        let echo = UdpEcho::start(to, 0).unwrap();
        ask_udp(&from.netns, echo.address).unwrap();
        bulk(&from.netns, to, 1_000_000).unwrap();
    }
    let wire = wire.stop();
    assert!(wire.contains("VXLAN, flags [I] (0x08), vni 4097"), "{wire}");
    let bare = bare.stop();
    assert!(
        !bare
            .lines()
            .any(|line| line.contains("IP ") || line.contains("ARP")),
        "{bare}"
    );
    for (from, to) in [(&one, &two), (&two, &one)] {
        bulk(&from.netns, to, 512 << 20).unwrap();
    }
}

#[test]
fn tasks_fit_a_narrow_underlay() {
    let lab = Lab::start(&Plan::from_environment(2).unwrap()).unwrap();
    for host in lab.hosts() {
        let mut ip = host.netns().command("ip");
        ip.args(["link", "set", "eth0", "mtu", "1400"]);
        assert!(ip.status().unwrap().success());
    }
    let swarm = Swarm::on(lab).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    let (one, two) = (tasks[0].on_app().unwrap(), tasks[1].on_app().unwrap());
    let address = two.address.to_string();
    wait::until("the overlay to carry packets", CONVERGED_AT_MOST, || {
        tasks[0].exec(&["ping", "-c", "1", "-W", "1", &address])
    })
    .unwrap();
    let link = tasks[0].exec(&["cat", "/sys/class/net/eth0/mtu"]).unwrap();
    assert_eq!(link.trim(), "1350");
    // The longest packet that goes whole, and one that the task's own host has to cut.
    for payload in ["1322", "1400"] {
        tasks[0]
            .exec(&["ping", "-c", "1", "-W", "2", "-s", payload, &address])
            .unwrap();
    }
    for (from, to) in [(&one, &two), (&two, &one)] {
        bulk(&from.netns, to, 16 << 20).unwrap();
    }
}

/// tcpdump on a host's underlay interface.
struct Capture {
    process: Child,
}

impl Capture {
    fn start(host: &Host, filter: &str) -> Self {
        let mut tcpdump = host.netns().command("tcpdump");
        tcpdump.args(["-l", "-n", "-i", "eth0", filter]);
        let mut process = tcpdump
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says on standard error when it has begun.
        let mut said = Vec::new();
        let errors = process.stderr.as_mut().unwrap();
        while !String::from_utf8_lossy(&said).contains("listening on") {
            let mut byte = [0];
            errors.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        Self { process }
    }

    fn stop(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let output = {
            let mut text = String::new();
            self.process
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        };
        self.process.wait().unwrap();
        output
    }
}
