//! The cgroup programs, with real sockets: a node's own processes reach published ports on
//! `localhost` and the node's address. Two nodes' programs sit on one cgroup, as on a machine that
//! runs several nodes; only the one of the process's network namespace may act.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use swarm_common::verdict::{Program, Verdict};
use swarm_tests_bpf::cluster::Cluster;
use swarm_tests_bpf::fixture::{CGROUP, Fixture};
use swarm_tests_bpf::netns::Netns;
use swarm_tests_bpf::server::serve;
use swarm_tests_bpf::world;

/// A control group of this test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(label: &str) -> Result<Self> {
        let name = format!("/sys/fs/cgroup/unified/bpft{}{label}", std::process::id());
        let path = PathBuf::from(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    fn attach(&self, fixture: &mut Fixture) -> Result<()> {
        for name in CGROUP {
            let program: &mut CgroupSockAddr = fixture
                .ebpf
                .program_mut(name)
                .ok_or_else(|| anyhow!("no program {name}"))?
                .try_into()?;
            // A link always allows others beside it; the kernel refuses to be told so as well.
            program.attach(File::open(&self.0)?, CgroupAttachMode::Single)?;
        }
        Ok(())
    }

    /// Runs a client as a process of this group and of a namespace.
    fn ask(&self, netns: &Netns, to: SocketAddr) -> Result<Vec<String>> {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec ip netns exec {} \"$0\" {to}",
            self.0.display(),
            netns.name(),
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_swarm-bpf-client"))
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let lines: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("answer "))
            .map(str::to_owned)
            .collect();
        ensure!(
            output.status.success(),
            "{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(lines)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Fails only while a process is inside; the directory's name says whose it is.
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn a_nodes_own_processes_reach_published_ports() {
    let mut cluster = Cluster::new("h").unwrap();
    serve(&cluster.two, world::TARGET, "two").unwrap();
    serve(&cluster.far, world::TARGET, "far").unwrap();
    let cgroup = Cgroup::new("h").unwrap();
    cgroup.attach(&mut cluster.node_a).unwrap();
    cgroup.attach(&mut cluster.node_b).unwrap();
    for addr in [[127, 0, 0, 1], world::NODE_B] {
        let to = SocketAddr::from((Ipv4Addr::from(addr), world::PUBLISHED));
        for _ in 0..4 {
            let lines = cgroup.ask(&cluster.b, to).unwrap();
            assert_eq!(lines.len(), 2, "{lines:?}");
            for (line, kind) in lines.iter().zip(["tcp", "udp"]) {
                let seen = [
                    format!("{kind} two 10.0.0.3 from {to}"),
                    format!("{kind} far 10.0.0.3 from {to}"),
                ];
                assert!(seen.contains(line), "{line}");
            }
        }
    }
    let rewritten = |fixture: &Fixture, program| {
        let rows = fixture.verdicts().unwrap();
        rows.iter()
            .find(|(key, _)| *key == (program, Verdict::HostRewrite))
            .unwrap()
            .1
    };
    for program in [
        Program::Connect4,
        Program::Sendmsg4,
        Program::Recvmsg4,
        Program::Getpeername4,
    ] {
        assert_eq!(
            rewritten(&cluster.node_a, program),
            0,
            "{program} of the other node"
        );
        assert!(rewritten(&cluster.node_b, program) >= 8, "{program}");
    }
}

#[test]
fn processes_of_other_namespaces_are_left_alone() {
    let mut cluster = Cluster::new("o").unwrap();
    serve(&cluster.far, world::TARGET, "far").unwrap();
    let cgroup = Cgroup::new("o").unwrap();
    cgroup.attach(&mut cluster.node_b).unwrap();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, world::PUBLISHED));
    let error = cgroup.ask(&cluster.one, to).unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
    let acted: u64 = cluster
        .node_b
        .verdicts()
        .unwrap()
        .iter()
        .filter(|((program, _), _)| *program == Program::Connect4)
        .map(|(_, packets)| packets)
        .sum();
    assert_eq!(acted, 0);
}
