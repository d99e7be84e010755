//! The cluster as the API shows it, and the requests to make, join and change one.

use core::time::Duration;

use serde::{Deserialize, Serialize};
pub use swarm_core::ca::SigningRoot;
use swarm_core::{
    control::{Code, ControlError},
    model::{self, Labels, Subnet},
};

use crate::{
    Refusal,
    json::{self, rfc3339},
    network::parse_subnet,
    node::TlsInfo,
    service::Version,
    unsupported,
};

/// Raft's tick numbers in Docker's output; not adjustable.
const ELECTION_TICK: u64 = 10;
/// See [`ELECTION_TICK`].
const HEARTBEAT_TICK: u64 = 1;

/// Cluster settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterSpec {
    /// `default`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Task history.
    pub orchestration: Orchestration,
    /// Log and snapshots.
    pub raft: Raft,
    /// Heartbeats.
    pub dispatcher: Dispatcher,
    /// Certificates.
    #[serde(rename = "CAConfig")]
    pub ca_config: CaConfig,
    /// Defaults of tasks; none.
    pub task_defaults: TaskDefaults,
    /// Locking.
    pub encryption_config: EncryptionConfig,
}

/// Task history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Orchestration {
    /// Tasks kept per slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

/// Log and snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Raft {
    /// Entries between snapshots.
    #[serde(skip_serializing_if = "json::is_default")]
    pub snapshot_interval: u64,
    /// Old snapshots kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept after a snapshot.
    #[serde(skip_serializing_if = "json::is_default")]
    pub log_entries_for_slow_followers: u64,
    /// Fixed.
    pub election_tick: u64,
    /// Fixed.
    pub heartbeat_tick: u64,
}

/// Heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Dispatcher {
    /// Nanoseconds.
    #[serde(skip_serializing_if = "json::is_default")]
    pub heartbeat_period: i64,
}

/// Certificates.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CaConfig {
    /// Nanoseconds.
    #[serde(skip_serializing_if = "json::is_default")]
    pub node_cert_expiry: i64,
    /// A root to rotate to, PEM. Only in requests.
    #[serde(rename = "SigningCACert", skip_serializing)]
    pub signing_ca_cert: String,
    /// Its key, PEM. Only in requests.
    #[serde(rename = "SigningCAKey", skip_serializing)]
    pub signing_ca_key: String,
    /// Counts the rotations of the root; a number that differs asks for another.
    #[serde(skip_serializing_if = "json::is_default")]
    pub force_rotate: u64,
}

impl std::fmt::Debug for CaConfig {
    /// Hides the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaConfig")
            .field("node_cert_expiry", &self.node_cert_expiry)
            .field("signing_ca_cert", &self.signing_ca_cert)
            .field("force_rotate", &self.force_rotate)
            .finish_non_exhaustive()
    }
}

/// Defaults of tasks; none can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefaults {}

/// Locking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionConfig {
    /// Managers stay locked after a restart.
    pub auto_lock_managers: bool,
}

