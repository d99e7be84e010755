//! Five hosts, three of them managers, and what happens to the leader: frozen, cut off in both directions and in one, killed
//! with its agent, all managers killed at once, and a host that is lost. A client asks the service all the time; none of its requests may
//! fail, because the tasks are on hosts that live.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{net::SocketAddr, sync::mpsc, thread::JoinHandle, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_testkit::{lab::Host, wait};
use swarm_tests_netns::{CONVERGED_AT_MOST, PUBLISHED, Swarm, page};

/// Docker's words of a side without a majority.
const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
const MANAGERS: [usize; 3] = [1, 2, 3];

#[test]
fn a_swarm_survives_what_happens_to_its_leader() {
    let mut swarm = Swarm::up_with(5, 3).unwrap();
    serve_from_workers(&swarm);
    let asking = Asking::start(&swarm, 5);
    frozen_leader(&swarm);
    cut_off_leader(&swarm);
    deaf_leader(&swarm);
    mute_leader(&swarm);
    lost_managers_host(&mut swarm);
    all_managers_killed(&swarm);
    asking.end();
    lost_host(&swarm);
}

/// The web service on hosts 4 and 5, whatever happens to the managers.
fn serve_from_workers(swarm: &Swarm) {
    let publish = format!("{PUBLISHED}:80");
    let flags = ["--publish", &publish, "--constraint", "node.role==worker"];
    swarm.create("web", 2, &flags).unwrap();
    swarm.until_served().unwrap();
}

/// A client outside that asks one host again and again.
struct Asking {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<(usize, Vec<String>)>>,
}

impl Asking {
    fn start(swarm: &Swarm, number: usize) -> Self {
        let server = SocketAddr::from((swarm.lab.host(number).ip(), PUBLISHED));
        let (stop, stopped) = mpsc::channel();
        let thread = swarm.lab.client().spawn(move || {
            let (mut asked, mut lost) = (0, Vec::new());
            let pause = Duration::from_millis(10);
            while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                asked += 1;
                if let Err(error) = page(server) {
                    lost.push(format!("{error:#}"));
                }
            }
            Ok((asked, lost))
        });
        Self { stop, thread }
    }

    fn end(self) {
        drop(self.stop);
        let (asked, lost) = self.thread.join().unwrap().unwrap();
        assert!(lost.is_empty(), "{} of {asked} lost: {lost:?}", lost.len());
        assert!(asked > 500, "only {asked} requests");
    }
}

/// The number of the manager that leads, as another one says.
fn leader(swarm: &Swarm, but: Option<usize>) -> usize {
    let asked = MANAGERS.into_iter().find(|one| Some(*one) != but).unwrap();
    let find = || {
        let text = swarm.lab.host(asked).swarm(&["node", "ls"])?;
        let line = text.lines().find(|line| line.contains("Leader"));
        let found = MANAGERS
            .into_iter()
            .find(|number| line.is_some_and(|line| line.contains(&format!("host{number} "))));
        anyhow::ensure!(found.is_some() && found != but, "{text}");
        Ok(found.unwrap())
    };
    wait::until("a leader", CONVERGED_AT_MOST, find).unwrap()
}

fn other_than(leader: usize) -> usize {
    MANAGERS.into_iter().find(|one| *one != leader).unwrap()
}

/// A write that is confirmed; who is told that the outcome is unknown looks, as a user does.
fn write(host: &Host, name: &str) {
    let done = || {
        let create = ["network", "create", "--driver", "overlay", name];
        let Err(error) = host.swarm(&create) else {
            return Ok(());
        };
        if format!("{error:#}").contains("already exists") {
            return Ok(());
        }
        Err(error)
    };
    wait::until(&format!("network {name}"), CONVERGED_AT_MOST, done).unwrap();
}

#[track_caller]
fn assert_has(host: &Host, names: &[&str]) {
    // Without an answer of a manager the list has only the host's own networks, as Docker's.
    let text = wait::until("an answer", CONVERGED_AT_MOST, || {
        let text = host.swarm(&["network", "ls"])?;
        anyhow::ensure!(text.contains("ingress"), "{text}");
        Ok(text)
    })
    .unwrap();
    for name in names {
        assert!(text.contains(name), "{} has no {name}: {text}", host.name());
    }
}

fn signal(host: &Host, signal: Signal) {
    kill(Pid::from_raw(host.manager_pid().unwrap()), signal).unwrap();
}

