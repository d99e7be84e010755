//! System calls a container must not make unless it has the capability for them. Docker ships a list of
//! what is allowed; this is the complement that its documentation names as "significant syscalls
//! blocked by the default profile", plus the mount API and io_uring that came since.

use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: clone(2) with any of them.
const CLONE_NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// Blocked for every container.
const ALWAYS: [&str; 18] = [
    "add_key",
    "create_module",
    "get_kernel_syms",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "move_pages",
    "nfsservctl",
    "query_module",
    "request_key",
    "sysfs",
    "_sysctl",
    "uselib",
    "userfaultfd",
    "ustat",
];

/// Blocked unless the container has one of the capabilities.
const UNLESS: [(&[&str], &[&str]); 10] = [
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (
        &["CAP_SYS_PTRACE"],
        &[
            "kcmp",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
        ],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (
        &["CAP_SYS_TIME"],
        &["clock_adjtime", "clock_settime", "settimeofday", "stime"],
    ),
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
];

/// The filter for a container with these capabilities.
pub(crate) fn profile(capabilities: &[&str]) -> Value {
    let mut denied: Vec<&str> = ALWAYS.to_vec();
    for (any_of, calls) in UNLESS {
        if !any_of
            .iter()
            .any(|capability| capabilities.contains(capability))
        {
            denied.extend(calls);
        }
    }
    if !capabilities.contains(&"CAP_SYS_NICE") {
        denied.extend(["get_mempolicy", "mbind", "set_mempolicy"]);
    }
    let mut rules = vec![json!({ "names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM })];
    if !capabilities.contains(&"CAP_SYS_ADMIN") {
        rules.extend(CLONE_NEW_NAMESPACES.map(clone_rule));
        // Its flags are behind a pointer that a filter cannot read; libc falls back to clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

fn clone_rule(flag: u64) -> Value {
    json!({
        "names": ["clone"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": EPERM,
        "args": [{ "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ" }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(profile: &Value) -> Vec<&str> {
        profile["syscalls"][0]["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_capability_opens_its_calls_and_no_others() {
        let plain = profile(&[]);
        let admin = profile(&["CAP_SYS_ADMIN"]);
        assert!(denied(&plain).contains(&"mount") && !denied(&admin).contains(&"mount"));
        assert!(denied(&admin).contains(&"reboot") && denied(&admin).contains(&"keyctl"));
        let count = |profile: &Value| profile["syscalls"].as_array().unwrap().len();
        assert_eq!(
            (count(&plain), count(&admin)),
            (9, 1),
            "clone and clone3 are open to admin"
        );
        assert!(!denied(&profile(&["CAP_BPF"])).contains(&"bpf"));
    }
}