impl ClusterSpec {
    /// Reads a request's settings and refuses what cannot be honoured.
    pub fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        let value = json::parse_value(body)?;
        unsupported::check_cluster(&value)?;
        json::decode(value)
    }

    /// The root certificate that came with the settings, which is not one of them; a part that was not given is empty.
    pub fn signing_root(&self) -> Option<SigningRoot> {
        let config = &self.ca_config;
        let given = !config.signing_ca_cert.is_empty() || !config.signing_ca_key.is_empty();
        given.then(|| SigningRoot {
            cert_pem: config.signing_ca_cert.clone(),
            key_pem: config.signing_ca_key.clone(),
        })
    }

    /// The settings with `base` in the place of what was left out (the current ones, or the defaults for a new cluster).
    pub fn into_core(self, base: &model::ClusterSpec) -> Result<model::ClusterSpec, Refusal> {
        let span = |given: i64, base, refusal: &str| match given {
            0 => Ok(base),
            given => u64::try_from(given)
                .map(Duration::from_nanos)
                .map_err(|_| ControlError::new(Code::InvalidArgument, refusal)),
        };
        let count = |given: u64, base| if given == 0 { base } else { given };
        let (raft, ca) = (self.raft, self.ca_config);
        let history = self.orchestration.task_history_retention_limit;
        let period = self.dispatcher.heartbeat_period;
        Ok(model::ClusterSpec {
            annotations: annotations(self.name, self.labels, &base.annotations),
            task_history_retention_limit: history.unwrap_or(base.task_history_retention_limit),
            heartbeat_period: span(
                period,
                base.heartbeat_period,
                "heartbeat time period cannot be a negative duration",
            )?,
            node_cert_expiry: span(
                ca.node_cert_expiry,
                base.node_cert_expiry,
                "minimum certificate expiry time is: 1h0m0s",
            )?,
            snapshot_interval: count(raft.snapshot_interval, base.snapshot_interval),
            keep_old_snapshots: raft.keep_old_snapshots.unwrap_or(base.keep_old_snapshots),
            log_entries_for_slow_followers: count(
                raft.log_entries_for_slow_followers,
                base.log_entries_for_slow_followers,
            ),
            auto_lock_managers: self.encryption_config.auto_lock_managers,
            ca_force_rotate: count(ca.force_rotate, base.ca_force_rotate),
        })
    }

    /// The settings.
    pub fn from_core(spec: &model::ClusterSpec) -> Self {
        Self {
            name: spec.annotations.name.clone(),
            labels: spec.annotations.labels.clone(),
            orchestration: Orchestration {
                task_history_retention_limit: Some(spec.task_history_retention_limit),
            },
            raft: Raft {
                snapshot_interval: spec.snapshot_interval,
                keep_old_snapshots: Some(spec.keep_old_snapshots),
                log_entries_for_slow_followers: spec.log_entries_for_slow_followers,
                election_tick: ELECTION_TICK,
                heartbeat_tick: HEARTBEAT_TICK,
            },
            dispatcher: Dispatcher {
                heartbeat_period: json::nanoseconds(spec.heartbeat_period),
            },
            ca_config: CaConfig {
                node_cert_expiry: json::nanoseconds(spec.node_cert_expiry),
                force_rotate: spec.ca_force_rotate,
                ..CaConfig::default()
            },
            task_defaults: TaskDefaults {},
            encryption_config: EncryptionConfig {
                auto_lock_managers: spec.auto_lock_managers,
            },
        }
    }
}

/// A name and labels, with those of `base` in the place of what was left out.
fn annotations(name: String, labels: Labels, base: &model::Annotations) -> model::Annotations {
    model::Annotations {
        name: if name.is_empty() {
            base.name.clone()
        } else {
            name
        },
        labels: if labels.is_empty() {
            base.labels.clone()
        } else {
            labels
        },
    }
}

/// The cluster with what only a manager can add to the stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The stored object; keys and token secrets may be blank.
    pub cluster: model::Cluster,
    /// Whole tokens.
    pub join_tokens: JoinTokens,
    /// Trusted root and its issuer.
    pub tls: model::NodeTls,
}

/// Tokens for joining.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinTokens {
    /// For workers.
    pub worker: String,
    /// For managers.
    pub manager: String,
}

impl std::fmt::Debug for JoinTokens {
    /// Hides them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinTokens").finish_non_exhaustive()
    }
}

/// The cluster, as `/info` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterInfo {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// First write.
    pub created_at: String,
    /// Last write.
    pub updated_at: String,
    /// Settings.
    pub spec: ClusterSpec,
    /// Trusted root and its issuer.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// The root is being replaced.
    pub root_rotation_in_progress: bool,
    /// Pools; `null` for the default one.
    pub default_addr_pool: Option<Vec<String>>,
    /// Prefix length of subnets.
    pub subnet_size: u8,
    /// UDP port.
    pub data_path_port: u16,
}

/// The cluster, as `/swarm` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Swarm {
    /// Everything but the tokens.
    #[serde(flatten)]
    pub info: ClusterInfo,
    /// Tokens.
    pub join_tokens: JoinTokens,
}

