//! The one address type of every map key: 16 bytes, IPv4 as IPv4-mapped IPv6.
//!
//! It only stores and converts; whether an address is local, an endpoint or outside is decided by
//! map lookups.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`, in network byte order.
///
/// Aligned to 4 so that programs compare and copy it in words; all zero means "none".
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr {
    /// The address in network byte order.
    pub octets: [u8; 16],
}

impl Addr {
    /// No address: a local endpoint's node, an absent gateway.
    pub const NONE: Self = Self { octets: [0; 16] };

    /// The IPv4-mapped form of `a.b.c.d`.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self {
            octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
        }
    }

    /// The IPv4-mapped form of an address as it lies in a packet: `be` is its four bytes read as
    /// a native integer (network byte order).
    #[inline(always)]
    pub const fn from_be32(be: u32) -> Self {
        Self::v4(be.to_ne_bytes())
    }

    /// The last four bytes as they lie in a packet (network byte order in a native integer).
    #[inline(always)]
    pub const fn to_be32(self) -> u32 {
        u32::from_ne_bytes(self.v4_octets())
    }

    /// The last four bytes, the IPv4 address of a mapped one.
    #[inline(always)]
    pub const fn v4_octets(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.octets;
        [a, b, c, d]
    }

    /// Whether this is [`Addr::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        u128::from_ne_bytes(self.octets) == 0
    }

    /// The IPv4 address, when this is an IPv4-mapped one.
    pub const fn to_ipv4(self) -> Option<Ipv4Addr> {
        Ipv6Addr::from_octets(self.octets).to_ipv4_mapped()
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(value: Ipv4Addr) -> Self {
        Self::v4(value.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(value: Ipv6Addr) -> Self {
        Self {
            octets: value.octets(),
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(value: IpAddr) -> Self {
        match value {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(value: Addr) -> Self {
        Ipv6Addr::from_octets(value.octets).to_canonical()
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_survives_every_conversion() {
        let v4 = Ipv4Addr::new(10, 0, 1, 2);
        let addr = Addr::from(v4);
        assert_eq!(addr, Addr::from_be32(addr.to_be32()));
        assert_eq!(addr.to_ipv4(), Some(v4));
        assert_eq!(IpAddr::from(addr), IpAddr::V4(v4));
        assert_eq!(addr.v4_octets(), v4.octets());
        assert!(!addr.is_none());
    }

    #[test]
    fn none_is_no_ipv4_address() {
        assert!(Addr::NONE.is_none());
        assert_eq!(Addr::NONE.to_ipv4(), None);
        assert!(!Addr::v4([0; 4]).is_none());
    }
}
