//! ARP for IPv4 over Ethernet (RFC 826).

/// Length of the header.
pub const LEN: usize = 28;
/// Operation "request", network byte order.
pub const REQUEST_BE: u16 = 1_u16.to_be();
/// Operation "reply", network byte order.
pub const REPLY_BE: u16 = 2_u16.to_be();

/// The message.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArpHdr {
    /// Hardware type, 1.
    pub hardware_be: u16,
    /// Protocol type, 0x0800.
    pub protocol_be: u16,
    /// 6.
    pub hardware_len: u8,
    /// 4.
    pub protocol_len: u8,
    /// Request or reply.
    pub operation_be: u16,
    /// Sender's hardware address.
    pub sender_mac: [u8; 6],
    /// Sender's address.
    pub sender: [u8; 4],
    /// Target's hardware address.
    pub target_mac: [u8; 6],
    /// Target's address.
    pub target: [u8; 4],
}

const _: () = assert!(size_of::<ArpHdr>() == LEN);

impl ArpHdr {
    /// Whether this asks for an IPv4 address over Ethernet.
    #[inline(always)]
    pub const fn is_ipv4_request(&self) -> bool {
        self.hardware_be == 1_u16.to_be()
            && self.protocol_be == super::eth::IPV4_BE
            && self.hardware_len == 6
            && self.protocol_len == 4
            && self.operation_be == REQUEST_BE
    }

    /// The answer to this request: the target is at `mac`.
    #[inline(always)]
    pub const fn reply(&self, mac: [u8; 6]) -> Self {
        Self {
            operation_be: REPLY_BE,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
            ..*self
        }
    }
}
