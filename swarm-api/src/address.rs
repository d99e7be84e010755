//! Which addresses a manager listens on and advertises: Docker's rules for `--listen-addr`, `--advertise-addr` and
//! `--data-path-addr`, as functions of the request and the host's addresses.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::Refusal;

/// Port of the control plane when none is given.
pub const DEFAULT_CONTROL_PORT: u16 = 2377;

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// Splits `host[:port]`, `[v6]:port` and bare addresses.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((host, port)) => {
            let host = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host);
            Some((host, Some(port.parse().ok()?)))
        }
    }
}

/// The usable address of an interface; IPv4 first.
fn of_interface(name: &str, host: &[InterfaceAddress]) -> Option<IpAddr> {
    let mut of_name = host
        .iter()
        .filter(|address| address.interface == name)
        .map(|address| address.address);
    let first = of_name.clone().next()?;
    Some(of_name.find(IpAddr::is_ipv4).unwrap_or(first))
}

/// Where the manager listens.
pub fn listen_address(text: &str, host: &[InterfaceAddress]) -> Result<SocketAddr, Refusal> {
    if text.is_empty() {
        return Ok(SocketAddr::from((
            Ipv4Addr::UNSPECIFIED,
            DEFAULT_CONTROL_PORT,
        )));
    }
    let (name, port) = split(text).ok_or(Refusal::ListenAddress)?;
    let port = port.unwrap_or(DEFAULT_CONTROL_PORT);
    let address = name
        .parse()
        .ok()
        .or_else(|| of_interface(name, host))
        .ok_or(Refusal::ListenAddress)?;
    Ok(SocketAddr::new(address, port))
}

/// Where others reach the manager: what was asked for, else the address it listens on, else the host's only address.
pub fn advertise_address(
    text: &str,
    listen: SocketAddr,
    host: &[InterfaceAddress],
) -> Result<SocketAddr, Refusal> {
    if text.is_empty() {
        if !listen.ip().is_unspecified() {
            return Ok(listen);
        }
        return Ok(SocketAddr::new(only_address(host)?, listen.port()));
    }
    let (name, port) = split(text).ok_or(Refusal::AdvertiseAddress)?;
    let address: IpAddr = name
        .parse()
        .ok()
        .or_else(|| of_interface(name, host))
        .ok_or(Refusal::AdvertiseAddress)?;
    if address.is_unspecified() {
        return Err(Refusal::AdvertiseAddress);
    }
    Ok(SocketAddr::new(
        address,
        port.unwrap_or_else(|| listen.port()),
    ))
}

/// Address of the data path, if one was asked for.
pub fn data_path_address(text: &str, host: &[InterfaceAddress]) -> Result<Option<IpAddr>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text
        .parse()
        .ok()
        .or_else(|| of_interface(text, host))
        .ok_or(Refusal::DataPathAddress)?;
    if address.is_unspecified() {
        return Err(Refusal::DataPathAddress);
    }
    Ok(Some(address))
}

/// The host's address if there is no choice; loopback and link-local addresses do not count.
fn only_address(host: &[InterfaceAddress]) -> Result<IpAddr, Refusal> {
    let usable = |address: &&InterfaceAddress| match address.address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(_) => false,
    };
    let mut candidates = host.iter().filter(usable);
    let first = candidates.next().ok_or(Refusal::NoAddress)?;
    match candidates.next() {
        None => Ok(first.address),
        Some(second) if second.interface == first.interface => Err(Refusal::SeveralAddresses {
            where_: format!("on interface {}", first.interface),
            one: first.address.to_string(),
            other: second.address.to_string(),
        }),
        Some(second) => Err(Refusal::SeveralAddresses {
            where_: String::from("on different interfaces"),
            one: format!("{} on {}", first.address, first.interface),
            other: format!("{} on {}", second.address, second.interface),
        }),
    }
}

/// A manager to ask, with the port filled in.
pub fn remote_address(text: &str) -> Result<String, Refusal> {
    match split(text) {
        Some((host, None)) if host.contains(':') => Ok(format!("[{host}]:{DEFAULT_CONTROL_PORT}")),
        Some((host, None)) => Ok(format!("{host}:{DEFAULT_CONTROL_PORT}")),
        Some((_, Some(_))) => Ok(text.to_owned()),
        None => Err(Refusal::RemotePort {
            port: text.rsplit(':').next().unwrap_or_default().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addresses: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        let entry = |(interface, address): &(&str, &str)| InterfaceAddress {
            interface: (*interface).to_owned(),
            address: address.parse().unwrap(),
        };
        addresses.iter().map(entry).collect()
    }

    #[test]
    fn advertised_addresses() {
        let any: SocketAddr = "0.0.0.0:2377".parse().unwrap();
        let fixed: SocketAddr = "10.0.0.9:2400".parse().unwrap();
        let one = host(&[("lo", "127.0.0.1"), ("eth0", "10.0.0.5")]);
        let two = host(&[("eth0", "10.0.0.5"), ("eth1", "10.1.0.5")]);
        let same = host(&[("eth0", "10.0.0.5"), ("eth0", "10.0.0.6")]);
        let bad = "advertise address must be a non-zero IP address or network interface (with optional port number)";
        for (text, listen, host, expected) in [
            ("", any, &one, Ok("10.0.0.5:2377")),
            ("", fixed, &two, Ok("10.0.0.9:2400")),
            ("10.99.0.12", any, &two, Ok("10.99.0.12:2377")),
            ("10.99.0.12:5", any, &two, Ok("10.99.0.12:5")),
            ("eth1", any, &two, Ok("10.1.0.5:2377")),
            ("eth1:7", any, &two, Ok("10.1.0.5:7")),
            ("0.0.0.0", any, &two, Err(bad)),
            ("eth9", any, &two, Err(bad)),
            ("eth1:x", any, &two, Err(bad)),
            (
                "",
                any,
                &host_none(),
                Err("could not find the system's IP address"),
            ),
            (
                "",
                any,
                &two,
                Err(
                    "could not choose an IP address to advertise since this system has multiple addresses on different interfaces (10.0.0.5 on eth0 and 10.1.0.5 on eth1)",
                ),
            ),
            (
                "",
                any,
                &same,
                Err(
                    "could not choose an IP address to advertise since this system has multiple addresses on interface eth0 (10.0.0.5 and 10.0.0.6)",
                ),
            ),
        ] {
            let found = advertise_address(text, listen, host)
                .map(|address| address.to_string())
                .map_err(|refusal| refusal.to_string());
            assert_eq!(
                found,
                expected.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
    }

    fn host_none() -> Vec<InterfaceAddress> {
        host(&[("lo", "127.0.0.1")])
    }

    #[test]
    fn remotes_get_the_default_port() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:5", "10.0.0.1:5"),
            ("manager.example", "manager.example:2377"),
            ("fd00::1", "[fd00::1]:2377"),
            ("[fd00::1]:9", "[fd00::1]:9"),
        ] {
            assert_eq!(remote_address(text), Ok(expected.to_owned()));
        }
        for (text, refusal) in [
            ("foo:99999", "address 99999: invalid port"),
            ("10.0.0.1:x", "lookup udp/x: unknown port"),
        ] {
            assert_eq!(
                remote_address(text).unwrap_err().to_string(),
                format!("could not find local IP address: dial udp: {refusal}")
            );
        }
    }
}
