//! The text of the three files Docker puts into every container: hosts, hostname, resolv.conf.
//! Pure: the executor writes and mounts them.

use std::net::IpAddr;

use crate::dns::RESOLVER_ADDRESS;

/// `/etc/hosts`: loopback names, `--host` entries in order, then the task's own addresses.
pub fn hosts(hostname: &str, own: &[IpAddr], extra: &[(String, String)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    let own = own.iter().map(|address| (address.to_string(), hostname));
    let extra = extra
        .iter()
        .map(|(address, name)| (address.clone(), name.as_str()));
    for (address, name) in extra.chain(own) {
        text.push_str(&[address.as_str(), "\t", name, "\n"].concat());
    }
    text
}

/// `/etc/hostname`.
pub fn hostname(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// `/etc/resolv.conf` of a task on an overlay network: our resolver only. Docker writes
/// `ndots:0` unless the service sets its own.
pub fn resolv_conf(search: &[String], options: &[String]) -> String {
    let mut lines = vec![format!("nameserver {RESOLVER_ADDRESS}")];
    if !search.is_empty() {
        lines.push(format!("search {}", search.join(" ")));
    }
    let mut options = options.to_vec();
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    lines.push(format!("options {}", options.join(" ")));
    lines.join("\n") + "\n"
}

/// The `nameserver` lines of a resolv.conf, in order.
pub fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver") {
            // A scoped IPv6 address (fe80::1%eth0) does not parse and cannot be used from here.
            servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_points_at_us_and_keeps_the_users_options() {
        assert_eq!(
            resolv_conf(&[], &[]),
            "nameserver 127.0.0.11\noptions ndots:0\n"
        );
        let search = ["a.example".to_owned(), "b.example".to_owned()];
        assert_eq!(
            resolv_conf(&search, &["ndots:2".to_owned(), "rotate".to_owned()]),
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions ndots:2 rotate\n"
        );
    }

    #[test]
    fn nameservers_are_read_in_order() {
        let text = "# comment\nsearch x\nnameserver 10.0.0.1\n nameserver  2001:db8::1 # b\n\
                    nameserver nonsense\n";
        let expected: Vec<IpAddr> = ["10.0.0.1", "2001:db8::1"]
            .iter()
            .map(|s| s.parse().unwrap())
            .collect();
        assert_eq!(nameservers(text), expected);
    }

    #[test]
    fn hosts_ends_with_the_tasks_own_addresses() {
        let own = ["10.0.1.3".parse().unwrap()];
        let text = hosts("web1", &own, &[("192.0.2.7".to_owned(), "db".to_owned())]);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("192.0.2.7\tdb\n10.0.1.3\tweb1\n"), "{text}");
    }
}
