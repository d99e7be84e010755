//! The cluster of [`crate::world`] with real interfaces: two nodes and a client on a bridge.

use anyhow::{Context as _, Result, anyhow};
use aya::programs::LinkOrder;
use aya::programs::tc::{self, NlOptions, SchedClassifier, TcAttachOptions, TcAttachType};
use aya::util::KernelVersion;
use swarm_common::config::Config;
use swarm_common::hdr::ENCAP_LEN;
use swarm_common::maps::INGRESS_VNI;

use crate::fixture::Fixture;
use crate::netns::{Netns, veth};
use crate::world::{self, Attachment, VNI};

/// The first kernel with tcx; filters do on those before.
const TCX: KernelVersion = KernelVersion::new(6, 6, 0);

/// Two nodes, their tasks and a client.
#[derive(Debug)]
pub struct Cluster {
    /// Namespace of node a.
    pub a: Netns,
    /// Namespace of node b.
    pub b: Netns,
    /// Somebody outside.
    pub client: Netns,
    /// Task on a.
    pub one: Netns,
    /// Task on a, backend.
    pub two: Netns,
    /// Task on b, backend.
    pub far: Netns,
    /// Programs and maps of node a.
    pub node_a: Fixture,
    /// Programs and maps of node b.
    pub node_b: Fixture,
    _bridge: Netns,
}

impl Cluster {
    /// Builds everything with an underlay of 1,500 bytes and attaches the programs.
    pub fn new(label: &str) -> Result<Self> {
        Self::with_mtu(label, 1500)
    }

    /// Builds everything and attaches the programs; tasks may send what fits `underlay_mtu` when wrapped.
    pub fn with_mtu(label: &str, underlay_mtu: u32) -> Result<Self> {
        let named = |part: &str| Netns::new(&format!("{label}{part}"));
        let bridge = named("u")?;
        bridge.ip(&["link", "add", "br0", "type", "bridge"])?;
        bridge.ip(&["link", "set", "br0", "up"])?;
        let mtu = Mtu::of(underlay_mtu)?;
        let (a, b, client) = (named("a")?, named("b")?, named("c")?);
        underlay(&bridge, &a, "to-a", world::NODE_A, &mtu)?;
        underlay(&bridge, &b, "to-b", world::NODE_B, &mtu)?;
        underlay(&bridge, &client, "to-c", world::CLIENT, &mtu)?;
        let (one, two, far) = (named("1")?, named("2")?, named("3")?);
        let local_a = [
            task(&a, &one, "eth0", VNI, world::ONE, &mtu)?,
            task(&a, &two, "eth0", INGRESS_VNI, world::TWO_INGRESS, &mtu)?,
            task(&a, &two, "eth1", VNI, world::TWO, &mtu)?,
            own(&a, world::HOST_A, &mtu)?,
        ];
        let local_b = [
            task(&b, &far, "eth0", INGRESS_VNI, world::FAR_INGRESS, &mtu)?,
            task(&b, &far, "eth1", VNI, world::FAR, &mtu)?,
            own(&b, world::HOST_B, &mtu)?,
        ];
        let node_a = node(&a, (world::NODE_A, world::NODE_B), &local_a, &local_b, &mtu)?;
        let node_b = node(&b, (world::NODE_B, world::NODE_A), &local_b, &local_a, &mtu)?;
        Ok(Self {
            a,
            b,
            client,
            one,
            two,
            far,
            node_a,
            node_b,
            _bridge: bridge,
        })
    }
}

fn dotted(addr: [u8; 4]) -> String {
    std::net::Ipv4Addr::from(addr).to_string()
}

/// How long IP packets may be, in bytes.
struct Mtu {
    underlay: u32,
    /// What fits the underlay when wrapped.
    overlay: String,
}

impl Mtu {
    fn of(underlay: u32) -> Result<Self> {
        Ok(Self {
            underlay,
            overlay: (underlay - u32::try_from(ENCAP_LEN)?).to_string(),
        })
    }
}

/// The one that goes with an address, as `ip` takes it.
fn hardware_address(addr: [u8; 4]) -> String {
    swarm_common::mac::of(addr)
        .map(|octet| format!("{octet:02x}"))
        .join(":")
}

