//! Fields of requests that Docker has and this engine cannot honour yet. One that carries a value is refused by name, so
//! that nothing a user asked for is dropped silently; zero values and the defaults clients always send pass. Fields
//! nobody knows are ignored, as Docker ignores them.

use serde_json::Value;

use crate::{Refusal, json::is_empty};

/// A field that is refused.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Where it is; `[]` stands for every item of a list.
    path: &'static str,
    /// Values that change nothing and therefore pass.
    allowed: &'static [&'static str],
    /// What there is instead, for those who wonder.
    why: Option<&'static str>,
}

const fn refuse(path: &'static str) -> Rule {
    only(path, &[])
}

const fn only(path: &'static str, allowed: &'static [&'static str]) -> Rule {
    Rule {
        path,
        allowed,
        why: None,
    }
}

const fn explained(path: &'static str, why: &'static str) -> Rule {
    Rule {
        path,
        allowed: &[],
        why: Some(why),
    }
}

const SERVICE: &[Rule] = &[
    refuse("TaskTemplate.PluginSpec"),
    refuse("TaskTemplate.NetworkAttachmentSpec"),
    only("TaskTemplate.Runtime", &["container"]),
    refuse("TaskTemplate.LogDriver"),
    refuse("TaskTemplate.Resources.SwapBytes"),
    refuse("TaskTemplate.Resources.MemorySwappiness"),
    refuse("TaskTemplate.Resources.Reservations.GenericResources"),
    refuse("TaskTemplate.Networks[].DriverOpts"),
    refuse("TaskTemplate.ContainerSpec.Privileges.CredentialSpec"),
    refuse("TaskTemplate.ContainerSpec.Privileges.SELinuxContext"),
    refuse("TaskTemplate.ContainerSpec.Privileges.Seccomp"),
    refuse("TaskTemplate.ContainerSpec.Privileges.AppArmor"),
    refuse("TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges"),
    refuse("TaskTemplate.ContainerSpec.Healthcheck"),
    refuse("TaskTemplate.ContainerSpec.Secrets"),
    refuse("TaskTemplate.ContainerSpec.Configs"),
    refuse("TaskTemplate.ContainerSpec.OomScoreAdj"),
    only("TaskTemplate.ContainerSpec.Isolation", &["default"]),
    refuse("TaskTemplate.ContainerSpec.Mounts[].BindOptions.NonRecursive"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].BindOptions.CreateMountpoint"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].BindOptions.ReadOnlyNonRecursive"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].BindOptions.ReadOnlyForceRecursive"),
    only(
        "TaskTemplate.ContainerSpec.Mounts[].VolumeOptions.DriverConfig.Name",
        &["local"],
    ),
    refuse("TaskTemplate.ContainerSpec.Mounts[].VolumeOptions.DriverConfig.Options"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].VolumeOptions.Subpath"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].TmpfsOptions.Options"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].ImageOptions"),
    refuse("TaskTemplate.ContainerSpec.Mounts[].ClusterOptions"),
    only("EndpointSpec.Ports[].Protocol", &["tcp", "udp"]),
];

const NETWORK: &[Rule] = &[
    only("Driver", &["overlay"]),
    refuse("EnableIPv6"),
    refuse("ConfigOnly"),
    refuse("ConfigFrom"),
    only("IPAM.Driver", &["default"]),
    refuse("IPAM.Options"),
    refuse("IPAM.Config[].IPRange"),
    refuse("IPAM.Config[].AuxiliaryAddresses"),
];

const CLUSTER: &[Rule] = &[
    refuse("TaskDefaults.LogDriver"),
    only("Raft.ElectionTick", &["10"]),
    only("Raft.HeartbeatTick", &["1"]),
    explained(
        "CAConfig.ExternalCAs",
        "(--external-ca): the managers sign all node certificates themselves, a signing service elsewhere",
    ),
];

/// Refuses what a service specification asks for in vain.
pub fn check_service(spec: &Value) -> Result<(), Refusal> {
    // Jobs are told by presence: a global job is an empty object.
    for mode in ["ReplicatedJob", "GlobalJob"] {
        if spec
            .get("Mode")
            .is_some_and(|modes| modes.get(mode).is_some())
        {
            return Err(Refusal::unsupported(format!("Mode.{mode}")));
        }
    }
    check(spec, SERVICE)
}

/// Refuses what a network creation asks for in vain.
pub fn check_network(request: &Value) -> Result<(), Refusal> {
    if request.get("EnableIPv4") == Some(&Value::Bool(false)) {
        return Err(Refusal::unsupported("EnableIPv4=false"));
    }
    // `encrypted` and others count without a value.
    let options = request.get("Options").and_then(Value::as_object);
    if let Some(option) = options.and_then(|options| options.keys().next()) {
        return Err(Refusal::unsupported(format!("Options.{option}")));
    }
    check(request, NETWORK)
}

/// Refuses what a cluster specification asks for in vain.
pub fn check_cluster(spec: &Value) -> Result<(), Refusal> {
    check(spec, CLUSTER)
}

