//! The Linux part of a container: namespaces, cgroup limits, devices, sysctls, hidden paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Prepared, seccomp};
use crate::spec::{ContainerSpec, Resources};

/// CFS period Docker uses for `--cpus`, in microseconds.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
const NANOS_PER_CPU: u64 = 1_000_000_000;

const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Docker lets any user in a container ping and bind low ports: the namespace is the container's own.
const DEFAULT_SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

/// Character devices a container may use besides making nodes: zero, null, urandom, random, tty,
/// console. runc adds pts and ptmx.
const DEVICES: [(i64, i64); 6] = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)];

pub(crate) fn linux(spec: &ContainerSpec, prepared: &Prepared, capabilities: &[&str]) -> Value {
    let mut sysctls: BTreeMap<&str, &str> = DEFAULT_SYSCTLS.into_iter().collect();
    sysctls.extend(
        spec.sysctls
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    json!({
        "cgroupsPath": prepared.cgroups_path,
        "namespaces": namespaces(spec),
        "resources": resources(&spec.resources, prepared.swap_accounting),
        "sysctl": sysctls,
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
        "seccomp": seccomp::profile(capabilities),
    })
}

fn namespaces(spec: &ContainerSpec) -> Value {
    let network = match &spec.netns {
        Some(path) => json!({ "type": "network", "path": path }),
        None => json!({ "type": "network" }),
    };
    json!([{ "type": "mount" }, network, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" }])
}

fn resources(limits: &Resources, swap_accounting: bool) -> Value {
    let mut value = Map::new();
    value.insert("devices".to_owned(), devices());
    if let Some(nano_cpus) = limits.nano_cpus {
        let quota =
            u128::from(nano_cpus) * u128::from(CPU_PERIOD_MICROSECONDS) / u128::from(NANOS_PER_CPU);
        // The kernel refuses quotas below one millisecond.
        let quota = i64::try_from(quota).unwrap_or(i64::MAX).max(1000);
        let cpu = json!({ "period": CPU_PERIOD_MICROSECONDS, "quota": quota });
        value.insert("cpu".to_owned(), cpu);
    }
    let memory = memory(limits, swap_accounting);
    if !memory.is_empty() {
        value.insert("memory".to_owned(), Value::Object(memory));
    }
    if let Some(pids) = limits.pids.filter(|pids| *pids > 0) {
        value.insert("pids".to_owned(), json!({ "limit": pids }));
    }
    Value::Object(value)
}

fn memory(limits: &Resources, swap_accounting: bool) -> Map<String, Value> {
    let mut memory = Map::new();
    if let Some(bytes) = limits.memory_bytes.filter(|bytes| *bytes > 0) {
        memory.insert("limit".to_owned(), json!(bytes));
        if swap_accounting {
            let doubled = i64::try_from(bytes.saturating_mul(2)).unwrap_or(i64::MAX);
            memory.insert(
                "swap".to_owned(),
                json!(limits.memory_swap_bytes.unwrap_or(doubled)),
            );
        }
    }
    if let Some(bytes) = limits.memory_reservation_bytes.filter(|bytes| *bytes > 0) {
        memory.insert("reservation".to_owned(), json!(bytes));
    }
    memory
}

fn devices() -> Value {
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
    ];
    rules.extend(DEVICES.map(|(major, minor)| {
        json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" })
    }));
    Value::Array(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_cgroup_values() {
        let none = resources(&Resources::default(), true);
        assert_eq!(
            none.as_object().unwrap().len(),
            1,
            "only the devices: {none}"
        );
        let tiny = Resources {
            nano_cpus: Some(1),
            pids: Some(0),
            ..Resources::default()
        };
        let tiny = resources(&tiny, true);
        assert_eq!(tiny["cpu"]["quota"], 1000);
        assert_eq!(tiny.get("pids"), None, "0 is no limit");
        for (swap, accounting, expected) in [
            (None, true, json!({ "limit": 100, "swap": 200 })),
            (Some(-1), true, json!({ "limit": 100, "swap": -1 })),
            (Some(150), false, json!({ "limit": 100 })),
        ] {
            let limits = Resources {
                memory_bytes: Some(100),
                memory_swap_bytes: swap,
                ..Resources::default()
            };
            assert_eq!(resources(&limits, accounting)["memory"], expected);
        }
    }

    #[test]
    fn a_caller_may_override_a_default_sysctl() {
        let spec = ContainerSpec {
            sysctls: [(
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "1024".to_owned(),
            )]
            .into(),
            ..ContainerSpec::default()
        };
        let linux = linux(&spec, &crate::oci::tests::prepared(), &[]);
        assert_eq!(
            linux["sysctl"]["net.ipv4.ip_unprivileged_port_start"],
            "1024"
        );
        assert_eq!(linux["sysctl"]["net.ipv4.ping_group_range"], "0 2147483647");
    }
}
