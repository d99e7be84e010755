//! The only packet access: every read and write checks that it stays inside.
//!
//! Headers are read and written directly, a header at a time and at constant offsets, which the verifier
//! always follows. Each program first brings the headers into one piece ([`Packet::make_linear`]).

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L2_ETH, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR,
    bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
};
use aya_ebpf::helpers::{
    bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer,
    bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_pull_data,
};
use core::ptr;
use swarm_common::hdr::{
    ArpHdr, ENCAP_LEN, EthHdr, IcmpHdr, Ipv4Hdr, OuterHdr, TcpHdr, UdpHdr, VxlanHdr, eth,
};
use swarm_common::verdict::DropReason;

/// Values that may be copied out of and into a packet: no padding, every bit pattern valid.
///
/// # Safety
/// Only for `repr(C)` types of integers and byte arrays without padding, with an alignment of at most 2.
pub unsafe trait Wire: Copy {}

macro_rules! wire {
    ($($name:ty),*) => {$(
        // SAFETY: repr(C), integers and byte arrays, alignment 2 and an even size: no padding.
        unsafe impl Wire for $name {}
    )*};
}
wire!(
    ArpHdr, EthHdr, IcmpHdr, Ipv4Hdr, OuterHdr, TcpHdr, UdpHdr, VxlanHdr, [u8; 4], u16, u8
);

/// Address family of IPv4 (`AF_INET`, linux/socket.h).
const AF_INET: u32 = 2;
/// Packet for this host (`PACKET_HOST`, linux/if_packet.h).
const PACKET_HOST: u32 = 0;

/// A packet at a traffic control hook, its data starting with Ethernet.
#[derive(Clone, Copy)]
pub struct Packet {
    skb: *mut __sk_buff,
}