fn frozen_leader(swarm: &Swarm) {
    let leads = leader(swarm, None);
    let host = swarm.lab.host(leads);
    signal(host, Signal::SIGSTOP);
    write(swarm.lab.host(other_than(leads)), "frozen");
    signal(host, Signal::SIGCONT);
    // The first thing it says is not an old truth.
    assert_has(host, &["frozen"]);
    write(host, "thawed");
}

fn cut_off_leader(swarm: &Swarm) {
    let leads = leader(swarm, None);
    let host = swarm.lab.host(leads);
    let others: Vec<usize> = MANAGERS.into_iter().filter(|one| *one != leads).collect();
    swarm.lab.part(&[leads], &others).unwrap();
    write(swarm.lab.host(others[0]), "majority");
    match host.swarm(&["network", "create", "--driver", "overlay", "minority"]) {
        Ok(text) => panic!("a minority wrote: {text}"),
        Err(error) => assert!(format!("{error:#}").contains(NO_LEADER), "{error:#}"),
    }
    swarm.lab.mend().unwrap();
    write(host, "joined-again");
    assert_has(host, &["majority"]);
    assert_has(swarm.lab.host(others[1]), &["joined-again"]);
}

/// It speaks and is not heard: the others elect another.
fn mute_leader(swarm: &Swarm) {
    one_way(swarm, "mute", |from, to| (from, to));
}

/// It hears nobody: its heartbeats must not keep the others from electing another.
fn deaf_leader(swarm: &Swarm) {
    one_way(swarm, "deaf", |from, to| (to, from));
}

fn one_way(swarm: &Swarm, name: &str, direction: fn(usize, usize) -> (usize, usize)) {
    let leads = leader(swarm, None);
    let others: Vec<usize> = MANAGERS.into_iter().filter(|one| *one != leads).collect();
    for other in &others {
        let (from, to) = direction(leads, *other);
        swarm.lab.drop_packets(from, to).unwrap();
    }
    write(swarm.lab.host(others[0]), name);
    swarm.lab.mend().unwrap();
    assert_has(swarm.lab.host(leads), &[name]);
    write(swarm.lab.host(leads), &format!("{name}-over"));
}

/// Agent and manager of the leader's host are killed; it comes back after many writes and has them all.
fn lost_managers_host(swarm: &mut Swarm) {
    let leads = leader(swarm, None);
    let manager = swarm.lab.host(leads).manager_pid().unwrap();
    swarm.lab.host_mut(leads).kill_agent().unwrap();
    kill(Pid::from_raw(manager), Signal::SIGKILL).unwrap();
    let names: Vec<String> = (0..30).map(|number| format!("missed-{number}")).collect();
    for name in &names {
        write(swarm.lab.host(other_than(leads)), name);
    }
    swarm.lab.host_mut(leads).spawn_agent().unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_has(swarm.lab.host(leads), &names);
    write(swarm.lab.host(leads), "back");
}

fn all_managers_killed(swarm: &Swarm) {
    write(swarm.lab.host(1), "last-words");
    for number in MANAGERS {
        signal(swarm.lab.host(number), Signal::SIGKILL);
    }
    for number in MANAGERS {
        let all = ["last-words", "back", "majority", "frozen", "missed-29"];
        assert_has(swarm.lab.host(number), &all);
    }
    wait::until("every node to be back", CONVERGED_AT_MOST, || {
        let nodes = swarm.nodes()?;
        anyhow::ensure!(nodes.matches("Ready").count() == 5, "{nodes}");
        Ok(())
    })
    .unwrap();
}

/// A host that nobody hears any more: its tasks are placed elsewhere.
fn lost_host(swarm: &Swarm) {
    let placed = |host: &str| {
        let ps = ["service", "ps", "--filter", "desired-state=running", "web"];
        let text = swarm.manager().swarm(&ps)?;
        let there = text.lines().skip(1).filter(|line| line.contains(host));
        anyhow::Ok((there.count(), text))
    };
    swarm.lab.part(&[4], &MANAGERS).unwrap();
    wait::until("replacements", CONVERGED_AT_MOST, || {
        let ((lost, text), (kept, _)) = (placed("host4")?, placed("host5")?);
        anyhow::ensure!(lost == 0 && kept == 2, "{text}");
        Ok(())
    })
    .unwrap();
    swarm.lab.mend().unwrap();
}
