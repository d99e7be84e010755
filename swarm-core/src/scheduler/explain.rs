//! Why a task fits nowhere: how many nodes were refused for which reason, most frequent first, in SwarmKit's words.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

/// Why a node does not take a task. The order is the order of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    NotReady,
    Resources,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

/// Refused nodes by reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    counts: BTreeMap<Reason, usize>,
}

impl Refusals {
    pub(super) fn count(&mut self, reason: Reason) {
        let count = self.counts.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn text(&self) -> String {
        let mut counts: Vec<(Reason, usize)> = self
            .counts
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect();
        if counts.is_empty() {
            return String::from("no suitable node");
        }
        counts.sort_by_key(|(reason, count)| (core::cmp::Reverse(*count), *reason));
        let parts: Vec<String> = counts
            .into_iter()
            .map(|(reason, count)| reason.text(count))
            .collect();
        format!("no suitable node ({})", parts.join("; "))
    }
}

impl Reason {
    fn text(self, count: usize) -> String {
        let nodes = if count == 1 { "node" } else { "nodes" };
        match self {
            Self::NotReady => format!("{count} {nodes} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {count} {nodes}"),
            Self::Constraints => {
                format!("scheduling constraints not satisfied on {count} {nodes}")
            }
            Self::Platform => format!("unsupported platform on {count} {nodes}"),
            Self::HostPort => format!("host-mode port already in use on {count} {nodes}"),
            Self::MaxReplicas => String::from("max replicas per node limit exceed"),
        }
    }
}
