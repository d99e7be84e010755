//! Published ports: `8080:80/tcp`, ranges, and `published=8080,target=80,mode=host`.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{csv, go, object};

/// One published port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub protocol: String,
    pub target: u16,
    /// Zero lets the swarm choose.
    pub published: u16,
    /// `ingress` or `host`.
    pub(crate) mode: String,
}

impl Port {
    /// The port as the Engine API spells it.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        object::put(&mut map, "Protocol", self.protocol.as_str());
        object::put(&mut map, "TargetPort", self.target);
        object::put(&mut map, "PublishedPort", self.published);
        object::put(&mut map, "PublishMode", self.mode.as_str());
        Value::Object(map)
    }
}

/// Reads one flag value; a range makes several ports.
pub(crate) fn parse(text: &str) -> Result<Vec<Port>, String> {
    if has_field(text) {
        long(text).map(|port| vec![port])
    } else {
        short(text)
    }
}

/// Whether the text has a `key=value` anywhere, which makes it the long form.
pub(super) fn has_field(text: &str) -> bool {
    let word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    let around = |at: usize| at > 0 && word(bytes.get(at - 1)) && word(bytes.get(at + 1));
    bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'=' && around(at))
}

fn long(text: &str) -> Result<Port, String> {
    let mut port = Port {
        protocol: "tcp".into(),
        target: 0,
        published: 0,
        mode: "ingress".into(),
    };
    for field in csv::split(text)? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field: {field}"))?;
        match key {
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => port.protocol = value.into(),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if matches!(value, "ingress" | "host") => port.mode = value.into(),
            "mode" => {
                return Err(format!(
                    "invalid publish mode value ({value}): must be either 'ingress' or 'host'"
                ));
            }
            "target" => port.target = long_number("target", value)?,
            "published" => port.published = long_number("published", value)?,
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    if port.target == 0 {
        return Err("missing mandatory field 'target'".to_owned());
    }
    Ok(port)
}

fn long_number(what: &str, value: &str) -> Result<u16, String> {
    number(value).map_err(|reason| {
        format!("invalid {what} port ({value}): value must be an integer: {reason}")
    })
}

/// A port number; the error is Go's reason alone.
fn number(text: &str) -> Result<u16, &'static str> {
    match go::parse_decimal(text).map(u16::try_from) {
        Ok(Ok(port)) => Ok(port),
        Ok(Err(_)) => Err("value out of range"),
        Err(text) if text.ends_with("out of range") => Err("value out of range"),
        Err(_) => Err("invalid syntax"),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first).ok()?, number(last).ok()?);
    (first <= last).then_some((first, last))
}

fn short(text: &str) -> Result<Vec<Port>, String> {
    let mut parts = text.rsplitn(3, ':');
    let target_part = parts.next().unwrap_or_default();
    let host_part = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (target_text, protocol) = match target_part.split_once('/') {
        Some((port, "")) => (port, "tcp".to_owned()),
        Some((port, protocol)) => (port, protocol.to_lowercase()),
        None => (target_part, "tcp".to_owned()),
    };
    check_address(address)?;
    if target_text.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let invalid_target = || format!("invalid containerPort: {target_text}");
    let (first, last) = range(target_text).ok_or_else(invalid_target)?;
    let published = if host_part.is_empty() {
        None
    } else {
        Some(range(host_part).ok_or_else(|| format!("invalid hostPort: {host_part}"))?)
    };
    if let Some((from, to)) = published
        && last - first != to - from
        && first != last
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {target_text} and {host_part}"
        ));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    if !address.is_empty() {
        return Err("hostip is not supported".to_owned());
    }
    Ok(expand((first, last), published, &protocol))
}

fn check_address(address: &str) -> Result<(), String> {
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(())
}

fn expand(targets: (u16, u16), published: Option<(u16, u16)>, protocol: &str) -> Vec<Port> {
    let port = |target, published| Port {
        protocol: protocol.to_owned(),
        target,
        published,
        mode: "ingress".to_owned(),
    };
    match published {
        None => (targets.0..=targets.1)
            .map(|target| port(target, 0))
            .collect(),
        // One target behind a range of published ports.
        Some((from, to)) if targets.0 == targets.1 => (from..=to)
            .map(|published| port(targets.0, published))
            .collect(),
        Some((from, to)) => (targets.0..=targets.1)
            .zip(from..=to)
            .map(|(t, p)| port(t, p))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<String> {
        let show = |p: Port| format!("{}:{}/{}/{}", p.published, p.target, p.protocol, p.mode);
        parse(text).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn short_and_long_forms() {
        assert_eq!(ports("80"), ["0:80/tcp/ingress"]);
        assert_eq!(ports("8080:80"), ["8080:80/tcp/ingress"]);
        assert_eq!(ports("53:5353/UDP"), ["53:5353/udp/ingress"]);
        assert_eq!(
            ports("8000-8001:80-81"),
            ["8000:80/tcp/ingress", "8001:81/tcp/ingress"]
        );
        assert_eq!(
            ports("8000-8001:80"),
            ["8000:80/tcp/ingress", "8001:80/tcp/ingress"]
        );
        assert_eq!(ports("80-81"), ["0:80/tcp/ingress", "0:81/tcp/ingress"]);
        assert_eq!(ports("published=8080,target=80"), ["8080:80/tcp/ingress"]);
        assert_eq!(ports("target=53,protocol=udp,mode=HOST"), ["0:53/udp/host"]);
    }

    #[test]
    fn bad_ports_have_dockers_texts() {
        for (text, error) in [
            ("1.2.3.4:80:80", "hostip is not supported"),
            ("x:80:80", "invalid IP address: x"),
            ("99999", "invalid containerPort: 99999"),
            ("x:80", "invalid hostPort: x"),
            ("80:", "no port specified: 80:<empty>"),
            ("80/foo", "invalid proto: foo"),
            (
                "80-82:90-91",
                "invalid ranges specified for container and host Ports: 90-91 and 80-82",
            ),
            ("published=8080", "missing mandatory field 'target'"),
            ("target=80,foo=x", "invalid field key: foo"),
            ("target=80,protocol=x", "invalid protocol value 'x'"),
            (
                "target=80,mode=x",
                "invalid publish mode value (x): must be either 'ingress' or 'host'",
            ),
            (
                "target=99999",
                "invalid target port (99999): value must be an integer: value out of range",
            ),
            (
                "target=80,published=a",
                "invalid published port (a): value must be an integer: invalid syntax",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-z:/=,\\-\\[\\]\"]{0,20}") {
            drop(parse(&text));
        }
    }
}
