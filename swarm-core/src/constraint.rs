//! Placement constraints `KEY OP VALUE`: parsed once, matched against many nodes. The grammar and the texts are
//! SwarmKit's; comparison ignores case and knows no patterns. All constraints of a service must hold.

use alloc::{
    borrow::ToOwned as _,
    string::{String, ToString as _},
    vec::Vec,
};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::model::{Node, Role};

/// Why a text is not a constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConstraint {
    /// Neither `==` nor `!=` in it.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The part before the operator.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The part after the operator.
    #[error("value '{0}' is invalid")]
    Value(String),
}

/// One parsed constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    equal: bool,
    value: String,
}

/// What a constraint looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    NodeId,
    Hostname,
    Address,
    Role,
    Os,
    Architecture,
    NodeLabel(String),
    EngineLabel(String),
    /// Accepted and never true, as in SwarmKit.
    Unknown,
}

impl FromStr for Constraint {
    type Err = InvalidConstraint;

    fn from_str(text: &str) -> Result<Self, InvalidConstraint> {
        let (operands, equal) = match (text.split_once("=="), text.split_once("!=")) {
            (Some(operands), _) => (operands, true),
            (None, Some(operands)) => (operands, false),
            (None, None) => return Err(InvalidConstraint::NoOperator),
        };
        let (key, value) = (operands.0.trim(), operands.1.trim());
        if !is_key(key) {
            return Err(InvalidConstraint::Key(key.to_owned()));
        }
        if !is_value(value) {
            return Err(InvalidConstraint::Value(value.to_owned()));
        }
        Ok(Self {
            key: Key::parse(key),
            equal,
            value: value.to_owned(),
        })
    }
}

fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    let first = bytes.next();
    key.len() >= 2
        && first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_value(value: &str) -> bool {
    let special = b":-_.*()?+[]\\^$|/";
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || b.is_ascii_whitespace() || special.contains(&b);
    !value.is_empty() && value.bytes().all(allowed)
}

impl Key {
    fn parse(key: &str) -> Self {
        let lower = key.to_ascii_lowercase();
        match lower.as_str() {
            "node.id" => Self::NodeId,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Address,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Architecture,
            _ => Self::label(key, &lower),
        }
    }

    /// The prefix ignores case, the label itself does not.
    fn label(key: &str, lower: &str) -> Self {
        let after = |prefix: &str| {
            let rest = key.get(prefix.len()..).filter(|rest| !rest.is_empty());
            rest.filter(|_rest| lower.starts_with(prefix))
                .map(str::to_owned)
        };
        after("node.labels.")
            .map(Self::NodeLabel)
            .or_else(|| after("engine.labels.").map(Self::EngineLabel))
            .unwrap_or(Self::Unknown)
    }
}

impl Constraint {
    /// Parses the constraints of a placement. Specifications are checked when they are stored, so a failure here means
    /// that the store was written by something else; such a constraint matches no node.
    pub fn parse_all(texts: &[String]) -> Vec<Self> {
        let never = |_error| Self {
            key: Key::Unknown,
            equal: true,
            value: String::new(),
        };
        texts
            .iter()
            .map(|text| text.parse().unwrap_or_else(never))
            .collect()
    }

    /// Whether the node satisfies the constraint. A missing label or description counts as the empty value.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_ref();
        let none = String::new();
        match &self.key {
            Key::NodeId => self.compare(node.id.as_str()),
            Key::Hostname => self.compare(description.map_or("", |found| &found.hostname)),
            Key::Address => self.compare_address(node.status.addr),
            Key::Role => self.compare(match node.spec.role {
                Role::Worker => "worker",
                Role::Manager => "manager",
            }),
            Key::Os => self.compare(description.map_or("", |found| &found.platform.os)),
            Key::Architecture => {
                self.compare(description.map_or("", |found| &found.platform.architecture))
            }
            Key::NodeLabel(label) => {
                let labels = &node.spec.annotations.labels;
                self.compare(labels.get(label).unwrap_or(&none))
            }
            Key::EngineLabel(label) => {
                let value = description.and_then(|found| found.engine_labels.get(label));
                self.compare(value.unwrap_or(&none))
            }
            Key::Unknown => false,
        }
    }

    fn compare(&self, found: &str) -> bool {
        // Full Unicode folding is not needed: values are ASCII by grammar.
        self.value.eq_ignore_ascii_case(found) == self.equal
    }

    /// `node.ip` takes an address or a subnet; anything else matches nothing.
    fn compare_address(&self, found: Option<IpAddr>) -> bool {
        if let Ok(wanted) = self.value.parse::<IpAddr>() {
            return (found == Some(wanted)) == self.equal;
        }
        match parse_cidr(&self.value) {
            Some((network, prefix)) => {
                found.is_some_and(|found| within(found, network, prefix)) == self.equal
            }
            None => false,
        }
    }
}

