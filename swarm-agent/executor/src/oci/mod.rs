//! Turns a container's specification into the OCI runtime specification (a JSON document) that
//! Docker would have written for it. Pure: paths, users and what the host can do come in resolved.

pub(crate) mod linux;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod seccomp;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Error;
use crate::image::ImageDefaults;
use crate::spec::{ContainerId, ContainerSpec};
use crate::user::ResolvedUser;

/// What a specification needs from the host, looked up by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) user: ResolvedUser,
    /// The caller's mounts with their sources on the host.
    pub(crate) mounts: Vec<mounts::HostMount>,
    /// `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf` on the host.
    pub(crate) hostname_file: PathBuf,
    pub(crate) hosts_file: PathBuf,
    pub(crate) resolv_conf_file: PathBuf,
    pub(crate) cgroups_path: String,
    /// The kernel can limit swap; without it a swap limit makes runc fail.
    pub(crate) swap_accounting: bool,
    /// Static init for `init: true`.
    pub(crate) init_binary: Option<PathBuf>,
}

pub(crate) fn hostname<'a>(id: &'a ContainerId, spec: &'a ContainerSpec) -> &'a str {
    spec.hostname
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| id.short())
}

/// The whole document. Refuses what no container could be started with.
pub(crate) fn build(
    id: &ContainerId,
    spec: &ContainerSpec,
    image: &ImageDefaults,
    prepared: &Prepared,
) -> Result<Value, Error> {
    let mut args = process::arguments(spec, image)?;
    let mut mounts = mounts::all(prepared)?;
    if spec.init {
        let binary = prepared.init_binary.as_ref().ok_or(Error::NoInitBinary)?;
        args.splice(0..0, ["/sbin/docker-init".to_owned(), "--".to_owned()]);
        mounts.push(mounts::read_only_file(binary, "/sbin/docker-init"));
    }
    let capabilities = process::capabilities(&spec.capability_add, &spec.capability_drop)?;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process::process(id, spec, image, &prepared.user, &args, &capabilities)?,
        "root": { "path": "rootfs", "readonly": spec.read_only },
        "hostname": hostname(id, spec),
        "mounts": mounts,
        "linux": linux::linux(spec, prepared, &capabilities),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use oci_spec::runtime::Spec;

    use super::*;
    use crate::spec::{Mount, MountKind, Propagation, Resources, Ulimit};

    pub(crate) fn prepared() -> Prepared {
        Prepared {
            user: ResolvedUser {
                uid: 0,
                gid: 0,
                additional_gids: vec![],
            },
            mounts: vec![],
            hostname_file: "/state/hostname".into(),
            hosts_file: "/state/hosts".into(),
            resolv_conf_file: "/state/resolv.conf".into(),
            cgroups_path: "/swarm/c1".into(),
            swap_accounting: true,
            init_binary: None,
        }
    }

    fn id() -> ContainerId {
        ContainerId::new("0123456789abcdef").unwrap()
    }

    fn image() -> ImageDefaults {
        ImageDefaults {
            cmd: vec!["sh".into()],
            ..ImageDefaults::default()
        }
    }

    /// Reading the document with the published types and writing it back must lose nothing: a
    /// misspelt key would vanish.
    fn assert_only_known_keys(document: &Value) {
        let typed: Spec = serde_json::from_value(document.clone()).unwrap();
        let again = serde_json::to_value(&typed).unwrap();
        assert_no_loss(document, &again, "");
    }

    fn assert_no_loss(before: &Value, after: &Value, path: &str) {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                for (key, value) in before {
                    let found = after.get(key).unwrap_or(&Value::Null);
                    assert_no_loss(value, found, &format!("{path}/{key}"));
                }
            }
            // Capabilities are read as a set.
            (Value::Array(before), Value::Array(after)) if path.contains("/capabilities/") => {
                assert_eq!(before.len(), after.len(), "{path}");
                assert!(before.iter().all(|name| after.contains(name)), "{path}");
            }
            (Value::Array(before), Value::Array(after)) => {
                assert_eq!(before.len(), after.len(), "{path}");
                for (index, (b, a)) in before.iter().zip(after).enumerate() {
                    assert_no_loss(b, a, &format!("{path}/{index}"));
                }
            }
            (before, after) => assert_eq!(before, after, "{path}"),
        }
    }

    #[test]
    fn a_plain_container_gets_dockers_defaults() {
        let document = build(&id(), &ContainerSpec::default(), &image(), &prepared()).unwrap();
        assert_only_known_keys(&document);
        assert_eq!(document["hostname"], "0123456789ab");
        assert_eq!(document["process"]["cwd"], "/");
        assert_eq!(document["process"]["args"], json!(["sh"]));
        assert_eq!(
            document["root"],
            json!({ "path": "rootfs", "readonly": false })
        );
        assert_eq!(document["linux"]["cgroupsPath"], "/swarm/c1");
        let bounding = document["process"]["capabilities"]["bounding"]
            .as_array()
            .unwrap();
        assert_eq!(bounding.len(), 14);
        let targets: Vec<&str> = document["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["destination"].as_str().unwrap())
            .collect();
        assert_eq!(
            targets,
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/sys",
                "/sys/fs/cgroup",
                "/dev/mqueue",
                "/dev/shm",
                "/etc/resolv.conf",
                "/etc/hostname",
                "/etc/hosts",
            ]
        );
    }

    #[test]
    fn everything_set_at_once_lands_where_the_runtime_looks() {
        let spec = ContainerSpec {
            hostname: Some("web".into()),
            read_only: true,
            tty: true,
            init: true,
            netns: Some("/run/netns/x".into()),
            no_new_privileges: true,
            oom_score_adj: Some(100),
            sysctls: [("net.core.somaxconn".to_owned(), "10".to_owned())].into(),
            ulimits: vec![Ulimit {
                name: "nofile".into(),
                soft: 10,
                hard: -1,
            }],
            resources: Resources {
                nano_cpus: Some(500_000_000),
                memory_bytes: Some(64 << 20),
                memory_reservation_bytes: Some(32 << 20),
                memory_swap_bytes: None,
                pids: Some(50),
            },
            mounts: vec![Mount {
                target: "/data".into(),
                read_only: true,
                kind: MountKind::Bind {
                    source: "/srv".into(),
                    propagation: Propagation::RecursivePrivate,
                    recursive: true,
                },
            }],
            ..ContainerSpec::default()
        };
        let mut prepared = prepared();
        prepared.init_binary = Some("/usr/bin/tini".into());
        prepared.user = ResolvedUser {
            uid: 33,
            gid: 44,
            additional_gids: vec![50],
        };
        let document = build(&id(), &spec, &image(), &prepared).unwrap();
        assert_only_known_keys(&document);
        let process = &document["process"];
        assert_eq!(process["args"], json!(["/sbin/docker-init", "--", "sh"]));
        assert_eq!(
            process["user"],
            json!({ "uid": 33, "gid": 44, "additionalGids": [50] })
        );
        assert_eq!(process["terminal"], true);
        assert_eq!(process["noNewPrivileges"], true);
        assert_eq!(process["oomScoreAdj"], 100);
        assert_eq!(
            process["rlimits"],
            json!([{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX }])
        );
        assert_eq!(
            process["capabilities"].get("effective"),
            None,
            "a non-root user has none"
        );
        let linux = &document["linux"];
        assert_eq!(
            linux["resources"]["cpu"],
            json!({ "period": 100_000, "quota": 50_000 })
        );
        assert_eq!(
            linux["resources"]["memory"],
            json!({ "limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728 })
        );
        assert_eq!(linux["resources"]["pids"], json!({ "limit": 50 }));
        assert_eq!(linux["sysctl"]["net.core.somaxconn"], "10");
        let namespaces = linux["namespaces"].as_array().unwrap();
        assert!(namespaces.contains(&json!({ "type": "network", "path": "/run/netns/x" })));
    }

    #[test]
    fn init_without_a_binary_is_refused() {
        let spec = ContainerSpec {
            init: true,
            ..ContainerSpec::default()
        };
        let error = build(&id(), &spec, &image(), &prepared()).unwrap_err();
        assert!(matches!(error, Error::NoInitBinary));
    }
}
