//! The real object in the real kernel: attach, restart, change of layout, removal.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::host::{Host, on_a_fresh_host, plan, programs_on};
use aya::maps::{HashMap, MapData};
use aya::programs::{SchedClassifier, TcAttachType};
use swarm_agent_datapath::{AttachMode, DataPath, DataPathConfig};
use swarm_common::layout::PIN_DIRECTORY;
use swarm_common::maps::names;
use swarm_common::verdict::Verdict;

#[test]
fn a_restart_replaces_the_programs_and_keeps_the_maps() {
    on_a_fresh_host("restart", |host| {
        let task = host.task(3);
        let (ifname, ifindex) = (
            task.interfaces[0].host_ifname.clone(),
            task.interfaces[0].host_ifindex,
        );
        let desired = plan(&[(3, ifindex)]);

        // Phase 1: everything is attached and filled.
        let mut first = DataPath::open(host.config.clone()).unwrap();
        first.attach_task_interface(ifindex).unwrap();
        let report = first.apply(&desired).unwrap();
        assert_eq!(
            (report.generation, report.written, report.removed),
            (1, 2, 0)
        );
        let before = (programs_on("under0"), programs_on(&ifname));
        assert_eq!((before.0.len(), before.1.len()), (1, 1));

        // Phase 2: the agent is gone, nothing changes.
        drop(first);
        assert_eq!((programs_on("under0"), programs_on(&ifname)), before);

        // Phase 3: the next agent puts its own programs in place and finds the maps full.
        let mut second = DataPath::open(host.config.clone()).unwrap();
        let after = (programs_on("under0"), programs_on(&ifname));
        assert_eq!((after.0.len(), after.1.len()), (1, 1));
        assert!(
            after.0 != before.0 && after.1 != before.1,
            "{before:?} {after:?}"
        );
        assert_eq!(second.contents().unwrap(), desired);
        let report = second.apply(&desired).unwrap();
        assert_eq!(
            (report.generation, report.written, report.removed),
            (2, 0, 0)
        );

        // Phase 4: an interface that vanished leaves no pin.
        host.runtime
            .block_on(host.sandboxes.remove("task3"))
            .unwrap();
        assert_eq!(second.sweep().unwrap(), 1);
        let error = second.attach_task_interface(ifindex).unwrap_err();
        assert!(
            error.to_string().starts_with("no interface has the index"),
            "{error}"
        );
        second.detach_task_interface(ifindex).unwrap();

        // Phase 5: leaving removes everything.
        second.destroy().unwrap();
        assert!(programs_on("under0").is_empty());
        for gone in ["links", PIN_DIRECTORY] {
            assert!(!host.config.bpffs.join(gone).exists(), "{gone}");
        }
        let error = DataPath::attach_existing(&host.config.bpffs).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no data path is pinned below"),
            "{error}"
        );
    });
}

#[test]
fn what_an_agent_left_is_removed_without_opening_it() {
    on_a_fresh_host("remains", |host| {
        let task = host.task(6);
        let (ifname, ifindex) = (
            task.interfaces[0].host_ifname.clone(),
            task.interfaces[0].host_ifindex,
        );
        DataPath::remove(&host.config.bpffs).unwrap(); // nothing is there yet
        let mut left = DataPath::open(host.config.clone()).unwrap();
        left.attach_task_interface(ifindex).unwrap();
        left.apply(&plan(&[(6, ifindex)])).unwrap();
        drop(left);
        for interface in ["under0", ifname.as_str()] {
            assert_eq!(programs_on(interface).len(), 1, "{interface}");
        }
        DataPath::remove(&host.config.bpffs).unwrap();
        for interface in ["under0", ifname.as_str()] {
            assert!(programs_on(interface).is_empty(), "{interface}");
        }
        for gone in ["links", PIN_DIRECTORY] {
            assert!(!host.config.bpffs.join(gone).exists(), "{gone}");
        }
        DataPath::remove(&host.config.bpffs).unwrap();
    });
}

