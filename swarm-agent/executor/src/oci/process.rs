//! The process of a container: arguments, environment, user, capabilities, limits, with Docker's
//! rules for what the image says and what the caller overrides.

use serde_json::{Value, json};

use crate::Error;
use crate::image::ImageDefaults;
use crate::spec::{ContainerId, ContainerSpec, Ulimit};
use crate::user::ResolvedUser;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a Docker container may do without being asked.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All others the kernel knows (capabilities(7), Linux 6.x).
const OTHER_CAPABILITIES: [&str; 27] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// ENTRYPOINT and CMD with the caller's overrides: a caller's entrypoint drops the image's CMD, an
/// empty one (`--entrypoint ""`) only removes the image's.
pub(crate) fn arguments(spec: &ContainerSpec, image: &ImageDefaults) -> Result<Vec<String>, Error> {
    let user_args = spec.args.as_deref().filter(|args| !args.is_empty());
    let mut arguments: Vec<String> = match spec.command.as_deref() {
        None => [&image.entrypoint[..], user_args.unwrap_or(&image.cmd)].concat(),
        Some([]) => user_args.unwrap_or(&image.cmd).to_vec(),
        Some([single]) if single.is_empty() => user_args.unwrap_or_default().to_vec(),
        Some(entrypoint) => [entrypoint, user_args.unwrap_or_default()].concat(),
    };
    if arguments.first().is_some_and(String::is_empty) {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        Err(Error::NoCommand)
    } else {
        Ok(arguments)
    }
}

/// Docker's own variables, then the image's, then the caller's; a bare name removes.
pub(crate) fn environment(
    id: &ContainerId,
    spec: &ContainerSpec,
    image: &ImageDefaults,
) -> Vec<String> {
    let mut env = vec![
        DEFAULT_PATH.to_owned(),
        format!("HOSTNAME={}", super::hostname(id, spec)),
    ];
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    merge_environment(&mut env, &image.env);
    merge_environment(&mut env, &spec.env);
    env
}

pub(crate) fn merge_environment(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let name = change.split('=').next().unwrap_or(change);
        let same = |entry: &String| entry.split('=').next() == Some(name);
        if !change.contains('=') {
            env.retain(|entry| !same(entry));
        } else if let Some(existing) = env.iter_mut().find(|entry| same(entry)) {
            existing.clone_from(change);
        } else {
            env.push(change.clone());
        }
    }
}

/// Docker's set plus `add` minus `drop`; `ALL` works in both, `CAP_` may be left out.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> Result<Vec<&'static str>, Error> {
    let all = || {
        DEFAULT_CAPABILITIES
            .iter()
            .chain(&OTHER_CAPABILITIES)
            .copied()
    };
    let known = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        all()
            .find(|capability| *capability == full)
            .ok_or_else(|| Error::UnknownCapability { name: name.clone() })
    };
    let (add_all, add) = split_all(add);
    let (drop_all, drop) = split_all(drop);
    let added = add.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let dropped = drop.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let mut result: Vec<&'static str> = if add_all {
        all().collect()
    } else if drop_all {
        Vec::new()
    } else {
        DEFAULT_CAPABILITIES.to_vec()
    };
    result.retain(|capability| !dropped.contains(capability));
    for capability in added {
        if !result.contains(&capability) {
            result.push(capability);
        }
    }
    Ok(result)
}

/// Whether `ALL` is named, and the other names.
fn split_all(names: &[String]) -> (bool, Vec<&String>) {
    let is_all =
        |name: &&String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    (
        names.iter().any(|name| is_all(&name)),
        names.iter().filter(|name| !is_all(name)).collect(),
    )
}

pub(crate) fn process(
    id: &ContainerId,
    spec: &ContainerSpec,
    image: &ImageDefaults,
    user: &ResolvedUser,
    args: &[String],
    capabilities: &[&str],
) -> Result<Value, Error> {
    let workdir = spec
        .workdir
        .as_deref()
        .filter(|dir| !dir.is_empty())
        .unwrap_or(&image.workdir);
    let mut process = json!({
        "terminal": spec.tty,
        "user": user_value(user),
        "args": args,
        "env": environment(id, spec, image),
        "cwd": if workdir.is_empty() { "/" } else { workdir },
        "capabilities": capability_sets(user.uid, capabilities),
        "noNewPrivileges": spec.no_new_privileges,
    });
    if !spec.ulimits.is_empty() {
        let limits = spec
            .ulimits
            .iter()
            .map(rlimit)
            .collect::<Result<Vec<_>, _>>()?;
        process["rlimits"] = Value::Array(limits);
    }
    if let Some(adjustment) = spec.oom_score_adj {
        process["oomScoreAdj"] = json!(adjustment);
    }
    Ok(process)
}

