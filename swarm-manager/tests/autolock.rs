//! Autolock with the real binary: what a restarted manager asks for, what opens it, and that no key is told to anybody else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests and their helpers")]

mod host;

use futures::StreamExt as _;
use host::{Host, within};
use swarm_core::{
    control::Code,
    lock::{LOCKED, NOT_LOCKED, SecretKey},
    model::ClusterSpec,
};
use swarm_proto::{
    client::{ControlClient, Phase, TokenRotation},
    tls::{Credentials, KEY_FILE, NodeKeys, reseal_key},
};

const WRONG: &str = "swarm could not be unlocked: invalid key provided";

fn locked_spec() -> ClusterSpec {
    ClusterSpec {
        auto_lock_managers: true,
        ..ClusterSpec::default()
    }
}

/// `swarm update --autolock=...` or `swarm unlock-key --rotate`; again if the leader wrote the cluster in between.
async fn update(control: &ControlClient, autolock: bool, rotate: bool) -> Option<SecretKey> {
    let rotation = TokenRotation {
        unlock_key: rotate,
        ..TokenRotation::default()
    };
    loop {
        let cluster = control.cluster().await.unwrap();
        let spec = ClusterSpec {
            auto_lock_managers: autolock,
            ..cluster.spec
        };
        let version = cluster.meta.version;
        match control.update_cluster(version, &spec, rotation, None).await {
            Err(error) if error.message == "update out of sequence" => {}
            updated => {
                updated.unwrap();
                return control.unlock_key().await.unwrap();
            }
        }
    }
}

/// Does what the agent does with the node's private key, once the manager says that it is to be sealed another way than now.
/// By then its own keys follow the cluster's lock.
async fn seal_node_key(host: &Host) {
    let file = host.certificates().join(KEY_FILE);
    let now = NodeKeys::sealed_with(&std::fs::read_to_string(file).unwrap());
    let mut told = host.local().watch_node_keys().await.unwrap();
    within("the keys to seal with", async {
        while let Some(keys) = told.next().await {
            let keys = keys.unwrap();
            if keys.seal_with != now {
                assert!(reseal_key(&host.certificates(), &keys).unwrap());
                host.local().node_key_sealed(keys.seal_with).await.unwrap();
                return;
            }
        }
        panic!("the manager ended");
    })
    .await;
}

async fn phase(host: &Host) -> Phase {
    host.local().status().await.unwrap().phase
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// No form of a key is in these bytes.
fn assert_secret(what: &str, bytes: &[u8], key: &SecretKey) {
    let human = key.to_human();
    let text = human.strip_prefix("SWMKEY-1-").unwrap();
    let hex = hex::encode(key.bytes());
    let list = format!("{:?}", key.bytes());
    for needle in [
        key.bytes().as_slice(),
        text.as_bytes(),
        hex.as_bytes(),
        list.as_bytes(),
    ] {
        assert!(!contains(bytes, needle), "{what} tells the unlock key");
    }
}

/// Locked from the first moment: the restarted manager answers nothing, opens with its key only, and has everything then.
#[tokio::test]
async fn a_restarted_manager_waits_for_its_key() {
    let mut host = Host::start(40).await;
    let made = host.try_init(locked_spec()).await.unwrap();
    let key = host.control().unlock_key().await.unwrap().unwrap();
    seal_node_key(&host).await;
    let private = std::fs::read_to_string(host.certificates().join(KEY_FILE)).unwrap();
    assert!(NodeKeys::sealed_with(&private).is_some(), "{private}");
    assert!(
        Credentials::load(&host.certificates())
            .unwrap_err()
            .is_locked()
    );
    let not_locked = host.local().unlock(&key).await.unwrap_err();
    assert_eq!(
        (not_locked.code, not_locked.message.as_str()),
        (Code::FailedPrecondition, NOT_LOCKED)
    );

    host.kill_and_restart().await;
    assert_eq!(phase(&host).await, Phase::Locked);
    let refused = host.control().cluster().await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::Unavailable, LOCKED)
    );
    let again = host.try_init(ClusterSpec::default()).await.unwrap_err();
    assert!(again.message.contains("already part of a swarm"), "{again}");
    std::fs::write(host.certificates().join(KEY_FILE), &private).unwrap(); // try_init wrote one
    let before = host.disk();
    let other = SecretKey::from_slice(&[9; 32]).unwrap();
    let wrong = host.local().unlock(&other).await.unwrap_err();
    assert_eq!(
        (wrong.code, wrong.message.as_str()),
        (Code::Unauthenticated, WRONG)
    );
    assert_eq!(phase(&host).await, Phase::Locked);
    assert!(host.disk() == before, "a wrong key changed the disk");

    host.local().unlock(&key).await.unwrap();
    assert_eq!(phase(&host).await, Phase::Running);
    let nodes = within("the cluster", host.control().nodes()).await.unwrap();
    assert_eq!(nodes[0].id, made.node_id);
    assert_eq!(
        host.control().unlock_key().await.unwrap(),
        Some(key.clone())
    );
    assert_secret("the disk", &host.disk(), &key);
    let cluster = host.control().cluster().await.unwrap();
    assert_secret(
        "the cluster object",
        format!("{cluster:?}").as_bytes(),
        &key,
    );
    assert_secret("the log", host.stop().await.as_bytes(), &key);
}