fn underlay(bridge: &Netns, node: &Netns, port: &str, addr: [u8; 4], mtu: &Mtu) -> Result<()> {
    veth(bridge, port, node, "under0")?;
    let bytes = mtu.underlay.to_string();
    bridge.ip(&["link", "set", port, "mtu", &bytes, "master", "br0", "up"])?;
    let mac = hardware_address(addr);
    node.ip(&["link", "set", "under0", "address", &mac, "mtu", &bytes])?;
    node.ip(&[
        "address",
        "add",
        &format!("{}/24", dotted(addr)),
        "dev",
        "under0",
    ])?;
    node.ip(&["link", "set", "under0", "up"])
}

fn task(
    node: &Netns,
    task: &Netns,
    name: &str,
    vni: u32,
    addr: [u8; 4],
    mtu: &Mtu,
) -> Result<Attachment> {
    let host_side = format!("sw{}", addr.map(|octet| format!("{octet:02x}")).concat());
    veth(node, &host_side, task, name)?;
    configure(task, name, addr, mtu)?;
    if name == "eth0" {
        let gateway = dotted([addr[0], addr[1], addr[2], 1]);
        task.ip(&["route", "add", "default", "via", &gateway])?;
    }
    node.ip(&["link", "set", &host_side, "mtu", &mtu.overlay, "up"])?;
    Ok(Attachment {
        vni,
        addr,
        ifindex: node.ifindex(&host_side)?,
        flags: 0,
    })
}

fn own(node: &Netns, addr: [u8; 4], mtu: &Mtu) -> Result<Attachment> {
    node.ip(&[
        "link", "add", "swhost0", "type", "veth", "peer", "name", "swhost1",
    ])?;
    configure(node, "swhost0", addr, mtu)?;
    node.ip(&["link", "set", "swhost1", "up"])?;
    Ok(world::host(addr, node.ifindex("swhost1")?))
}

fn configure(netns: &Netns, name: &str, addr: [u8; 4], mtu: &Mtu) -> Result<()> {
    let mac = hardware_address(addr);
    netns.ip(&["link", "set", name, "address", &mac, "mtu", &mtu.overlay])?;
    netns.ip(&[
        "address",
        "add",
        &format!("{}/24", dotted(addr)),
        "dev",
        name,
    ])?;
    netns.ip(&["link", "set", name, "up"])
}

fn node(
    netns: &Netns,
    (addr, peer): ([u8; 4], [u8; 4]),
    local: &[Attachment],
    remote: &[Attachment],
    mtu: &Mtu,
) -> Result<Fixture> {
    let underlay = netns.ifindex("under0")?;
    let cookie = netns.run(crate::cookie::current)?;
    let mut fixture = Fixture::load(&Config {
        underlay_mtu: mtu.underlay,
        ..world::config(addr, underlay, cookie)
    })?;
    let others: Vec<_> = remote.iter().map(|other| (other.vni, other.addr)).collect();
    world::fill(&mut fixture, addr, peer, local, &others)?;
    netns.run(|| {
        attach(&mut fixture, "tc_underlay_ingress", underlay)?;
        for attachment in local {
            attach(&mut fixture, "tc_task_ingress", attachment.ifindex)?;
        }
        Ok(())
    })?;
    Ok(fixture)
}

fn attach(fixture: &mut Fixture, name: &str, ifindex: u32) -> Result<()> {
    let interface = nix::net::if_::if_indextoname(ifindex)?;
    let interface = interface.to_str()?;
    let program: &mut SchedClassifier = fixture
        .ebpf
        .program_mut(name)
        .ok_or_else(|| anyhow!("no program {name}"))?
        .try_into()?;
    let options = if KernelVersion::current()? >= TCX {
        TcAttachOptions::TcxOrder(LinkOrder::default())
    } else {
        tc::qdisc_add_clsact(interface)?;
        TcAttachOptions::Netlink(NlOptions::default())
    };
    program
        .attach_with_options(interface, TcAttachType::Ingress, options)
        .with_context(|| format!("{name} at {interface}"))?;
    Ok(())
}
