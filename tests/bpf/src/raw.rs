//! Frames past the kernel's protocols, in pieces.
//!
//! The stack and drivers deliver a packet's headers in one piece, so ordinary traffic never shows what a program does
//! otherwise. A packet socket with a virtio header (`PACKET_VNET_HDR`) says how many bytes come in the first piece; the rest
//! of a frame longer than a page goes into pages of its own (`packet_alloc_skb`, net/packet/af_packet.c).

use std::fs::File;
use std::io::{Error, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::netns::Netns;

/// `struct virtio_net_hdr` (linux/virtio_net.h) without offloads.
const VIRTIO_HEADER: usize = 10;
/// Offset of its `hdr_len`, little-endian on the machines we build for.
const HEADER_LENGTH_AT: usize = 2;
/// A shorter frame is always in one piece.
const PAGE: usize = 4096;

/// Sends an Ethernet frame out of an interface, its first `first_piece` bytes in one piece.
pub fn send_in_pieces(
    netns: &Netns,
    interface: &str,
    frame: &[u8],
    first_piece: u16,
) -> Result<()> {
    ensure!(
        frame.len() > PAGE,
        "a frame of {} bytes stays whole",
        frame.len()
    );
    let mut message = vec![0; VIRTIO_HEADER];
    message[HEADER_LENGTH_AT..HEADER_LENGTH_AT + 2].copy_from_slice(&first_piece.to_ne_bytes());
    message.extend_from_slice(frame);
    let ifindex = netns.ifindex(interface)?;
    netns.run(move || {
        let mut socket = File::from(packet_socket(ifindex)?);
        let sent = socket.write(&message).context("sending a frame")?;
        ensure!(
            sent == message.len(),
            "{sent} of {} bytes sent",
            message.len()
        );
        Ok(())
    })
}

#[expect(unsafe_code, reason = "no crate here wraps this kind of socket")]
fn packet_socket(ifindex: u32) -> Result<OwnedFd> {
    // SAFETY: no pointers involved.
    let code = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    Errno::result(code).context("a packet socket")?;
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(code) };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open; `on` is readable for the length given.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_VNET_HDR,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of_val(&on))?,
        )
    };
    Errno::result(code).context("PACKET_VNET_HDR")?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(ifindex)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the descriptor is open; `address` is readable for the length given.
    let code = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            libc::socklen_t::try_from(size_of_val(&address))?,
        )
    };
    ensure!(
        code == 0,
        "binding a packet socket: {}",
        Error::last_os_error()
    );
    Ok(socket)
}