/// On, rotated, off, on a manager that was not locked: after each the key of that moment opens it and an earlier one does
/// not, and what was written before is still there.
#[tokio::test]
async fn the_key_changes_with_the_cluster() {
    let mut host = Host::start(41).await;
    host.init().await;
    assert_eq!(host.control().unlock_key().await.unwrap(), None);
    let mut earlier: Vec<SecretKey> = Vec::new();
    for rotate in [false, true, true] {
        let key = update(&host.control(), true, rotate).await.unwrap();
        assert!(!earlier.contains(&key));
        seal_node_key(&host).await;
        host.kill_and_restart().await;
        assert_eq!(phase(&host).await, Phase::Locked);
        for key in &earlier {
            let wrong = host.local().unlock(key).await.unwrap_err();
            assert_eq!(wrong.message, WRONG);
        }
        host.local().unlock(&key).await.unwrap();
        within("the cluster", host.control().nodes()).await.unwrap();
        earlier.push(key);
    }
    // setting it again changes nothing
    let same = update(&host.control(), true, false).await;
    assert_eq!(same.as_ref(), earlier.last());
    assert_eq!(update(&host.control(), false, true).await, None);
    seal_node_key(&host).await;
    let plain = Credentials::load(&host.certificates()).unwrap();
    assert!(plain.is_some());
    host.kill_and_restart().await;
    assert_eq!(phase(&host).await, Phase::Running);
    within("the cluster", host.control().nodes()).await.unwrap();
    for key in &earlier {
        assert_secret("the disk", &host.disk(), key);
    }
    let log = host.stop().await;
    for key in &earlier {
        assert_secret("the log", log.as_bytes(), key);
    }
}

/// A manager that joins is locked at its next start; one that is away while the key is rotated opens with the key it knew,
/// and with the new one after that.
#[tokio::test]
async fn every_manager_follows_the_lock() {
    let first = Host::start(42).await;
    first.try_init(locked_spec()).await.unwrap();
    let control = first.control();
    let old = control.unlock_key().await.unwrap().unwrap();
    let mut second = Host::start(43).await;
    second.join_managers(&control, &first).await;
    let third = Host::start(44).await;
    third.join_managers(&control, &first).await;

    second.kill_and_restart().await;
    assert_eq!(phase(&second).await, Phase::Locked);
    let new = update(&control, true, true).await.unwrap();
    assert_ne!(old, new);
    let wrong = second.local().unlock(&new).await.unwrap_err();
    assert_eq!(wrong.message, WRONG);
    second.local().unlock(&old).await.unwrap();
    for (name, mut host) in [("away", second), ("present", third)] {
        within(name, async {
            loop {
                // until its disk follows, it opens with the old key
                within("the cluster", host.control().nodes()).await.unwrap();
                assert_eq!(
                    host.control().unlock_key().await.unwrap(),
                    Some(new.clone())
                );
                host.kill_and_restart().await;
                assert_eq!(phase(&host).await, Phase::Locked);
                if host.local().unlock(&new).await.is_ok() {
                    return;
                }
                host.local().unlock(&old).await.unwrap();
            }
        })
        .await;
        assert_eq!(
            host.local().unlock(&new).await.unwrap_err().message,
            NOT_LOCKED
        );
        within("the cluster", host.control().nodes()).await.unwrap();
    }
}

