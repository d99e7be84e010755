//! The one address type of every map key: 16 bytes, IPv4 as IPv4-mapped IPv6.
//!
//! It only stores and converts; whether an address is local, an endpoint or outside is decided by
//! map lookups.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`, in network byte order.
///
/// Words, so that programs store, copy and compare it without calling `memcpy` and friends; all
/// zero means "none".
#[repr(C)]
#[derive(Clone, Copy, Eq, PartialOrd, Ord, Default)]
pub struct Addr {
    /// The address as it lies in a packet: network byte order in native integers.
    pub words_be: [u32; 4],
}

// Not derived: that calls `bcmp`.
impl PartialEq for Addr {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let [a0, a1, a2, a3] = self.words_be;
        let [b0, b1, b2, b3] = other.words_be;
        (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2) | (a3 ^ b3) == 0
    }
}

impl Hash for Addr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.words_be.hash(state);
    }
}

impl Addr {
    /// No address: a local endpoint's node, an absent gateway.
    pub const NONE: Self = Self { words_be: [0; 4] };

    /// The IPv4-mapped form of `a.b.c.d`.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::from_be32(u32::from_ne_bytes(octets))
    }

    /// The IPv4-mapped form of an address as it lies in a packet: `be` is its four bytes read as
    /// a native integer (network byte order).
    #[inline(always)]
    pub const fn from_be32(be: u32) -> Self {
        Self {
            words_be: [0, 0, 0xffff_u32.to_be(), be],
        }
    }

    /// The last four bytes as they lie in a packet (network byte order in a native integer).
    #[inline(always)]
    pub const fn to_be32(self) -> u32 {
        self.words_be[3]
    }

    /// The last four bytes, the IPv4 address of a mapped one.
    #[inline(always)]
    pub const fn v4_octets(self) -> [u8; 4] {
        self.to_be32().to_ne_bytes()
    }

    /// All bytes in network byte order.
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] = self.words_be;
        let (a, b, c, d) = (
            u32::from_be(a),
            u32::from_be(b),
            u32::from_be(c),
            u32::from_be(d),
        );
        ((a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128).to_be_bytes()
    }

    /// From all bytes in network byte order.
    #[expect(clippy::many_single_char_names, reason = "sixteen bytes in order")]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            words_be: [
                u32::from_ne_bytes([a, b, c, d]),
                u32::from_ne_bytes([e, f, g, h]),
                u32::from_ne_bytes([i, j, k, l]),
                u32::from_ne_bytes([m, n, o, p]),
            ],
        }
    }

    /// Whether this is [`Addr::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        let [a, b, c, d] = self.words_be;
        a | b | c | d == 0
    }

    /// The IPv4 address, when this is an IPv4-mapped one.
    pub const fn to_ipv4(self) -> Option<Ipv4Addr> {
        Ipv6Addr::from_octets(self.octets()).to_ipv4_mapped()
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(value: Ipv4Addr) -> Self {
        Self::v4(value.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(value: Ipv6Addr) -> Self {
        Self::from_octets(value.octets())
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
        Ipv6Addr::from_octets(value.octets()).to_canonical()
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
    fn ipv6_survives() {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
        assert_eq!(Addr::from(v6).octets(), v6.octets());
        assert_eq!(IpAddr::from(Addr::from(v6)), IpAddr::V6(v6));
    }

    #[test]
    fn none_is_no_ipv4_address() {
        assert!(Addr::NONE.is_none());
        assert_eq!(Addr::NONE.to_ipv4(), None);
        assert!(!Addr::v4([0; 4]).is_none());
    }
}
