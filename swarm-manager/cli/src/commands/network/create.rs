//! `network create`.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::flags::{Flag, Kind, Matches, flag};
use crate::values::check::parse_cidr;
use crate::values::object::{from_pairs, put, text};

pub(super) fn flags() -> Vec<Flag> {
    vec![
        flag("driver", Kind::Text, "Driver to manage the Network")
            .short('d')
            .default("bridge"),
        flag("opt", Kind::Map, "Set driver specific options")
            .short('o')
            .default("map[]"),
        flag("label", Kind::Label, "Set metadata on a network"),
        flag(
            "internal",
            Kind::Bool,
            "Restrict external access to the network",
        ),
        flag(
            "ipv4",
            Kind::Bool,
            "Enable or disable IPv4 address assignment",
        )
        .default("true"),
        flag(
            "ipv6",
            Kind::Bool,
            "Enable or disable IPv6 address assignment",
        ),
        flag(
            "attachable",
            Kind::Bool,
            "Enable manual container attachment",
        ),
        flag("ingress", Kind::Bool, "Create swarm routing-mesh network"),
        flag("scope", Kind::Text, "Control the network's scope"),
        flag(
            "config-only",
            Kind::Bool,
            "Create a configuration only network",
        ),
        flag(
            "config-from",
            Kind::Text,
            "The network from which to copy the configuration",
        ),
        flag("ipam-driver", Kind::Text, "IP Address Management Driver").default("default"),
        flag(
            "subnet",
            Kind::Strings,
            "Subnet in CIDR format that represents a network segment",
        ),
        flag(
            "ip-range",
            Kind::Strings,
            "Allocate container ip from a sub-range",
        ),
        flag(
            "gateway",
            Kind::Strings,
            "IPv4 or IPv6 Gateway for the master subnet",
        ),
        flag(
            "aux-address",
            Kind::Map,
            "Auxiliary IPv4 or IPv6 addresses used by Network driver",
        )
        .default("map[]"),
        flag("ipam-opt", Kind::Map, "Set IPAM driver specific options").default("map[]"),
    ]
}

pub(super) async fn run(app: &mut App, matches: &Matches) -> Outcome {
    let request = request(matches).map_err(CliError::refused)?;
    let answer = app.client.post("/networks/create", &[], &request).await?;
    app.say(text(&answer, "/Id"))
}

fn request(matches: &Matches) -> Result<Value, String> {
    let from = matches.text("config-from");
    let from = if from.is_empty() {
        Value::Null
    } else {
        json!({"Network": from})
    };
    let mut request = json!({
        "Driver": matches.text("driver"),
        "Scope": matches.text("scope"),
        "IPAM": ipam(matches)?,
        "Internal": matches.on("internal"),
        "Attachable": matches.on("attachable"),
        "Ingress": matches.on("ingress"),
        "ConfigOnly": matches.on("config-only"),
        "ConfigFrom": from,
        "Options": from_pairs(matches.list("opt")),
        "Labels": from_pairs(matches.list("label")),
        "Name": matches.args[0],
    });
    for (name, field) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if matches.changed(name) {
            request[field] = matches.on(name).into();
        }
    }
    Ok(request)
}

/// The comma separated values of a flag.
fn strings<'a>(matches: &'a Matches, name: &str) -> Vec<&'a str> {
    matches
        .list(name)
        .iter()
        .flat_map(|list| list.split(','))
        .collect()
}

/// One subnet with what belongs to it.
#[derive(Default)]
struct Pool<'a> {
    range: Option<&'a str>,
    gateway: Option<&'a str>,
    auxiliary: Map<String, Value>,
}

fn ipam(matches: &Matches) -> Result<Value, String> {
    let subnets = strings(matches, "subnet");
    let ranges = strings(matches, "ip-range");
    let gateways = strings(matches, "gateway");
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    check_overlap(&subnets)?;
    let pools = pools(&subnets, ranges, gateways, matches)?;
    let config: Vec<Value> = subnets
        .iter()
        .zip(pools)
        .map(|(s, pool)| pool_json(s, pool))
        .collect();
    Ok(json!({
        "Driver": matches.text("ipam-driver"),
        "Options": from_pairs(matches.list("ipam-opt")),
        "Config": config,
    }))
}