#[test]
fn maps_of_another_build_are_filled_before_the_old_programs_go() {
    on_a_fresh_host("layout", |host| {
        let task = host.task(4);
        let (ifname, ifindex) = (
            task.interfaces[0].host_ifname.clone(),
            task.interfaces[0].host_ifindex,
        );
        let desired = plan(&[(4, ifindex)]);
        let mut old = DataPath::open(host.config.clone()).unwrap();
        old.attach_task_interface(ifindex).unwrap();
        old.apply(&desired).unwrap();
        drop(old);
        let before = (programs_on("under0"), programs_on(&ifname));

        // Another build's `peers` has other sizes; and a layout of a former version lies about.
        let pins = host.config.bpffs.join(PIN_DIRECTORY);
        let former = host.config.bpffs.join("v0123456789abcdef");
        std::fs::create_dir(&former).unwrap();
        let foreign: HashMap<MapData, u64, u64> = HashMap::create(8, 0).unwrap();
        foreign.pin(former.join(names::PEERS)).unwrap();
        std::fs::remove_file(pins.join(names::PEERS)).unwrap();
        let foreign: HashMap<MapData, u64, u64> = HashMap::create(8, 0).unwrap();
        foreign.pin(pins.join(names::PEERS)).unwrap();

        let mut new = DataPath::open(host.config.clone()).unwrap();
        new.attach_task_interface(ifindex).unwrap();
        assert_eq!(
            (programs_on("under0"), programs_on(&ifname)),
            before,
            "still the old ones"
        );
        assert!(former.exists());

        let report = new.apply(&desired).unwrap();
        assert_eq!((report.generation, report.written), (1, 2));
        let after = (programs_on("under0"), programs_on(&ifname));
        assert_eq!((after.0.len(), after.1.len()), (1, 1));
        assert!(after.0 != before.0 && after.1 != before.1);
        assert!(!former.exists());
        new.destroy().unwrap();
    });
}

/// One task asks another one after the other; a question without an answer within two seconds
/// is a lost packet.
#[test]
fn no_packet_is_lost_while_the_agent_restarts() {
    on_a_fresh_host("lossless", |host| {
        let asked = ask_through_restarts(host, &host.config, 5);
        assert!(asked > 100, "{asked}");
    });
}

#[test]
fn filters_do_where_the_kernel_has_no_tcx() {
    on_a_fresh_host("clsact", |host| {
        let config = DataPathConfig {
            attach: AttachMode::Clsact,
            ..host.config.clone()
        };
        let asked = ask_through_restarts(host, &config, 0);
        assert!(asked > 0);
        let (_, tcx) = SchedClassifier::query_tcx("under0", TcAttachType::Ingress).unwrap();
        assert!(tcx.is_empty());
    });
}

fn ask_through_restarts(host: &Host, config: &DataPathConfig, restarts: usize) -> u32 {
    let tasks = [3, 4].map(|last| (last, host.task(last).interfaces[0].host_ifindex));
    let mut datapath = DataPath::open(config.clone()).unwrap();
    for (_, ifindex) in tasks {
        datapath.attach_task_interface(ifindex).unwrap();
    }
    datapath.apply(&plan(&tasks)).unwrap();

    let [client, server] =
        ["task3", "task4"].map(|name| host.sandboxes.namespace(name).unwrap().unwrap());
    let socket = server
        .run_in(|| UdpSocket::bind("10.0.1.4:7").unwrap())
        .unwrap();
    let echo = socket.try_clone().unwrap();
    let echoing = std::thread::spawn(move || {
        let mut buffer = [0; 8];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            if length == 0 {
                return;
            }
            echo.send_to(&buffer[..length], from).unwrap();
        }
    });
    let done = Arc::new(AtomicBool::new(false));
    let (stop, end) = (Arc::clone(&done), socket.local_addr().unwrap());
    let asking = std::thread::spawn(move || client.run_in(move || ask_until(&stop, end)).unwrap());

    for _ in 0..restarts {
        drop(datapath);
        datapath = DataPath::open(config.clone()).unwrap();
        datapath.apply(&plan(&tasks)).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    echoing.join().unwrap();
    let counters = datapath.counters().unwrap();
    assert!(
        counters.packets(Verdict::DeliverLocal) >= u64::from(asked),
        "{counters}"
    );
    datapath.destroy().unwrap();
    asked
}

/// Asks until told to stop, then ends the server with an empty datagram.
fn ask_until(stop: &AtomicBool, server: std::net::SocketAddr) -> u32 {
    let socket = UdpSocket::bind("10.0.1.3:0").unwrap();
    socket.connect(server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut asked = 0_u32;
    loop {
        socket.send(&asked.to_be_bytes()).unwrap();
        let mut answer = [0; 8];
        let length = socket
            .recv(&mut answer)
            .unwrap_or_else(|error| panic!("{asked}: {error}"));
        assert_eq!(answer[..length], asked.to_be_bytes());
        asked += 1;
        if stop.load(Ordering::Relaxed) {
            socket.send(&[]).unwrap();
            return asked;
        }
    }
}
