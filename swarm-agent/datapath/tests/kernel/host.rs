//! A host of its own for one test: a network namespace with an underlay interface, a BPF file
//! system and a cgroup, all removed at the end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::mount::{MntFlags, umount2};
use swarm_agent_datapath::{AttachMode, DataPathConfig, DesiredMaps};
use swarm_agent_net::link::VethPair;
use swarm_agent_net::sandbox::AppliedSandbox;
use swarm_agent_net::{Attachment, Mac, Netlink, NetnsDir, Sandboxes, TaskSandbox, netns};
use swarm_common::Addr;
use swarm_common::config::Config;
use swarm_common::maps::{EndpointKey, EndpointValue, InterfaceKey, InterfaceValue};
use tokio::runtime::Runtime;

pub(crate) const VNI: u32 = 4097;
const CGROUP: &str = "/sys/fs/cgroup/unified";

pub(crate) struct Host {
    pub(crate) config: DataPathConfig,
    pub(crate) runtime: Runtime,
    pub(crate) sandboxes: Sandboxes,
}

/// Runs `body` on a thread inside a fresh namespace. `name` must be unique among all tests.
pub(crate) fn on_a_fresh_host(name: &'static str, body: impl FnOnce(&Host) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let hosts = NetnsDir::open(directory.path().join("hosts")).unwrap();
    let namespace = hosts.ensure(name).unwrap();
    let cgroup = Path::new(CGROUP).join(format!("swdp-{name}-{}", std::process::id()));
    std::fs::create_dir(&cgroup).unwrap();
    let (root, for_body) = (directory.path().to_owned(), cgroup.clone());
    let outcome = namespace.run_in(move || body(&Host::new(&root, for_body)));

    let left = NetnsDir::open(directory.path().join("netns")).unwrap();
    for name in left.list().unwrap() {
        left.delete(&name).unwrap();
    }
    hosts.delete(name).unwrap();
    let bpffs = directory.path().join("bpf");
    // A test that failed early has not mounted it.
    if bpffs.exists() {
        umount2(&bpffs, MntFlags::MNT_DETACH).unwrap();
    }
    std::fs::remove_dir(&cgroup).unwrap();
    outcome.unwrap();
}

impl Host {
    fn new(directory: &Path, cgroup_root: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (sandboxes, underlay) = runtime.block_on(async {
            let netlink = Netlink::open().unwrap();
            netlink.set_up("lo").await.unwrap();
            let pair = VethPair {
                host_name: "under0",
                peer_name: "under1",
                peer_mac: Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                peer_namespace: None,
            };
            let ends = netlink.ensure_veth(pair, &netlink).await.unwrap();
            let sandboxes = Sandboxes::open(directory.join("netns")).unwrap();
            (sandboxes, ends.host.index)
        });
        let programs = Config {
            host_netns_cookie: netns::current_cookie().unwrap(),
            node_addr: Addr::v4([192, 0, 2, 1]),
            underlay_ifindex: underlay,
            ..Config::UNSET
        };
        let bpffs = directory.join("bpf");
        let config = DataPathConfig {
            bpffs,
            cgroup_root,
            programs,
            attach: AttachMode::default(),
        };
        Self {
            config,
            runtime,
            sandboxes,
        }
    }

    /// A task at 10.0.1.LAST.
    pub(crate) fn task(&self, last: u8) -> AppliedSandbox {
        let address = Ipv4Addr::new(10, 0, 1, last);
        let wanted = TaskSandbox {
            name: format!("task{last}"),
            sysctls: std::collections::BTreeMap::default(),
            attachments: vec![Attachment {
                ifname: "eth0".to_owned(),
                address,
                prefix_len: 24,
                mac: Mac::of(address),
                mtu: 1450,
                default_gateway: Some(Ipv4Addr::new(10, 0, 1, 1)),
            }],
        };
        self.runtime
            .block_on(self.sandboxes.apply(&wanted))
            .unwrap()
    }
}

/// What makes the tasks at these addresses reach each other: (last octet, interface).
pub(crate) fn plan(tasks: &[(u8, u32)]) -> DesiredMaps {
    let mut maps = DesiredMaps::default();
    for (last, ifindex) in tasks {
        let octets = [10, 0, 1, *last];
        let (addr, mac) = (Addr::v4(octets), swarm_common::mac::of(octets));
        maps.endpoints.insert(
            EndpointKey { vni: VNI, addr },
            EndpointValue {
                ifindex: *ifindex,
                mac,
                ..EndpointValue::default()
            },
        );
        maps.interfaces.insert(
            InterfaceKey { ifindex: *ifindex },
            InterfaceValue {
                vni: VNI,
                addr,
                gateway: Addr::v4([10, 0, 1, 1]),
                netmask_be: u32::from_ne_bytes([255, 255, 255, 0]),
                mac,
                ..InterfaceValue::default()
            },
        );
    }
    maps
}

/// Ids of the programs on an interface's ingress.
pub(crate) fn programs_on(ifname: &str) -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx(ifname, TcAttachType::Ingress).unwrap();
    programs
        .iter()
        .map(aya::programs::ProgramInfo::id)
        .collect()
}
