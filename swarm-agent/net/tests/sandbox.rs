//! Task sandboxes made by the real kernel. Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test must name its line"
)]

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use swarm_agent_net::host_pair::{self, HostPair};
use swarm_agent_net::sandbox::{AppliedInterface, host_ifname};
use swarm_agent_net::{Attachment, Mac, Netlink, Netns, Sandboxes, TaskSandbox, netns, sysctl};

fn attachment(ifname: &str, address: [u8; 4], gateway: Option<[u8; 4]>) -> Attachment {
    let address = Ipv4Addr::from(address);
    Attachment {
        ifname: ifname.to_owned(),
        address,
        prefix_len: 24,
        mac: Mac::of(address),
        mtu: 1450,
        default_gateway: gateway.map(Ipv4Addr::from),
    }
}

fn two_networks() -> TaskSandbox {
    TaskSandbox {
        name: "task1".to_owned(),
        sysctls: BTreeMap::from([(
            "net.ipv4.ip_local_port_range".to_owned(),
            "2000 3000".to_owned(),
        )]),
        attachments: vec![
            attachment("eth0", [10, 0, 1, 3], Some([10, 0, 1, 1])),
            attachment("eth1", [10, 0, 2, 7], None),
        ],
    }
}

/// Interfaces as (name, mac, mtu, up, addresses).
async fn observed(sandboxes: &Sandboxes) -> Vec<(String, String, u32, bool, Vec<(IpAddr, u8)>)> {
    let seen = sandboxes.inspect("task1").await.unwrap().unwrap();
    seen.interfaces
        .into_iter()
        .map(|i| {
            (
                i.link.name,
                i.link.mac.unwrap().to_string(),
                i.link.mtu,
                i.link.up,
                i.addresses,
            )
        })
        .collect()
}

#[test]
fn a_sandbox_is_built_kept_changed_and_removed() {
    support::on_a_fresh_host("swnet-a", |run_dir| async move {
        let directory = run_dir.join("netns");
        let sandboxes = Sandboxes::open(&directory).unwrap();
        let wanted = two_networks();

        // Phase 1: everything the specification names is there.
        let applied = sandboxes.apply(&wanted).await.unwrap();
        assert_eq!(applied.netns_path, directory.join("task1"));
        let both = vec![
            (
                "eth0".to_owned(),
                "02:42:0a:00:01:03".to_owned(),
                1450,
                true,
                vec![("10.0.1.3".parse().unwrap(), 24)],
            ),
            (
                "eth1".to_owned(),
                "02:42:0a:00:02:07".to_owned(),
                1450,
                true,
                vec![("10.0.2.7".parse().unwrap(), 24)],
            ),
        ];
        assert_eq!(observed(&sandboxes).await, both);
        let host = Netlink::open().unwrap();
        for AppliedInterface {
            ifname,
            host_ifname: name,
            host_ifindex,
            ..
        } in &applied.interfaces
        {
            assert_eq!(*name, host_ifname("task1", ifname));
            let link = host.link_by_name(name).await.unwrap().unwrap();
            assert_eq!((link.index, link.up, link.mtu), (*host_ifindex, true, 1450));
        }
        let namespace = sandboxes.namespace("task1").unwrap().unwrap();
        check_inside(&namespace).await;

        // Phase 2: a second agent adopts it and changes nothing.
        let restarted = Sandboxes::open(&directory).unwrap();
        assert_eq!(restarted.list().unwrap(), ["task1"]);
        assert_eq!(restarted.apply(&wanted).await.unwrap(), applied);

        // Phase 3: a changed address is mended in place, an attachment that left is removed.
        let mut changed = wanted.clone();
        changed.attachments.truncate(1);
        changed.attachments[0].address = Ipv4Addr::new(10, 0, 1, 9);
        changed.attachments[0].mac = Mac::of(Ipv4Addr::new(10, 0, 1, 9));
        let after = restarted.apply(&changed).await.unwrap();
        assert_eq!(after.interfaces, applied.interfaces[..1]);
        let one = vec![(
            "eth0".to_owned(),
            "02:42:0a:00:01:09".to_owned(),
            1450,
            true,
            vec![("10.0.1.9".parse().unwrap(), 24)],
        )];
        assert_eq!(observed(&restarted).await, one);

        // Phase 4: nothing is left, and removing again is fine.
        restarted.remove("task1").await.unwrap();
        restarted.remove("task1").await.unwrap();
        assert_eq!(restarted.inspect("task1").await.unwrap(), None);
        assert!(!directory.join("task1").exists());
        let left: Vec<_> = host
            .links()
            .await
            .unwrap()
            .into_iter()
            .map(|l| l.name)
            .collect();
        assert_eq!(
            left.iter().filter(|name| name.starts_with("sw")).count(),
            0,
            "{left:?}"
        );
    });
}

