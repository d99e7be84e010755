//! The cookie of the current network namespace.

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc;

/// `SO_NETNS_COOKIE` (Linux 5.14).
#[expect(unsafe_code, reason = "no crate here wraps this socket option")]
pub fn current() -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>())?;
    // SAFETY: the descriptor is open; `cookie` is writable for `length` bytes.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(code)?;
    Ok(cookie)
}
