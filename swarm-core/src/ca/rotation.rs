//! Rotation of the root certificate, as SwarmKit does it.
//!
//! While a rotation is under way the new root signs all node certificates, each handed out together with the new root's key
//! signed by the old root, so that nodes that trust only the old root accept them; nodes are told to trust both roots and to
//! renew. When every node has a certificate of the new root, the old root is dropped and the join tokens change. All of it is
//! in the cluster object, so a new leader goes on where the old one stopped.

use alloc::string::String;
use core::time::Duration;

use super::new_secret;
use crate::{
    id::Random,
    model::{CertificateIssuer, Cluster, Node, NodeTls, RootCa, RootRotation},
    time::Timestamp,
};

/// How long a root that is given has to hold at least from now on: 365 days, SwarmKit's limit.
const LEAST_LIFE: Duration = Duration::from_hours(365 * 24);

/// A root with its key: one that is given, or made, to rotate to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SigningRoot {
    /// Certificate, PEM.
    pub cert_pem: String,
    /// Key, PEM. Goes into the replicated state, which is sealed on disk, and nowhere else.
    pub key_pem: String,
}

impl core::fmt::Debug for SigningRoot {
    /// Hides the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SigningRoot")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// With what node certificates are signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signer<'a> {
    /// The signing root, PEM.
    pub cert_pem: &'a str,
    /// Its key, PEM.
    pub key_pem: &'a str,
    /// What follows the node's certificate in its chain, PEM; empty outside a rotation.
    pub intermediate_pem: &'a str,
}

impl core::fmt::Debug for Signer<'_> {
    /// Hides the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Signer")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// With what node certificates are signed now.
pub fn signer(root: &RootCa) -> Signer<'_> {
    match &root.rotation {
        Some(rotation) => Signer {
            cert_pem: &rotation.cert_pem,
            key_pem: &rotation.key_pem,
            intermediate_pem: &rotation.cross_signed_pem,
        },
        None => Signer {
            cert_pem: &root.cert_pem,
            key_pem: &root.key_pem,
            intermediate_pem: "",
        },
    }
}

/// What every node is to trust, PEM: the root, during a rotation the new one as well.
pub fn trust_bundle(root: &RootCa) -> String {
    let mut bundle = root.cert_pem.clone();
    if let Some(rotation) = &root.rotation {
        if !bundle.ends_with('\n') {
            bundle.push('\n');
        }
        bundle.push_str(&rotation.cert_pem);
    }
    bundle
}

/// Whose certificates nodes are to have now: a node whose certificate is of another issuer is to renew it, also when a rotation
/// was called off after it had moved.
pub fn issuer(root: &RootCa) -> &CertificateIssuer {
    let rotation = root.rotation.as_ref();
    rotation.map_or(&root.issuer, |rotation| &rotation.issuer)
}

/// Whether a node's certificate is one of `issuer`.
pub fn is_issued_by(tls: &NodeTls, issuer: &CertificateIssuer) -> bool {
    tls.issuer_subject == issuer.subject && tls.issuer_public_key == issuer.public_key
}

/// Whether a rotation waits for this node: it did not report a certificate of the new root.
pub fn is_waited_for(rotation: &RootRotation, node: &Node) -> bool {
    let reported = node.description.as_ref().map(|found| &found.tls);
    !reported.is_some_and(|tls| is_issued_by(tls, &rotation.issuer))
}

/// What an update of the cluster means for its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootWish {
    /// Nothing.
    Keep,
    /// A rotation to a root that is made for it.
    Generate,
    /// A rotation to the root that was given.
    Adopt,
    /// The root that was given is the present one: a rotation that is under way is called off.
    CallOff,
}

/// What an update asks of the root: `force` is the counter in the new settings, `given` the digest (64 hex digits) of a root
/// certificate that came with them.
pub fn root_wish(cluster: &Cluster, force: u64, given: Option<&str>) -> RootWish {
    let root = &cluster.root_ca;
    let target = root.rotation.as_ref().map(|found| &*found.cert_digest);
    match given {
        None if force == cluster.spec.ca_force_rotate => RootWish::Keep,
        None => RootWish::Generate,
        Some(given) if target == Some(given) => RootWish::Keep,
        Some(given) if given == root.cert_digest => RootWish::CallOff,
        Some(_) => RootWish::Adopt,
    }
}

/// Whether a root that holds until `not_after` ends too soon to be given, also where it is the cluster's already.
pub fn ends_too_soon(not_after: Timestamp, now: Timestamp) -> bool {
    not_after < now + LEAST_LIFE
}

