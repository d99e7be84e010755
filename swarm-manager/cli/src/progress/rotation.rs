//! Waiting for a rotation of the root, as a function of one poll: lines to show and a verdict.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Line, Verdict};
use crate::values::object::{on, text};

const DIGEST: &str = "desired root digest";
const CERTIFICATES: &str = "  rotated TLS certificates";
/// The space that Docker's line has in front of its bar is that of the shorter name.
const ROOTS: &str = "  rotated CA certificates";

/// The lines before the first poll.
pub(crate) fn begin() -> Vec<Line> {
    vec![
        Line::new(DIGEST, ""),
        Line::new(CERTIFICATES, ""),
        Line::new(ROOTS, " "),
    ]
}

/// What a poll of the cluster and its nodes says.
pub(crate) fn look(swarm: &Value, nodes: &[Value]) -> (Vec<Line>, Verdict) {
    let wanted = &swarm["TLSInfo"];
    let same = |node: &Value, fields: &[&str]| {
        let reported = &node["Description"]["TLSInfo"];
        fields
            .iter()
            .all(|field| reported[*field] == wanted[*field])
    };
    let count = |fields: &[&str]| nodes.iter().filter(|node| same(node, fields)).count();
    let certificates = count(&["CertIssuerPublicKey", "CertIssuerSubject"]);
    let settled = certificates == nodes.len() && !on(swarm, "/RootRotationInProgress");
    // Before that, no node can have dropped the old root.
    let roots = if settled { count(&["TrustRoot"]) } else { 0 };
    let digest = Sha256::digest(text(swarm, "/TLSInfo/TrustRoot"));
    let lines = vec![
        Line::new(DIGEST, format!("sha256:{digest:x}")),
        counted(CERTIFICATES, certificates, nodes.len()),
        counted(ROOTS, roots, nodes.len()),
    ];
    let done = settled && roots == nodes.len();
    let verdict = if done {
        Verdict::Done
    } else {
        Verdict::Continue
    };
    (lines, verdict)
}

fn counted(id: &str, done: usize, all: usize) -> Line {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Line {
        bar: Some((number(done), number(all))),
        ..Line::new(id, format!("{done}/{all} nodes"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tls(root: &str, key: &str) -> Value {
        json!({"TrustRoot": root, "CertIssuerSubject": "s", "CertIssuerPublicKey": key})
    }

    fn node(root: &str, key: &str) -> Value {
        json!({"Description": {"TLSInfo": tls(root, key)}})
    }

    #[test]
    fn nodes_are_counted_and_the_end_is_seen() {
        let during = json!({"TLSInfo": tls("old", "new"), "RootRotationInProgress": true});
        let after = json!({"TLSInfo": tls("new", "new"), "RootRotationInProgress": false});
        let (old, half, moved) = (node("old", "old"), node("both", "new"), node("new", "new"));
        for (swarm, nodes, counts, verdict) in [
            (
                &during,
                [&old, &half],
                ["1/2 nodes", "0/2 nodes"],
                Verdict::Continue,
            ),
            (
                &during,
                [&half, &half],
                ["2/2 nodes", "0/2 nodes"],
                Verdict::Continue,
            ),
            (
                &after,
                [&half, &moved],
                ["2/2 nodes", "1/2 nodes"],
                Verdict::Continue,
            ),
            (
                &after,
                [&moved, &moved],
                ["2/2 nodes", "2/2 nodes"],
                Verdict::Done,
            ),
        ] {
            let nodes = nodes.map(Value::clone);
            let (lines, seen) = look(swarm, &nodes);
            assert_eq!([&*lines[1].text, &*lines[2].text], counts);
            assert_eq!(seen, verdict);
        }
        let (lines, _) = look(&after, &[]);
        // sha256 of "new"
        let digest = "sha256:11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
        assert_eq!(lines[0].text, digest);
    }
}