/// The value of a spread preference's key on a node; a missing label is the empty value.
pub(crate) fn node_value(key: &str, node: &Node) -> String {
    let description = node.description.as_ref();
    let value = match Key::parse(key) {
        Key::NodeId => Some(node.id.to_string()),
        Key::Hostname => description.map(|found| found.hostname.clone()),
        Key::Address => node.status.addr.map(|addr| addr.to_string()),
        Key::Role => Some(alloc::format!("{:?}", node.spec.role)),
        Key::Os => description.map(|found| found.platform.os.clone()),
        Key::Architecture => description.map(|found| found.platform.architecture.clone()),
        Key::NodeLabel(label) => node.spec.annotations.labels.get(&label).cloned(),
        Key::EngineLabel(label) => {
            description.and_then(|found| found.engine_labels.get(&label).cloned())
        }
        Key::Unknown => None,
    };
    value.unwrap_or_default()
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= longest).then_some((address, prefix))
}

fn within(address: IpAddr, network: IpAddr, prefix: u32) -> bool {
    let v4 = |a: Ipv4Addr, b: Ipv4Addr| {
        let shift = 32u32.saturating_sub(prefix);
        u32::from(a).checked_shr(shift) == u32::from(b).checked_shr(shift)
    };
    let v6 = |a: Ipv6Addr, b: Ipv6Addr| {
        let shift = 128u32.saturating_sub(prefix);
        u128::from(a).checked_shr(shift) == u128::from(b).checked_shr(shift)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => v4(a, b),
        (IpAddr::V6(a), IpAddr::V6(b)) => v6(a, b),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn sample() -> Node {
        let mut node = node("n1");
        node.spec.role = Role::Manager;
        node.status.addr = Some(IpAddr::from([192, 168, 7, 9]));
        let labels = &mut node.spec.annotations.labels;
        labels.insert("zone".into(), "East".into());
        let description = node.description.as_mut().unwrap();
        description
            .engine_labels
            .insert("disk".into(), "ssd".into());
        node
    }

    #[test]
    fn what_matches_a_node() {
        let node = sample();
        for (text, expected) in [
            ("node.role==manager", true),
            ("node.role != MANAGER", false),
            ("NODE.HOSTNAME == N1", true),
            ("node.hostname==n2", false),
            ("node.labels.zone==east", true),
            ("node.labels.Zone==east", false),
            ("node.labels.missing!=x", true),
            ("engine.labels.disk == ssd", true),
            ("node.platform.arch==x86_64", true),
            ("node.platform.os!=linux", false),
            ("node.ip==192.168.7.9", true),
            ("node.ip==192.168.0.0/16", true),
            ("node.ip!=192.168.7.0/24", false),
            ("node.ip==10.0.0.0/8", false),
            ("node.ip!=nonsense", false),
            ("node.foo==x", false),
            ("node.foo!=x", false),
        ] {
            let constraint: Constraint = text.parse().unwrap();
            assert_eq!(constraint.matches(&node), expected, "{text}");
        }
    }

    #[test]
    fn refusals_have_swarmkits_texts() {
        for (text, expected) in [
            ("node.role", "constraint expected one operator from ==, !="),
            (
                "node.role=x",
                "constraint expected one operator from ==, !=",
            ),
            ("node.role==", "value '' is invalid"),
            ("x==y", "key 'x' is invalid"),
            ("1a==y", "key '1a' is invalid"),
            ("node.id==a,b", "value 'a,b' is invalid"),
        ] {
            let error = text.parse::<Constraint>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
