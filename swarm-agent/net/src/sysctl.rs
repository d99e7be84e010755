//! Settings below `/proc/sys/net` of a namespace.
//!
//! The kernel resolves `/proc/sys/net` by the network namespace of the thread that opens the
//! file (`net_ctl_root` in net/sysctl_net.c looks at `current`), so a write is done on a thread
//! inside the namespace. Keys use the form of sysctl(8); a key outside `net.` is refused,
//! because it would change the whole machine.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::NetError;
use crate::netns::Netns;

/// Writes `(key, value)` pairs in order inside `namespace`.
pub async fn write_in(namespace: &Netns, settings: Vec<(String, String)>) -> Result<(), NetError> {
    namespace.run_in_async(move || write_all(&settings)).await?
}

/// Writes `(key, value)` pairs in order in the namespace of the calling thread.
pub fn write_all(settings: &[(String, String)]) -> Result<(), NetError> {
    settings
        .iter()
        .try_for_each(|(key, value)| write(key, value))
}

/// Reads one setting of the namespace of the calling thread.
pub fn read(key: &str) -> Result<String, NetError> {
    let path = path_of(key)?;
    fs::read_to_string(&path)
        .map(|text| text.trim_end().to_owned())
        .map_err(|source| NetError::File {
            action: "read",
            path,
            source,
        })
}

fn write(key: &str, value: &str) -> Result<(), NetError> {
    let path = path_of(key)?;
    fs::write(&path, value).map_err(|source| NetError::File {
        action: "write",
        path,
        source,
    })
}

/// The settings every task gets: Docker's two (ping without rights, low ports without rights)
/// and no reverse-path filter, because replies of a virtual IP may arrive on another interface
/// than the one the route points at.
pub fn task_defaults() -> Vec<(String, String)> {
    [
        ("net.ipv4.ping_group_range", "0 2147483647"),
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Turns IPv6 off on one interface: no router solicitations and neighbour probes on a network
/// that carries only IPv4. Nothing is done where the kernel has no IPv6.
pub fn disable_ipv6(ifname: &str) -> Result<(), NetError> {
    match write(
        &format!("net.ipv6.conf.{}.disable_ipv6", escape(ifname)),
        "1",
    ) {
        Err(NetError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// In a key, a dot inside a name is written as a slash (sysctl(8)).
fn escape(ifname: &str) -> String {
    ifname.replace('.', "/")
}

fn path_of(key: &str) -> Result<PathBuf, NetError> {
    let refused = || NetError::SysctlNotNetwork {
        key: key.to_owned(),
    };
    // Docker accepts both notations and takes the first separator as the key's own.
    let slashes = key
        .find('/')
        .is_some_and(|s| key.find('.').is_none_or(|d| s < d));
    let path = if slashes {
        key.to_owned()
    } else {
        key.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    let below_net = path.starts_with("net/") && path.split('/').all(|part| !part.is_empty());
    if !below_net || path.split('/').any(|part| part == ".." || part == ".") {
        return Err(refused());
    }
    Ok(PathBuf::from("/proc/sys").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths_below_net_only() {
        for (key, expected) in [
            ("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward")),
            ("net/ipv4/ip_forward", Some("/proc/sys/net/ipv4/ip_forward")),
            (
                "net.ipv4.conf.a/b.rp_filter",
                Some("/proc/sys/net/ipv4/conf/a.b/rp_filter"),
            ),
            ("kernel.shmmax", None),
            ("net/../kernel/shmmax", None),
            ("net.//.kernel", None),
            ("net..ipv4", None),
            ("", None),
        ] {
            let path = path_of(key).ok();
            assert_eq!(path, expected.map(PathBuf::from), "{key:?}");
        }
    }
}