impl ClusterInfo {
    /// The cluster without tokens.
    pub fn from_core(view: &ClusterView) -> Self {
        let cluster = &view.cluster;
        let pools: Vec<String> = cluster
            .default_address_pools
            .iter()
            .map(ToString::to_string)
            .collect();
        Self {
            id: cluster.id.to_string(),
            version: cluster.meta.version.into(),
            created_at: rfc3339(cluster.meta.created_at),
            updated_at: rfc3339(cluster.meta.updated_at),
            spec: ClusterSpec::from_core(&cluster.spec),
            tls_info: TlsInfo::from_core(&view.tls),
            root_rotation_in_progress: cluster.root_ca.rotation.is_some(),
            default_addr_pool: Some(pools).filter(|pools| !pools.is_empty()),
            subnet_size: cluster.subnet_size,
            data_path_port: cluster.data_path_port,
        }
    }
}

impl Swarm {
    /// The cluster with its tokens.
    pub fn from_core(view: &ClusterView) -> Self {
        Self {
            info: ClusterInfo::from_core(view),
            join_tokens: view.join_tokens.clone(),
        }
    }
}

/// Longest prefix that leaves room for a gateway, a virtual address and tasks.
const SMALLEST_SUBNET: u8 = 29;

/// Request to make a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InitRequest {
    /// Where the manager listens.
    pub listen_addr: String,
    /// Where others reach it.
    pub advertise_addr: String,
    /// Address of the data path.
    pub data_path_addr: String,
    /// UDP port of the data path; 0 for the default.
    pub data_path_port: u32,
    /// Rebuild a cluster of one from a survivor.
    pub force_new_cluster: bool,
    /// Settings.
    pub spec: ClusterSpec,
    /// Same as in the settings.
    pub auto_lock_managers: bool,
    /// Availability of the first node.
    pub availability: String,
    /// Pools.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of subnets; 0 for the default.
    pub subnet_size: u8,
}

impl InitRequest {
    /// Reads a request and refuses what cannot be honoured.
    pub fn from_json(body: &[u8]) -> Result<Self, Refusal> {
        let value = json::parse_value(body)?;
        if let Some(spec) = value.get("Spec") {
            unsupported::check_cluster(spec)?;
        }
        let mut request: Self = json::decode(value)?;
        // The stock client says it in both places; either counts.
        request.spec.encryption_config.auto_lock_managers |= request.auto_lock_managers;
        if request.spec.signing_root().is_some() {
            return Err(Refusal::unsupported(
                "CAConfig.SigningCACert at \"swarm init\" (rotate to it with \"swarm ca --rotate\")",
            ));
        }
        Ok(request)
    }

    /// The pools, of which subnets of the wanted size can be cut.
    pub fn pools(&self) -> Result<Vec<Subnet>, Refusal> {
        let size = self.subnet_size();
        let pool = |text: &String| {
            let pool = parse_subnet(text)?;
            if size > SMALLEST_SUBNET {
                return Err(Refusal::SubnetSize { size });
            }
            if pool.prefix_len > size {
                return Err(Refusal::SmallPool {
                    pool: text.clone(),
                    size,
                });
            }
            Ok(pool)
        };
        self.default_addr_pool.iter().map(pool).collect()
    }

    /// Prefix length of overlay subnets.
    pub fn subnet_size(&self) -> u8 {
        match self.subnet_size {
            0 => model::DEFAULT_SUBNET_SIZE,
            size => size,
        }
    }

    /// The port of the data path, checked as Docker checks it.
    pub fn port(&self) -> Result<u16, Refusal> {
        let refusal = || Refusal::DataPathPort {
            port: self.data_path_port,
        };
        match self.data_path_port {
            0 => Ok(model::DEFAULT_DATA_PATH_PORT),
            1024..=49151 => u16::try_from(self.data_path_port).map_err(|_| refusal()),
            _ => Err(refusal()),
        }
    }
}

/// Request to join a cluster.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinRequest {
    /// Where a manager would listen.
    pub listen_addr: String,
    /// Where others would reach it.
    pub advertise_addr: String,
    /// Address of the data path.
    pub data_path_addr: String,
    /// Managers to ask.
    pub remote_addrs: Vec<String>,
    /// Token.
    pub join_token: String,
    /// Availability of the node.
    pub availability: String,
}

