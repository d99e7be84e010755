//! Identifiers, moments, durations and addresses.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use swarm_core::{
    id::{ClusterId, NetworkId, NodeId, ServiceId, TaskId},
    model::Version,
    time::Timestamp,
};

use super::{ConvertError, Wire};

macro_rules! id_wire {
    ($($id:ident),+) => {$(
        impl Wire for $id {
            type Message = String;

            fn to_wire(&self) -> String {
                self.as_str().to_owned()
            }

            fn from_wire(text: String) -> Result<Self, ConvertError> {
                Ok(text.parse()?)
            }
        }
    )+};
}

id_wire!(ClusterId, NetworkId, NodeId, ServiceId, TaskId);

impl Wire for Version {
    type Message = u64;

    fn to_wire(&self) -> u64 {
        self.0
    }

    fn from_wire(value: u64) -> Result<Self, ConvertError> {
        Ok(Self(value))
    }
}

impl Wire for Timestamp {
    type Message = u64;

    fn to_wire(&self) -> u64 {
        self.0
    }

    fn from_wire(nanos: u64) -> Result<Self, ConvertError> {
        Ok(Self(nanos))
    }
}

/// Nanoseconds; more than 584 years travel as 584 years.
impl Wire for Duration {
    type Message = u64;

    fn to_wire(&self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }

    fn from_wire(nanos: u64) -> Result<Self, ConvertError> {
        Ok(Self::from_nanos(nanos))
    }
}

impl Wire for Ipv4Addr {
    type Message = Vec<u8>;

    fn to_wire(&self) -> Vec<u8> {
        self.octets().to_vec()
    }

    fn from_wire(bytes: Vec<u8>) -> Result<Self, ConvertError> {
        <[u8; 4]>::try_from(bytes.as_slice())
            .map(Self::from)
            .map_err(|_| ConvertError::Address { len: bytes.len() })
    }
}

impl Wire for IpAddr {
    type Message = Vec<u8>;

    fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::V4(addr) => addr.octets().to_vec(),
            Self::V6(addr) => addr.octets().to_vec(),
        }
    }

    fn from_wire(bytes: Vec<u8>) -> Result<Self, ConvertError> {
        if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
            return Ok(Self::from(four));
        }
        <[u8; 16]>::try_from(bytes.as_slice())
            .map(Self::from)
            .map_err(|_| ConvertError::Address { len: bytes.len() })
    }
}

impl Wire for SocketAddr {
    type Message = String;

    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(text: String) -> Result<Self, ConvertError> {
        text.parse()
            .map_err(|_| ConvertError::SocketAddress { text })
    }
}

/// An address that may be unknown: no bytes then.
pub fn ip_to_wire(addr: Option<IpAddr>) -> Vec<u8> {
    addr.map(|known| known.to_wire()).unwrap_or_default()
}

/// An address that may be unknown: no bytes then.
pub fn ip_from_wire(bytes: Vec<u8>) -> Result<Option<IpAddr>, ConvertError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    IpAddr::from_wire(bytes).map(Some)
}

/// A number that fits a smaller type.
pub(super) fn narrow<T: TryFrom<u32>>(value: u32, field: &'static str) -> Result<T, ConvertError> {
    T::try_from(value).map_err(|_| ConvertError::OutOfRange {
        field,
        value: value.into(),
    })
}
