//! The socket that a daemon listens on: its own, or one that was handed down.

use std::fs::Permissions;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as start,
    socket_with, sockopt,
};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 64;

fn socket() -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Listens at `path`, in place of a daemon that is gone; `mode` is who may open
/// the socket at all.
///
/// # Errors
/// EADDRINUSE where a daemon listens already, or something that is no socket is
/// there.
pub fn listen(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let listener = socket()?;
    match bind(&listener, &address) {
        Err(rustix::io::Errno::ADDRINUSE) if abandoned(path, &address) => {
            std::fs::remove_file(path)?;
            bind(&listener, &address)?;
        }
        result => result?,
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    start(&listener, BACKLOG)?;
    Ok(listener)
}

/// Whether a socket is there that nobody listens on.
fn abandoned(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |fd| connect(&fd, address) == Err(rustix::io::Errno::CONNREFUSED);
    is_socket && socket().is_ok_and(refused)
}

/// The listening socket that whoever started this process left open as `fd`.
///
/// # Errors
/// EBADF where there is none, EINVAL where it is another kind of descriptor.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = crate::stat::duplicate(fd)?;
    let kind = sockopt::socket_type(&socket)?;
    if kind != SocketType::SEQPACKET || !sockopt::socket_acceptconn(&socket)? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(socket)
}
