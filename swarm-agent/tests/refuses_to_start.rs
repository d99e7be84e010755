//! A host that cannot carry the agent: it says why and what to do, ends with 1 and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test fails by panicking, and a test program is all tests"
)]

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs the agent below `dir` by way of `wrapper`, which must end by itself.
fn agent(wrapper: &[&str], dir: &Path, options: &[&str]) -> Output {
    let (program, arguments) = wrapper.split_first().unwrap();
    Command::new("timeout")
        .arg("60")
        .arg(program)
        .args(arguments)
        .arg(env!("CARGO_BIN_EXE_swarm-agent"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--run-dir")
        .arg(dir.join("run"))
        .arg("--bpffs")
        .arg(dir.join("bpf"))
        .args(options)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_refuses(wrapper: &[&str], options: &[&str], texts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    // So that an unprivileged user could have left something behind.
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        dir.path(),
        nix::sys::stat::Mode::from_bits_truncate(0o777),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .unwrap();
    let output = agent(wrapper, dir.path(), options);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in: {said}");
    }
    let left: Vec<_> = dir.path().read_dir().unwrap().flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn without_root() {
    assert_refuses(
        &[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ],
        &[],
        &["swarm-agent must be run as root"],
    );
}

#[test]
fn with_root_but_without_its_capabilities() {
    assert_refuses(
        &[
            "setpriv",
            "--bounding-set=-net_admin,-bpf,-sys_admin,-perfmon",
        ],
        &[],
        &["NET_ADMIN"],
    );
}

#[test]
fn on_a_kernel_that_is_too_old() {
    assert_refuses(
        &["setarch", "--uname-2.6"],
        &[],
        &[
            "kernel 2.6",
            "is too old: the data path needs 5.15 or later",
        ],
    );
}

#[test]
fn without_containerd() {
    assert_refuses(
        &["env"],
        &["--containerd", "/nonexistent/containerd.sock"],
        &[
            "is containerd running? Its socket is named with --containerd (now /nonexistent/containerd.sock)",
            "cannot connect to containerd at /nonexistent/containerd.sock",
        ],
    );
}