impl std::fmt::Debug for JoinRequest {
    /// Hides the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("listen_addr", &self.listen_addr)
            .field("advertise_addr", &self.advertise_addr)
            .field("remote_addrs", &self.remote_addrs)
            .finish_non_exhaustive()
    }
}

/// Body of `/swarm/unlockkey` and `/swarm/unlock`. Does not print the key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnlockKey {
    /// The key; empty while managers are not locked.
    pub unlock_key: String,
}

impl core::fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UnlockKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_init_leaves_out_gets_the_defaults() {
        let body = br#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.99.0.12","DataPathAddr":"","DataPathPort":0,"ForceNewCluster":false,
            "Spec":{"Labels":null,"Orchestration":{},"Raft":{"ElectionTick":0,"HeartbeatTick":0},"Dispatcher":{},"CAConfig":{},
            "TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}},"AutoLockManagers":false,"Availability":"","DefaultAddrPool":[],"SubnetSize":24}"#;
        let request = InitRequest::from_json(body).unwrap();
        assert_eq!((request.port(), request.pools()), (Ok(4789), Ok(vec![])));
        let defaults = model::ClusterSpec::default();
        assert_eq!(request.spec.into_core(&defaults), Ok(defaults));
    }

    #[test]
    fn settings_of_raft_are_passed_on() {
        let body = br#"{"Raft":{"KeepOldSnapshots":3,"SnapshotInterval":20}}"#;
        let spec = ClusterSpec::from_json(body).unwrap();
        let core = spec.into_core(&model::ClusterSpec::default()).unwrap();
        assert_eq!((core.keep_old_snapshots, core.snapshot_interval), (3, 20));
        let none = br#"{"Raft":{"KeepOldSnapshots":0}}"#;
        let spec = ClusterSpec::from_json(none).unwrap();
        assert_eq!(spec.into_core(&core).unwrap().keep_old_snapshots, 0);
    }

    /// The texts are those of Docker 28.5.
    #[test]
    fn spans_below_zero_are_refused_in_dockers_words() {
        for (body, text) in [
            (
                r#"{"Dispatcher":{"HeartbeatPeriod":-1}}"#,
                "heartbeat time period cannot be a negative duration",
            ),
            (
                r#"{"CAConfig":{"NodeCertExpiry":-1}}"#,
                "minimum certificate expiry time is: 1h0m0s",
            ),
        ] {
            let spec = ClusterSpec::from_json(body.as_bytes()).unwrap();
            let refusal = spec.into_core(&model::ClusterSpec::default()).unwrap_err();
            assert_eq!(
                (refusal.status(), refusal.to_string()),
                (
                    400,
                    format!("rpc error: code = InvalidArgument desc = {text}")
                )
            );
        }
    }

    /// The texts are those of Docker 28.5.
    #[test]
    fn pools_have_room_for_subnets() {
        let pools = |pool: &str, subnet_size| {
            let request = InitRequest {
                default_addr_pool: vec![pool.to_owned()],
                subnet_size,
                ..InitRequest::default()
            };
            request
                .pools()
                .map(|pools| pools.len())
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(pools("10.0.0.0/8", 0), Ok(1));
        assert_eq!(pools("10.0.0.0/24", 24), Ok(1));
        assert_eq!(
            pools("10.0.0.0/8", 33).unwrap_err(),
            "subnet size is out of range: 33"
        );
        assert_eq!(
            pools("10.0.0.0/24", 16).unwrap_err(),
            "invalid CIDR: \"10.0.0.0/24\". Subnet size is too small for pool: 16"
        );
    }

    #[test]
    fn ports_of_the_data_path() {
        let port = |data_path_port| {
            InitRequest {
                data_path_port,
                ..InitRequest::default()
            }
            .port()
        };
        assert_eq!(port(5000), Ok(5000));
        assert_eq!(
            port(80).unwrap_err().to_string(),
            "Datapath port number is not in valid range (1024-49151) : 80"
        );
        assert!(port(70000).is_err());
    }
}