/// Gives each address to the subnet that holds it.
fn pools<'a>(
    subnets: &[&str],
    ranges: Vec<&'a str>,
    gateways: Vec<&'a str>,
    matches: &Matches,
) -> Result<Vec<Pool<'a>>, String> {
    let mut pools: Vec<Pool<'_>> = subnets.iter().map(|_| Pool::default()).collect();
    for range in ranges {
        if parse_cidr(range).is_none() {
            return Err(format!("invalid CIDR address: {range}"));
        }
        let at = subnet_of(subnets, "range", range)?;
        if let Some(first) = pools[at].range.replace(range) {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {first}) on the same subnet ({})",
                subnets[at]
            ));
        }
    }
    for gateway in gateways {
        let at = subnet_of(subnets, "gateway", gateway)?;
        if let Some(first) = pools[at].gateway.replace(gateway) {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({})",
                subnets[at]
            ));
        }
    }
    for (name, address) in from_pairs(matches.list("aux-address")) {
        let at = subnet_of(subnets, "aux-address", address.as_str().unwrap_or_default())?;
        pools[at].auxiliary.insert(name, address);
    }
    Ok(pools)
}

fn check_overlap(subnets: &[&str]) -> Result<(), String> {
    for (at, subnet) in subnets.iter().enumerate() {
        for other in &subnets[..at] {
            if contains(subnet, other)? || contains(other, subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".to_owned());
            }
        }
    }
    Ok(())
}

fn pool_json(subnet: &str, pool: Pool<'_>) -> Value {
    let mut map = Map::new();
    put(&mut map, "Subnet", subnet);
    put(&mut map, "IPRange", pool.range.unwrap_or_default());
    put(&mut map, "Gateway", pool.gateway.unwrap_or_default());
    put(
        &mut map,
        "AuxiliaryAddresses",
        Value::Object(pool.auxiliary),
    );
    Value::Object(map)
}

/// The place of the subnet that holds an address or range.
fn subnet_of(subnets: &[&str], what: &str, data: &str) -> Result<usize, String> {
    for (at, subnet) in subnets.iter().enumerate() {
        if contains(subnet, data)? {
            return Ok(at);
        }
    }
    Err(format!("no matching subnet for {what} {data}"))
}

/// Whether `subnet` holds the address, or the address of the range, `data`.
fn contains(subnet: &str, data: &str) -> Result<bool, String> {
    let (network, prefix) = parse_cidr(subnet)
        .ok_or_else(|| format!("invalid subnet: invalid CIDR address: {subnet}"))?;
    let address = if data.contains('/') {
        Some(
            parse_cidr(data)
                .ok_or_else(|| format!("invalid CIDR address: {data}"))?
                .0,
        )
    } else {
        data.parse::<IpAddr>().ok()
    };
    Ok(match (network, address) {
        (IpAddr::V4(network), Some(IpAddr::V4(address))) => {
            let shift = 32 - prefix;
            network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
            let shift = 128 - prefix;
            network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn ask(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        request(&parse(&flags(), &words, true).unwrap())
    }

    #[test]
    fn the_plain_request_is_dockers() {
        assert_eq!(
            ask(&["-d", "overlay", "mynet"]).unwrap(),
            json!({"Driver": "overlay", "Scope": "", "IPAM": {"Driver": "default", "Options": {},
                "Config": []}, "Internal": false, "Attachable": false, "Ingress": false,
                "ConfigOnly": false, "ConfigFrom": null, "Options": {}, "Labels": {},
                "Name": "mynet"})
        );
    }

    #[test]
    fn addresses_find_their_subnet() {
        let request = ask(&[
            "--subnet",
            "10.1.0.0/16,10.2.0.0/16",
            "--gateway",
            "10.2.0.9",
            "--ip-range",
            "10.1.5.0/24",
            "--aux-address",
            "a=10.1.0.7",
            "--ipv6",
            "n",
        ])
        .unwrap();
        assert_eq!(
            request["IPAM"]["Config"],
            json!([
                {"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24",
                 "AuxiliaryAddresses": {"a": "10.1.0.7"}},
                {"Subnet": "10.2.0.0/16", "Gateway": "10.2.0.9"},
            ])
        );
        assert_eq!(request["EnableIPv6"], true);
        assert!(request.get("EnableIPv4").is_none());
    }

    #[test]
    fn bad_addresses_have_dockers_texts() {
        for (words, text) in [
            (
                vec!["--gateway", "10.0.0.1", "n"],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                vec!["--subnet", "10.0.0.0/8", "--subnet", "10.1.0.0/16", "n"],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                vec!["--subnet", "10.0.0,10.1.0.0/16", "n"],
                "invalid subnet: invalid CIDR address: 10.0.0",
            ),
            (
                vec!["--subnet", "10.0.0.0/8", "--gateway", "11.0.0.1", "n"],
                "no matching subnet for gateway 11.0.0.1",
            ),
        ] {
            assert_eq!(ask(&words).unwrap_err(), text);
        }
    }
}