/// Killed at any moment after rotations, while its disk is sealed anew, a manager opens with one of the last keys and with
/// nothing lost.
#[tokio::test]
async fn a_kill_during_rotations_leaves_a_disk_that_opens() {
    let mut host = Host::start(45).await;
    host.try_init(locked_spec()).await.unwrap();
    let mut keys = vec![host.control().unlock_key().await.unwrap().unwrap()];
    for round in 0..12 {
        let (follows, forgets) = ("the keys on disk follow", "older keys forgotten");
        let (followed, forgotten) = (host.times_said(follows), host.times_said(forgets));
        let before = keys.len() - 1;
        let rotations = 1 + round % 2;
        for _ in 0..rotations {
            keys.push(update(&host.control(), true, true).await.unwrap());
        }
        // Between the steps that bring the disk up to the last rotation (which may be one for two of them), or as soon as
        // that is confirmed.
        match round % 3 {
            1 => host.said(follows, followed + 1).await,
            2 => host.said(forgets, forgotten + 1).await,
            _ => {}
        }
        host.kill_and_restart().await;
        assert_eq!(phase(&host).await, Phase::Locked);
        // What opened it before these rotations, or one of theirs.
        let mut opens = None;
        for (number, key) in keys.iter().enumerate().skip(before).rev() {
            if opens.is_none() && host.local().unlock(key).await.is_ok() {
                opens = Some(number);
            }
        }
        let opens = opens.unwrap_or_else(|| panic!("round {round}: none of its keys opens"));
        within("the cluster", host.control().nodes()).await.unwrap();
        assert_eq!(
            host.control().unlock_key().await.unwrap().as_ref(),
            keys.last()
        );
        if opens < keys.len() - 1 {
            host.said(follows, 1).await;
        }
    }
}

/// Offline, too, a locked state opens with its key only, which is never an argument of a process.
#[tokio::test]
async fn recover_reads_the_key_of_a_locked_state_from_standard_input() {
    let host = Host::start(47).await;
    host.try_init(locked_spec()).await.unwrap();
    let key = host.control().unlock_key().await.unwrap().unwrap();
    let dir = host.kill().await;
    let (code, said) = Host::recover(dir.path(), &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is locked"), "{said}");
    let flag = ["--unlock-key-stdin"];
    let other = SecretKey::from_slice(&[9; 32]).unwrap();
    for wrong in [other.to_human(), "SWMKEY-1-short".to_owned()] {
        let (code, said) = Host::recover_with(dir.path(), &flag, &wrong).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains(&wrong), "{said}");
    }
    let (code, said) = Host::recover_with(dir.path(), &flag, &key.to_human()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 nodes") && said.contains("sound"), "{said}");
    assert_secret("recover", said.as_bytes(), &key);
}

/// A locked manager may leave by force, and forgets what it cannot read.
#[tokio::test]
async fn a_locked_manager_may_be_given_up() {
    let mut host = Host::start(46).await;
    host.try_init(locked_spec()).await.unwrap();
    host.kill_and_restart().await;
    assert_eq!(phase(&host).await, Phase::Locked);
    let refused = host.local().leave(false).await.unwrap_err();
    assert_eq!(refused.message, LOCKED);
    host.local().leave(true).await.unwrap();
    assert_eq!(phase(&host).await, Phase::Idle);
    host.init().await;
    assert_eq!(host.control().unlock_key().await.unwrap(), None);
}