async fn check_inside(namespace: &Netns) {
    let task = Netlink::open_in(namespace).await.unwrap();
    let route = task.default_route().await.unwrap().unwrap();
    let eth0 = task.link_by_name("eth0").await.unwrap().unwrap();
    assert_eq!(
        (route.ifindex, route.gateway),
        (eth0.index, Some(Ipv4Addr::new(10, 0, 1, 1)))
    );
    assert!(task.link_by_name("lo").await.unwrap().unwrap().up);

    let keys = [
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.eth0.rp_filter",
        "net.ipv4.ip_local_port_range",
    ];
    let read = move || keys.map(|key| sysctl::read(key).unwrap());
    let inside = namespace.run_in_async(read).await.unwrap();
    assert_eq!(inside, ["0\t2147483647", "0", "0", "0", "2000\t3000"]);
    let outside = Netns::current()
        .unwrap()
        .run_in_async(move || sysctl::read(keys[4]))
        .await;
    assert_ne!(
        outside.unwrap().unwrap(),
        "2000\t3000",
        "the host keeps its own setting"
    );
}

#[test]
fn a_sysctl_outside_net_is_refused() {
    support::on_a_fresh_host("swnet-b", |run_dir| async move {
        let sandboxes = Sandboxes::open(run_dir.join("netns")).unwrap();
        let mut wanted = two_networks();
        wanted
            .sysctls
            .insert("kernel.shmmax".to_owned(), "1".to_owned());
        let error = sandboxes.apply(&wanted).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "sysctl \"kernel.shmmax\" is not a network setting (net.*) and cannot be set per task"
        );
        sandboxes.remove("task1").await.unwrap();
    });
}

#[test]
fn the_host_pair_carries_one_address_and_can_change_it() {
    support::on_a_fresh_host("swnet-c", |_| async move {
        let netlink = Netlink::open().unwrap();
        let mut wanted = HostPair {
            address: Ipv4Addr::new(10, 0, 0, 2),
            prefix_len: 24,
            mtu: 1450,
        };
        let first = host_pair::ensure(&netlink, wanted).await.unwrap();
        assert_eq!(host_pair::ensure(&netlink, wanted).await.unwrap(), first);
        let underlay = netlink.underlay(wanted.address.into()).await.unwrap();
        assert_eq!(
            (underlay.ifindex, underlay.name.as_str()),
            (first.host, "swhost0")
        );
        assert_eq!(
            (underlay.mac, underlay.mtu),
            (Some(Mac::of(wanted.address)), 1450)
        );

        let old = wanted.address;
        wanted.address = Ipv4Addr::new(10, 0, 0, 5);
        assert_eq!(host_pair::ensure(&netlink, wanted).await.unwrap(), first);
        let moved = netlink.underlay(wanted.address.into()).await.unwrap();
        assert_eq!(moved.mac, Some(Mac::of(wanted.address)));
        let gone = netlink.underlay(old.into()).await.unwrap_err();
        assert_eq!(
            gone.to_string(),
            "no interface of this host has the address 10.0.0.2"
        );

        host_pair::remove(&netlink).await.unwrap();
        host_pair::remove(&netlink).await.unwrap();
        assert_eq!(netlink.link_by_name("swhost0").await.unwrap(), None);
    });
}

#[test]
fn each_namespace_has_its_own_cookie() {
    support::on_a_fresh_host("swnet-d", |run_dir| async move {
        let directory = netns::NetnsDir::open(run_dir.join("netns")).unwrap();
        let other = directory.ensure("other").unwrap();
        let here = netns::current_cookie().unwrap();
        assert_eq!(Netns::current().unwrap().cookie().unwrap(), here);
        assert_ne!(other.cookie().unwrap(), here);
    });
}