fn check(root: &Value, rules: &[Rule]) -> Result<(), Refusal> {
    rules.iter().try_for_each(|rule| {
        if violates(root, rule.path, rule.allowed) {
            Err(Refusal::unsupported(describe(root, rule)))
        } else {
            Ok(())
        }
    })
}

/// Name of the field, with the value where the field itself is fine and only this value is not.
fn describe(root: &Value, rule: &Rule) -> String {
    let name = rule.path.strip_prefix("TaskTemplate.").unwrap_or(rule.path);
    let name = name.replace("[]", "");
    if let Some(why) = rule.why {
        return format!("{name} {why}");
    }
    let pointer = format!("/{}", rule.path.replace('.', "/"));
    match root.pointer(&pointer) {
        Some(Value::String(text)) => format!("{name} \"{text}\""),
        Some(Value::Number(number)) => format!("{name} {number}"),
        _ => name,
    }
}

fn violates(value: &Value, path: &str, allowed: &[&str]) -> bool {
    let (head, tail) = path
        .split_once('.')
        .map_or((path, None), |(head, tail)| (head, Some(tail)));
    let (name, list) = head
        .strip_suffix("[]")
        .map_or((head, false), |name| (name, true));
    let Some(member) = value.get(name) else {
        return false;
    };
    match (tail, list) {
        (None, _) => {
            let text = member
                .as_str()
                .map_or_else(|| member.to_string(), str::to_owned);
            !is_empty(member) && !allowed.contains(&text.as_str())
        }
        (Some(tail), false) => violates(member, tail, allowed),
        (Some(tail), true) => member
            .as_array()
            .is_some_and(|items| items.iter().any(|item| violates(item, tail, allowed))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (spec, name) in [
            (
                json!({"TaskTemplate": {"ContainerSpec": {"Healthcheck": {"Test": ["NONE"]}}}}),
                "ContainerSpec.Healthcheck",
            ),
            (
                json!({"TaskTemplate": {"ContainerSpec": {"Secrets": [{}]}}}),
                "ContainerSpec.Secrets",
            ),
            (
                json!({"TaskTemplate": {"LogDriver": {"Name": "syslog"}}}),
                "LogDriver",
            ),
            (json!({"Mode": {"GlobalJob": {}}}), "Mode.GlobalJob"),
            (
                json!({"EndpointSpec": {"Ports": [{"Protocol": "tcp"}, {"Protocol": "sctp"}]}}),
                "EndpointSpec.Ports.Protocol",
            ),
            (
                json!({"TaskTemplate": {"ContainerSpec": {"Isolation": "hyperv"}}}),
                "ContainerSpec.Isolation \"hyperv\"",
            ),
            (
                json!({"TaskTemplate": {"ContainerSpec": {"Mounts": [{}, {"VolumeOptions": {"Subpath": "x"}}]}}}),
                "ContainerSpec.Mounts.VolumeOptions.Subpath",
            ),
        ] {
            let refusal = check_service(&spec).unwrap_err();
            assert_eq!(refusal.to_string(), format!("{name} is not supported yet"));
            assert_eq!(refusal.status(), 501);
        }
    }

    #[test]
    fn defaults_that_clients_always_send_pass() {
        let spec = json!({
            "TaskTemplate": {
                "ContainerSpec": {"Init": false, "DNSConfig": {}, "Isolation": "default", "Privileges": {}, "Healthcheck": {}},
                "Resources": {"Limits": {}, "Reservations": {}},
                "Placement": {}, "ForceUpdate": 0, "Runtime": "container"
            },
            "Mode": {"Replicated": {"Replicas": 1}}, "EndpointSpec": {"Mode": "vip"}, "SomethingNew": {"x": 1}
        });
        assert_eq!(check_service(&spec), Ok(()));
        let network = json!({
            "Driver": "overlay", "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Options": {},
            "EnableIPv4": true, "EnableIPv6": false
        });
        assert_eq!(check_network(&network), Ok(()));
    }

    #[test]
    fn network_and_cluster_fields() {
        for (request, name) in [
            (json!({"Driver": "macvlan"}), "Driver \"macvlan\""),
            (
                json!({"Driver": "overlay", "Options": {"encrypted": ""}}),
                "Options.encrypted",
            ),
            (json!({"EnableIPv6": true}), "EnableIPv6"),
        ] {
            let refusal = check_network(&request).unwrap_err();
            assert_eq!(refusal.to_string(), format!("{name} is not supported yet"));
        }
        let cluster = json!({"Raft": {"ElectionTick": 10, "HeartbeatTick": 1}, "CAConfig": {"NodeCertExpiry": 1}});
        assert_eq!(check_cluster(&cluster), Ok(()));
        let kept = json!({"Raft": {"KeepOldSnapshots": 3}});
        assert_eq!(check_cluster(&kept), Ok(()));
        let external = json!({"CAConfig": {"ExternalCAs": [{"Protocol": "cfssl"}]}});
        let refusal = check_cluster(&external).unwrap_err().to_string();
        let why = "CAConfig.ExternalCAs (--external-ca): the managers sign all node certificates";
        assert!(refusal.starts_with(why), "{refusal}");
        let locked = json!({"EncryptionConfig": {"AutoLockManagers": true}});
        assert_eq!(check_cluster(&locked), Ok(()));
    }
}
