//! Checks of flag values that need no structure of their own: environment, labels, filters,
//! addresses. Each returns the form that is kept.

use std::net::IpAddr;

use super::duration;

/// `NAME=value`, or `NAME` to take the value from this process's environment.
pub(crate) fn env(value: &str) -> Result<String, String> {
    let name = value.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(format!("invalid environment variable: {value}"));
    }
    if value.contains('=') {
        return Ok(value.to_owned());
    }
    Ok(std::env::var(name).map_or_else(|_| value.to_owned(), |own| format!("{name}={own}")))
}

/// `key[=value]` with a key that has no blanks.
pub(crate) fn label(value: &str) -> Result<String, String> {
    let key = value
        .split('=')
        .next()
        .unwrap_or_default()
        .trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(value.to_owned())
}

/// `name=value`; the name is kept in lower case.
pub(crate) fn filter(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Ok(String::new());
    }
    let Some((name, wanted)) = value.split_once('=') else {
        return Err("bad format of filter (expected name=value)".to_owned());
    };
    Ok(format!("{}={}", name.trim().to_lowercase(), wanted.trim()))
}

/// A duration that is not negative.
pub(crate) fn positive_duration(value: &str) -> Result<String, String> {
    if duration::parse(value)? < 0 {
        return Err("duration cannot be negative".to_owned());
    }
    Ok(value.to_owned())
}

/// `address[:port]` of a listener, completed with the default port 2377.
pub(crate) fn node_addr(value: &str) -> Result<String, String> {
    let bare = value.strip_prefix("tcp://").unwrap_or(value);
    let invalid = |what: &str| format!("parse \"tcp://{bare}\": {what}");
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => (bare, ""),
        Some((host, port)) => (host, port),
        None => (bare, ""),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(&format!(
            "invalid port {:?} after host",
            format!(":{port}")
        )));
    }
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let port = if port.is_empty() { "2377" } else { port };
    Ok(format!("{host}:{port}"))
}

/// An address range, or several separated by commas; the host part is cleared.
pub(crate) fn cidr(value: &str) -> Result<String, String> {
    let one = |text: &str| {
        network(text).ok_or_else(|| format!("invalid string being converted to CIDR: {text}"))
    };
    let all: Result<Vec<String>, String> = value.split(',').map(|part| one(part.trim())).collect();
    Ok(all?.join(","))
}

/// `a.b.c.d/n` with the bits behind the prefix cleared.
fn network(text: &str) -> Option<String> {
    let (address, prefix) = parse_cidr(text)?;
    let cleared: IpAddr = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    };
    Some(format!("{cleared}/{prefix}"))
}

/// An address with its prefix length.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|n| digits && *n <= longest)?;
    Some((address, prefix))
}

/// Why a file is not taken for PEM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemProblem {
    #[error("{0}")]
    Unreadable(String),
    #[error("file contents must be in PEM format")]
    NotPem,
}

/// The contents of a file that holds PEM.
pub(crate) fn pem_file(path: &str) -> Result<String, PemProblem> {
    let contents = read_file(path).map_err(PemProblem::Unreadable)?;
    if contents.contains("-----BEGIN ") {
        Ok(contents)
    } else {
        Err(PemProblem::NotPem)
    }
}

/// A file's text; the reason in Go's words when it cannot be read.
pub(crate) fn read_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let reason = if missing {
            "no such file or directory".to_owned()
        } else {
            error.to_string()
        };
        format!("open {path}: {reason}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_needs_a_name() {
        assert_eq!(env("A=b=c").unwrap(), "A=b=c");
        assert_eq!(
            env("SWARM_NO_SUCH_VARIABLE").unwrap(),
            "SWARM_NO_SUCH_VARIABLE"
        );
        assert!(env("PATH").unwrap().starts_with("PATH=/"));
        assert_eq!(env("").unwrap_err(), "invalid environment variable: ");
        assert_eq!(env("=x").unwrap_err(), "invalid environment variable: =x");
    }

    #[test]
    fn labels_and_filters_have_dockers_texts() {
        assert_eq!(label("").unwrap_err(), "invalid label '': empty name");
        assert_eq!(
            label("a b=c").unwrap_err(),
            "label 'a b' contains whitespaces"
        );
        assert_eq!(label("a=b c").unwrap(), "a=b c");
        assert_eq!(
            filter("foo").unwrap_err(),
            "bad format of filter (expected name=value)"
        );
        assert_eq!(filter("Name = web").unwrap(), "name=web");
    }

    #[test]
    fn listen_addresses_are_completed() {
        for (given, kept) in [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            (":99", "0.0.0.0:99"),
            ("eth0", "eth0:2377"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(node_addr(given).unwrap(), kept);
        }
        assert_eq!(
            node_addr("foo:bar").unwrap_err(),
            "parse \"tcp://foo:bar\": invalid port \":bar\" after host"
        );
    }

    #[test]
    fn ranges_lose_their_host_part() {
        assert_eq!(cidr("10.1.2.3/8").unwrap(), "10.0.0.0/8");
        assert_eq!(cidr("fd00::1/64").unwrap(), "fd00::/64");
        assert_eq!(cidr("0.0.0.0/0").unwrap(), "0.0.0.0/0");
        assert_eq!(
            cidr("1.2.3").unwrap_err(),
            "invalid string being converted to CIDR: 1.2.3"
        );
        assert!(cidr("10.0.0.0/33").is_err());
    }
}
