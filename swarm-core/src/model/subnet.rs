//! Arithmetic on IPv4 subnets.

use core::{fmt, net::Ipv4Addr, str::FromStr};

use super::Subnet;

/// Why a text is not a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an IPv4 subnet in the form a.b.c.d/n")]
pub struct InvalidSubnet;

impl Subnet {
    /// The netmask as a number.
    pub fn mask(self) -> u32 {
        u32::MAX
            .checked_shl(u32::from(32u8.saturating_sub(self.prefix_len)))
            .unwrap_or(0)
    }

    /// Whether the prefix is possible and the host bits are zero.
    pub fn is_valid(self) -> bool {
        self.prefix_len <= 32 && u32::from(self.address) & !self.mask() == 0
    }

    /// Whether the address is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.address) & self.mask()
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The host part that stands for all ones, the broadcast address.
    pub fn last_host(self) -> u32 {
        !self.mask()
    }

    /// The address with this host part.
    pub fn host(self, host: u32) -> Ipv4Addr {
        Ipv4Addr::from((u32::from(self.address) & self.mask()) | (host & !self.mask()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    /// Accepts `a.b.c.d/n` with any host bits, which are cleared.
    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let (address, prefix) = text.split_once('/').ok_or(InvalidSubnet)?;
        let address: Ipv4Addr = address.parse().map_err(|_error| InvalidSubnet)?;
        let prefix_len: u8 = prefix.parse().map_err(|_error| InvalidSubnet)?;
        if prefix_len > 32 {
            return Err(InvalidSubnet);
        }
        let whole = Self {
            address,
            prefix_len,
        };
        Ok(Self {
            address: whole.host(0),
            prefix_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_clears_host_bits_and_printing_gives_it_back() {
        let subnet: Subnet = "10.0.3.7/24".parse().unwrap();
        assert_eq!(alloc::format!("{subnet}"), "10.0.3.0/24");
        assert!(subnet.is_valid());
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn containment_and_overlap() {
        let wide: Subnet = "10.0.0.0/8".parse().unwrap();
        let narrow: Subnet = "10.1.2.0/24".parse().unwrap();
        let other: Subnet = "10.1.3.0/24".parse().unwrap();
        let all: Subnet = "0.0.0.0/0".parse().unwrap();
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide) && all.overlaps(other));
        assert!(!narrow.overlaps(other));
        assert!(narrow.contains(Ipv4Addr::new(10, 1, 2, 255)));
        assert_eq!(narrow.last_host(), 255);
        assert_eq!(narrow.host(258), Ipv4Addr::new(10, 1, 2, 2));
    }
}