pub(crate) fn user_value(user: &ResolvedUser) -> Value {
    let mut value = json!({ "uid": user.uid, "gid": user.gid });
    if !user.additional_gids.is_empty() {
        value["additionalGids"] = json!(user.additional_gids);
    }
    value
}

/// Only root has them at once; another user gets the bounding set, as execve(2) would leave it.
/// Never ambient or inheritable: a container's processes would hand them on (CVE-2022-24769).
pub(crate) fn capability_sets(uid: u32, capabilities: &[&str]) -> Value {
    if uid == 0 {
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities })
    } else {
        json!({ "bounding": capabilities })
    }
}

fn rlimit(ulimit: &Ulimit) -> Result<Value, Error> {
    let name = ulimit.name.to_ascii_lowercase();
    if !RLIMITS.contains(&name.as_str()) {
        return Err(Error::UnknownUlimit {
            name: ulimit.name.clone(),
        });
    }
    // -1 is "unlimited": RLIM_INFINITY is all ones.
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    Ok(json!({
        "type": format!("RLIMIT_{}", name.to_ascii_uppercase()),
        "soft": value(ulimit.soft),
        "hard": value(ulimit.hard),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_and_cmd_combine_as_dockers_do() {
        let image = |entrypoint, cmd| ImageDefaults {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageDefaults::default()
        };
        let some = |text: &str| Some(words(text));
        let empty_entrypoint = Some(vec![String::new()]);
        for (entrypoint, cmd, command, args, expected) in [
            ("e", "c", None, None, "e c"),
            ("e", "c", None, some("a b"), "e a b"),
            ("e", "c", None, some(""), "e c"),
            ("e", "c", some("x y"), None, "x y"),
            ("e", "c", some("x"), some("a"), "x a"),
            ("", "c d", None, None, "c d"),
            ("e", "c", some(""), None, "c"),
            ("e", "c", empty_entrypoint.clone(), some("a"), "a"),
        ] {
            let spec = ContainerSpec {
                command,
                args,
                ..ContainerSpec::default()
            };
            let found = arguments(&spec, &image(entrypoint, cmd)).unwrap();
            assert_eq!(found, words(expected), "{spec:?}");
        }
        for (command, args) in [(None, None), (empty_entrypoint, None)] {
            let spec = ContainerSpec {
                command,
                args,
                ..ContainerSpec::default()
            };
            assert!(matches!(
                arguments(&spec, &image("", "")),
                Err(Error::NoCommand)
            ));
        }
    }

    #[test]
    fn environment_is_layered_and_names_without_value_remove() {
        let image = ImageDefaults {
            env: words("PATH=/p A=image B=image C=1"),
            ..Default::default()
        };
        let spec = ContainerSpec {
            env: words("A=user C D=x=y"),
            hostname: Some("h".into()),
            tty: true,
            ..Default::default()
        };
        let id = ContainerId::new("abc").unwrap();
        assert_eq!(
            environment(&id, &spec, &image),
            words("PATH=/p HOSTNAME=h TERM=xterm A=user B=image D=x=y")
        );
    }

    #[test]
    fn capability_changes() {
        for (add, drop, expected) in [
            ("", "", 14),
            ("net_admin", "", 15),
            ("CAP_NET_ADMIN CHOWN", "MKNOD", 14),
            ("", "ALL", 0),
            ("CHOWN", "ALL", 1),
            ("ALL", "", 41),
            ("ALL", "SYS_ADMIN", 40),
        ] {
            let found = capabilities(&words(add), &words(drop)).unwrap();
            assert_eq!(found.len(), expected, "{add} / {drop}: {found:?}");
        }
        let error = capabilities(&words("NOPE"), &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid CapAdd or CapDrop: unknown capability: \"NOPE\""
        );
    }

    #[test]
    fn an_unknown_limit_is_refused() {
        let error = rlimit(&Ulimit {
            name: "files".into(),
            soft: 1,
            hard: 1,
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "invalid ulimit type: files");
    }
}