impl Packet {
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// Length with the Ethernet header, of the whole segmentation-offloaded packet.
    #[inline(always)]
    pub fn len(self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.skb).len }
    }

    /// Interface the program runs on.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.skb).ifindex }
    }

    /// Payload bytes per segment; 0 unless the packet is segmentation-offloaded.
    #[inline(always)]
    pub fn gso_size(self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.skb).gso_size }
    }

    /// Addresses of the first and of the byte after the last byte in one piece.
    #[inline(always)]
    fn first_piece(self) -> (usize, usize) {
        // SAFETY: the kernel passes a valid context.
        let start = unsafe { (*self.skb).data };
        // SAFETY: as above.
        let end = unsafe { (*self.skb).data_end };
        (start as usize, end as usize)
    }

    /// Brings the first `bytes` of the packet (fewer, if it is shorter) into one piece, as [`Self::load`] and
    /// [`Self::store`] need them. Drivers and the stack deliver headers in one piece, so this rarely does
    /// anything.
    #[inline(always)]
    pub fn make_linear(self, bytes: usize) {
        let (start, end) = self.first_piece();
        if start + bytes <= end {
            return;
        }
        let wanted = self.len().min(bytes as u32);
        // Without memory the bytes stay where they are, and reading them says "truncated".
        // SAFETY: valid context.
        let _no_memory = unsafe { bpf_skb_pull_data(self.skb, wanted) };
    }

    /// Reads from the first piece: a tenth of what a helper call costs. Nothing is there: truncated.
    #[inline(always)]
    pub fn load<T: Wire>(self, offset: usize) -> Result<T, DropReason> {
        const { assert!(align_of::<T>() <= 2) }
        let (start, end) = self.first_piece();
        let at = start + offset;
        if at + size_of::<T>() > end {
            return Err(DropReason::Truncated);
        }
        // SAFETY: inside the packet, as the verifier proves again; headers start at even addresses, and
        // `Wire` accepts any content.
        Ok(unsafe { ptr::read(at as *const T) })
    }

    /// Writes into the first piece. The kernel has made a shared packet's headers writable before a
    /// program that writes like this. Says nothing to the checksum over the whole frame that some
    /// drivers give: what is written here is replaced whole, or balanced by its own checksum.
    #[inline(always)]
    pub fn store<T: Wire>(self, offset: usize, value: &T) -> Result<(), DropReason> {
        const { assert!(align_of::<T>() <= 2) }
        let (start, end) = self.first_piece();
        let at = start + offset;
        if at + size_of::<T>() > end {
            return Err(DropReason::Rewrite);
        }
        // SAFETY: inside the packet, as the verifier proves again; headers start at even addresses, and
        // `Wire` has no padding.
        unsafe { ptr::write(at as *mut T, *value) };
        Ok(())
    }

    /// Updates the IPv4 header checksum at `offset` for a change of `size` bytes.
    #[inline(always)]
    pub fn replace_l3(
        self,
        offset: usize,
        from: u32,
        to: u32,
        size: u64,
    ) -> Result<(), DropReason> {
        // SAFETY: valid context; the helper checks the offset.
        ok(unsafe {
            bpf_l3_csum_replace(self.skb.cast(), offset as u32, from.into(), to.into(), size)
        })
    }

    /// Updates a transport checksum at `offset` for a change of `size` bytes; `pseudo` when what
    /// changes is part of the pseudo header, `optional` when 0 means "no checksum" (UDP).
    #[inline(always)]
    pub fn replace_l4(
        self,
        offset: usize,
        from: u32,
        to: u32,
        flags: CsumChange,
    ) -> Result<(), DropReason> {
        // SAFETY: valid context; the helper checks the offset.
        ok(unsafe {
            bpf_l4_csum_replace(
                self.skb.cast(),
                offset as u32,
                from.into(),
                to.into(),
                flags.0,
            )
        })
    }

    /// Makes room for everything between the outer Ethernet and the inner IP header.
    #[inline(always)]
    pub fn grow_for_encapsulation(self) -> Result<(), DropReason> {
        // The inner Ethernet header alone counts as ENCAP_L2: with the VXLAN header in it the kernel
        // mis-places the inner headers and drops every large packet in validate_xmit_skb.
        const FLAGS: u64 = BPF_F_ADJ_ROOM_FIXED_GSO as u64
            | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 as u64
            | BPF_F_ADJ_ROOM_ENCAP_L4_UDP as u64
            | BPF_F_ADJ_ROOM_ENCAP_L2_ETH as u64
            | ((eth::LEN as u64) << 56);
        // SAFETY: valid context.
        ok(unsafe { bpf_skb_adjust_room(self.skb, ENCAP_LEN as i32, BPF_ADJ_ROOM_MAC, FLAGS) })
    }

    /// Takes away everything between the outer Ethernet and the inner IP header.
    #[inline(always)]
    pub fn shrink_after_decapsulation(self) -> Result<(), DropReason> {
        // Without FIXED_GSO the kernel would raise the segment size by what is taken away.
        const FLAGS: u64 = BPF_F_ADJ_ROOM_FIXED_GSO as u64;
        // SAFETY: valid context.
        ok(unsafe { bpf_skb_adjust_room(self.skb, -(ENCAP_LEN as i32), BPF_ADJ_ROOM_MAC, FLAGS) })
    }

    /// Sets the length.
    #[inline(always)]
    pub fn resize(self, len: u32) -> Result<(), DropReason> {
        // SAFETY: valid context.
        ok(unsafe { bpf_skb_change_tail(self.skb, len, 0) })
    }

    /// Marks the packet as meant for the receiving host: the receiver of a redirected packet
    /// would otherwise drop what was addressed to another hardware address.
    #[inline(always)]
    pub fn mark_for_host(self) -> Result<(), DropReason> {
        // SAFETY: valid context.
        if unsafe { (*self.skb).pkt_type } == PACKET_HOST {
            return Ok(());
        }
        // SAFETY: valid context.
        ok(unsafe { bpf_skb_change_type(self.skb, PACKET_HOST) })
    }

    /// Sends out of an interface of this namespace as it is.
    #[inline(always)]
    pub fn redirect(ifindex: u32) {
        // SAFETY: no pointers involved. The result is the action, a constant for valid flags.
        unsafe { bpf_redirect(ifindex, 0) };
    }

    /// Delivers into the namespace of the veth's other end.
    #[inline(always)]
    pub fn redirect_peer(ifindex: u32) {
        // SAFETY: no pointers involved.
        unsafe { bpf_redirect_peer(ifindex, 0) };
    }

    /// Sends out of an interface to a neighbour there: only its hardware address is looked up, no route.
    #[inline(always)]
    pub fn redirect_to_neighbour(ifindex: u32, neighbour_be: u32) {
        let mut next_hop = bpf_redir_neigh {
            nh_family: AF_INET,
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
                ipv6_nh: [neighbour_be, 0, 0, 0],
            },
        };
        let size = size_of::<bpf_redir_neigh>() as i32;
        // SAFETY: `next_hop` is initialised and as long as said.
        unsafe { bpf_redirect_neigh(ifindex, &raw mut next_hop, size, 0) };
    }

    /// Sends out of an interface, hardware addresses filled in from the neighbour table.
    #[inline(always)]
    pub fn redirect_neigh(ifindex: u32) {
        // SAFETY: no parameters: the kernel looks up the next hop of the packet's destination.
        unsafe { bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) };
    }
}

/// How a change of packet content affects a transport checksum.
#[derive(Clone, Copy)]
pub struct CsumChange(u64);

impl CsumChange {
    /// An address in a protocol with a pseudo header.
    #[inline(always)]
    pub fn address(optional: bool) -> Self {
        Self(4 | u64::from(BPF_F_PSEUDO_HDR) | Self::optional(optional))
    }

    /// Two bytes of the transport header itself.
    #[inline(always)]
    pub fn word(optional: bool) -> Self {
        Self(2 | Self::optional(optional))
    }

    #[inline(always)]
    fn optional(optional: bool) -> u64 {
        if optional {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        }
    }
}

#[inline(always)]
fn ok(code: i64) -> Result<(), DropReason> {
    if code == 0 {
        Ok(())
    } else {
        Err(DropReason::Rewrite)
    }
}
