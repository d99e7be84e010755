//! Messages to core types and back, one object per file, both directions beside each other. What core cannot represent is
//! refused with the name of the field; nothing is silently replaced by a default.

mod cluster;
mod dispatch;
mod network;
mod node;
mod scalar;
mod service;
mod task;

pub use scalar::{ip_from_wire, ip_to_wire};

/// Why a message is not a value of core's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A message or choice that must be there is not.
    #[error("field {field} is missing")]
    Missing {
        /// Field, as the `.proto` file names it.
        field: &'static str,
    },
    /// An enum value that is not set or not known here.
    #[error("{value} is not a known {name}")]
    UnknownEnum {
        /// Enum, as core names it.
        name: &'static str,
        /// The number on the wire.
        value: i32,
    },
    /// A number that is too large for its meaning.
    #[error("{value} is out of range for {field}")]
    OutOfRange {
        /// Field, as the `.proto` file names it.
        field: &'static str,
        /// The number on the wire.
        value: u64,
    },
    /// Not 4 or 16 bytes.
    #[error("an address of {len} bytes is not an IP address")]
    Address {
        /// Number of bytes on the wire.
        len: usize,
    },
    /// Not `address:port`.
    #[error("{text:?} is not an address with a port")]
    SocketAddress {
        /// The text on the wire.
        text: String,
    },
    /// Not an identifier.
    #[error(transparent)]
    Id(#[from] swarm_core::id::InvalidId),
}

/// A core type that has a form on the wire.
pub trait Wire: Sized {
    /// The form on the wire.
    type Message;

    /// To the wire.
    fn to_wire(&self) -> Self::Message;

    /// From the wire.
    fn from_wire(message: Self::Message) -> Result<Self, ConvertError>;
}

/// A list to the wire.
pub(crate) fn list<T: Wire>(items: &[T]) -> Vec<T::Message> {
    items.iter().map(T::to_wire).collect()
}

/// A list from the wire.
pub(crate) fn from_list<T: Wire>(messages: Vec<T::Message>) -> Result<Vec<T>, ConvertError> {
    messages.into_iter().map(T::from_wire).collect()
}

/// An optional value to the wire.
pub(crate) fn some<T: Wire>(value: Option<&T>) -> Option<T::Message> {
    value.map(T::to_wire)
}

/// An optional value from the wire.
pub(crate) fn optional<T: Wire>(message: Option<T::Message>) -> Result<Option<T>, ConvertError> {
    message.map(T::from_wire).transpose()
}

/// A value that must be there, from the wire.
pub fn required<T: Wire>(
    message: Option<T::Message>,
    field: &'static str,
) -> Result<T, ConvertError> {
    message
        .map(T::from_wire)
        .transpose()?
        .ok_or(ConvertError::Missing { field })
}

/// Both directions of an enum without data, by equal variant names.
macro_rules! wire_enum {
    ($core:ident = $wire:ident { $($variant:ident),+ $(,)? }) => {
        impl Wire for $core {
            type Message = i32;

            fn to_wire(&self) -> i32 {
                match self {
                    $(Self::$variant => wire::$wire::$variant.into(),)+
                }
            }

            fn from_wire(value: i32) -> Result<Self, ConvertError> {
                match wire::$wire::try_from(value) {
                    $(Ok(wire::$wire::$variant) => Ok(Self::$variant),)+
                    Ok(wire::$wire::Unspecified) | Err(_) => Err(ConvertError::UnknownEnum {
                        name: stringify!($core),
                        value,
                    }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;