/// Ends the cluster's rotation if no node is waited for any more: the new root takes the old one's place and both join tokens
/// are new. `None` while there is nothing to end.
pub fn settle_rotation<'a>(
    cluster: &Cluster,
    mut nodes: impl Iterator<Item = &'a Node>,
    rng: &mut dyn Random,
) -> Option<Cluster> {
    let rotation = cluster.root_ca.rotation.as_ref()?;
    if nodes.any(|node| is_waited_for(rotation, node)) {
        return None;
    }
    let mut next = cluster.clone();
    next.root_ca = RootCa {
        cert_pem: rotation.cert_pem.clone(),
        key_pem: rotation.key_pem.clone(),
        cert_digest: rotation.cert_digest.clone(),
        issuer: rotation.issuer.clone(),
        worker_secret: new_secret(rng),
        manager_secret: new_secret(rng),
        rotation: None,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use alloc::{borrow::ToOwned as _, string::ToString as _, vec};

    use super::*;
    use crate::{
        model::NodeDescription,
        testing::{Cluster as World, SeededRandom, node},
    };

    fn named(name: &str) -> CertificateIssuer {
        CertificateIssuer {
            subject: vec![0x30, 1],
            public_key: name.as_bytes().to_vec(),
        }
    }

    fn rotation() -> RootRotation {
        RootRotation {
            cert_pem: "new\n".to_owned(),
            key_pem: "new key".to_owned(),
            cert_digest: "22".repeat(32),
            cross_signed_pem: "new by old\n".to_owned(),
            issuer: named("new"),
        }
    }

    fn root(rotation: Option<RootRotation>) -> RootCa {
        RootCa {
            cert_pem: "old".to_owned(),
            key_pem: "old key".to_owned(),
            cert_digest: "11".repeat(32),
            issuer: named("old"),
            worker_secret: "w".repeat(25),
            manager_secret: "m".repeat(25),
            rotation,
        }
    }

    /// A cluster whose settings ask for the third rotation, as it can be from its first moment.
    fn with_root(root_ca: RootCa) -> Cluster {
        let mut cluster = World::new(&["n1"]).store.cluster().unwrap().clone();
        cluster.spec.ca_force_rotate = 3;
        cluster.root_ca = root_ca;
        cluster
    }

    fn with_certificate_of(name: &str, by: Option<&str>) -> Node {
        let tls = by.map(|by| NodeTls {
            trust_root: "whatever".to_owned(),
            issuer_subject: named(by).subject,
            issuer_public_key: named(by).public_key,
        });
        Node {
            description: tls.map(|tls| NodeDescription {
                tls,
                ..NodeDescription::default()
            }),
            ..node(name)
        }
    }

    #[test]
    fn the_new_root_signs_from_the_first_moment_and_both_are_trusted() {
        let before = root(None);
        assert_eq!(
            (signer(&before).cert_pem, signer(&before).intermediate_pem),
            ("old", "")
        );
        assert_eq!(trust_bundle(&before), "old");
        assert_eq!(issuer(&before), &named("old"));
        let during = root(Some(rotation()));
        let found = signer(&during);
        assert_eq!(
            (found.cert_pem, found.key_pem, found.intermediate_pem),
            ("new\n", "new key", "new by old\n")
        );
        assert_eq!(trust_bundle(&during), "old\nnew\n");
        assert_eq!(issuer(&during), &named("new"));
    }

    #[test]
    fn what_an_update_means_for_the_root() {
        let (idle, busy) = (with_root(root(None)), with_root(root(Some(rotation()))));
        let (old, new, third) = ("11".repeat(32), "22".repeat(32), "33".repeat(32));
        for (cluster, force, given, wish) in [
            (&idle, 3, None, RootWish::Keep),
            (&idle, 4, None, RootWish::Generate),
            (&idle, 3, Some(&third), RootWish::Adopt),
            (&idle, 3, Some(&old), RootWish::CallOff),
            (&busy, 3, None, RootWish::Keep),
            (&busy, 4, None, RootWish::Generate),
            (&busy, 3, Some(&new), RootWish::Keep),
            (&busy, 3, Some(&old), RootWish::CallOff),
            (&busy, 3, Some(&third), RootWish::Adopt),
        ] {
            let given = given.map(|text| &**text);
            assert_eq!(root_wish(cluster, force, given), wish, "{force} {given:?}");
        }
    }

    #[test]
    fn a_given_root_holds_for_a_year_at_least() {
        let now = Timestamp(1_700_000_000_000_000_000);
        let day = Duration::from_hours(24);
        let year = now + 365 * day;
        for (end, too_soon) in [
            (Timestamp(0), true),
            (now, true),
            (now + 30 * day, true),
            (Timestamp(year.0 - 1), true),
            (year, false),
            (now + 3650 * day, false),
        ] {
            assert_eq!(ends_too_soon(end, now), too_soon, "{end}");
        }
    }

    #[test]
    fn a_rotation_waits_for_every_node_that_did_not_report_the_new_issuer() {
        let mut cluster = World::new(&["n1"]).store.cluster().unwrap().clone();
        let mut rng = SeededRandom::new(5);
        let mut settled = |cluster: &Cluster, nodes: &[Node]| {
            settle_rotation(cluster, nodes.iter(), &mut rng).map(|next| next.root_ca)
        };
        cluster.root_ca = root(None);
        assert_eq!(settled(&cluster, &[]), None, "nothing to end");
        cluster.root_ca = root(Some(rotation()));
        let moved = with_certificate_of("a", Some("new"));
        for waited_for in [
            with_certificate_of("b", Some("old")),
            with_certificate_of("b", None),
        ] {
            let nodes = [moved.clone(), waited_for];
            assert_eq!(settled(&cluster, &nodes), None);
        }
        let ended = settled(&cluster, &[moved]).unwrap();
        assert_eq!(ended.rotation, None);
        assert_eq!(ended.cert_digest, "22".repeat(32));
        assert_eq!(ended.issuer, named("new"));
        assert_eq!(
            (ended.cert_pem, ended.key_pem),
            ("new\n".to_string(), "new key".to_string())
        );
        assert_ne!(ended.worker_secret, "w".repeat(25));
        assert_ne!(ended.manager_secret, "m".repeat(25));
        assert_ne!(ended.worker_secret, ended.manager_secret);
    }
}
