//! A small state for tests, written step by step as openraft writes it, and what must be read back after each step.

use std::{collections::BTreeMap, io};

use openraft::EntryPayload;
use swarm_core::{
    model::{Annotations, Cluster, ClusterSpec, Meta, Network, NetworkSpec},
    store::{Object, Store, Transaction},
    time::Timestamp,
};

use super::{
    database::{StateDb, ThisMember, key},
    snapshot::{self, Stored},
    types::{Command, Entry, LogId, Member, SnapshotMeta, StoredMembership, Vote},
};
use crate::clock::SystemRandom;

pub(crate) const NODE: &str = "0123456789abcdefghijklmno";

/// What a state directory must give.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    vote: Option<Vote>,
    purged: Option<LogId>,
    log: BTreeMap<u64, Entry>,
    snapshot: Option<u64>,
}

/// One synced write.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Vote(u64),
    Append(u64, u64),
    Truncate(u64),
    Purge(u64),
    Snapshot(u64),
}

/// Votes, appends, a conflict that is truncated, a snapshot and a purge.
pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::Vote(1),
        Step::Append(0, 6),
        Step::Vote(2),
        Step::Append(6, 9),
        Step::Truncate(7),
        Step::Append(7, 12),
        Step::Snapshot(9),
        Step::Purge(5),
        Step::Append(12, 15),
        Step::Snapshot(14),
        Step::Purge(12),
        Step::Vote(5),
    ]
}

pub(crate) fn log_id(index: u64) -> LogId {
    LogId::new(Vote::new(1, 7).leader_id, index)
}

fn network(index: u64) -> Network {
    Network {
        id: format!("{index:0>25}").parse().unwrap(),
        meta: Meta::default(),
        spec: NetworkSpec {
            annotations: Annotations {
                name: format!("network-{index}"),
                ..Annotations::default()
            },
            ..NetworkSpec::default()
        },
        allocation: None,
    }
}

pub(crate) fn this_member() -> ThisMember {
    ThisMember {
        raft_id: 7,
        member: Member {
            node_id: NODE.to_owned(),
            addr: "10.0.0.1:2377".to_owned(),
        },
        listen_addr: "0.0.0.0:2377".parse().unwrap(),
    }
}

/// The cluster that the first entry makes.
pub(crate) fn cluster() -> Cluster {
    let mut store = Store::new();
    store.apply(1, first_transaction()).unwrap();
    store.cluster().unwrap().clone()
}

fn first_transaction() -> Transaction {
    let request = swarm_core::control::InitRequest {
        spec: ClusterSpec::default(),
        default_address_pools: Vec::new(),
        subnet_size: 24,
        data_path_port: 4789,
        root_cert_pem: String::new(),
        root_key_pem: String::new(),
        root_cert_digest: String::new(),
        root_issuer: swarm_core::model::CertificateIssuer::default(),
        node: swarm_core::control::NewNode {
            id: NODE.parse().unwrap(),
            role: swarm_core::model::Role::Manager,
            availability: swarm_core::model::Availability::Active,
            addr: None,
            manager: Some((7, "10.0.0.1:2377".parse().unwrap())),
        },
    };
    swarm_core::control::bootstrap(request, Timestamp(1), &mut SystemRandom).unwrap()
}

/// The entry of an index: the membership, the cluster, then one network each.
pub(crate) fn entry(index: u64) -> Entry {
    let payload = match index {
        0 => {
            let this = this_member();
            let members = BTreeMap::from([(this.raft_id, this.member)]);
            EntryPayload::Membership(openraft::Membership::from(members))
        }
        1 => EntryPayload::Normal(Command(first_transaction())),
        index => {
            let create = Transaction::new(Timestamp(index));
            EntryPayload::Normal(Command(create.create(Object::Network(network(index)))))
        }
    };
    Entry {
        log_id: log_id(index),
        payload,
    }
}

/// Carries out one step.
pub(crate) fn carry_out(db: &StateDb, step: &Step, expected: &Expected) -> io::Result<()> {
    match *step {
        Step::Vote(term) => db.put_meta(key::VOTE, &Vote::new(term, 7)),
        Step::Append(from, to) => {
            let entries: Vec<Entry> = (from..to)
                .map(|index| expected.log.get(&index).cloned().unwrap())
                .collect();
            db.append(&entries)
        }
        Step::Truncate(from) => db.truncate(from),
        Step::Purge(upto) => db.purge(upto, &log_id(upto)),
        Step::Snapshot(upto) => {
            let data = snapshot::write_file(db.snapshot_dir(), &store_at(upto))?;
            snapshot::save(db, &meta_at(upto), &data, 0)
        }
    }
}

/// What a step leaves.
pub(crate) fn after(before: &Expected, step: &Step) -> Expected {
    let mut next = before.clone();
    match *step {
        Step::Vote(term) => next.vote = Some(Vote::new(term, 7)),
        Step::Append(from, to) => next
            .log
            .extend((from..to).map(|index| (index, entry(index)))),
        Step::Truncate(from) => next.log.retain(|index, _| *index < from),
        Step::Purge(upto) => {
            next.log.retain(|index, _| *index > upto);
            next.purged = Some(log_id(upto));
        }
        Step::Snapshot(upto) => next.snapshot = Some(upto),
    }
    next
}

pub(crate) fn store_at(index: u64) -> Store {
    let mut store = Store::new();
    for index in 2..=index {
        let create = Transaction::new(Timestamp(index)).create(Object::Network(network(index)));
        store.apply(index, create).unwrap();
    }
    store
}

pub(crate) fn meta_at(index: u64) -> SnapshotMeta {
    let this = this_member();
    let members = BTreeMap::from([(this.raft_id, this.member)]);
    SnapshotMeta {
        last_log_id: Some(log_id(index)),
        last_membership: StoredMembership::new(
            Some(log_id(0)),
            openraft::Membership::from(members),
        ),
    }
}

/// What is there; every record is opened, the snapshot read to its end.
pub(crate) fn observe(db: &StateDb) -> io::Result<Expected> {
    let log: BTreeMap<u64, Entry> = db
        .entries(0, u64::MAX)?
        .into_iter()
        .map(|entry| (entry.log_id.index, entry))
        .collect();
    let newest: Option<Stored> = db.snapshots()?.into_iter().next();
    if let Some(stored) = &newest {
        let store = snapshot::load_store(&db.snapshot_dir().open(&stored.file)?)?;
        assert_eq!(store, store_at(stored.index()));
    }
    Ok(Expected {
        vote: db.meta(key::VOTE)?,
        purged: db.meta(key::PURGED)?,
        log,
        snapshot: newest.map(|stored| stored.index()),
    })
}

/// Everything that all steps leave, in `dir`.
pub(crate) fn fill(dir: &std::path::Path) -> Expected {
    let db = StateDb::open(dir).unwrap();
    db.put_meta(key::MEMBER, &this_member()).unwrap();
    let mut expected = Expected::default();
    for step in steps() {
        let next = after(&expected, &step);
        carry_out(&db, &step, &next).unwrap();
        expected = next;
    }
    // the random parts of the first transaction differ from run to run
    observe(&db).unwrap()
}

impl Expected {
    /// Everything but the random parts of entries.
    pub(crate) fn outline(&self) -> (Option<Vote>, Option<LogId>, Vec<LogId>, Option<u64>) {
        let ids = self.log.values().map(|entry| entry.log_id).collect();
        (self.vote, self.purged, ids, self.snapshot)
    }
}
