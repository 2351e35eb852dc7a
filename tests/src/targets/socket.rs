//! What the targets of the daemon's socket share: messages of any bytes with
//! descriptors, and scripts of them.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);
const SPACE: usize = rustix::cmsg_space!(ScmRights(16));

/// Where a socket of this process may be.
pub fn place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bpfvisor-fuzz-{name}-{}", std::process::id()))
}

pub fn patience(socket: &OwnedFd) -> Option<()> {
    let limit = Some(PATIENCE);
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, limit).ok()?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Send, limit).ok()
}

pub fn connected(path: &Path) -> Option<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()?;
    patience(&socket)?;
    connect(&socket, &SocketAddrUnix::new(path).ok()?).ok()?;
    Some(socket)
}

/// Whether it was taken.
pub fn say(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return false;
    }
    let io = [IoSlice::new(bytes)];
    sendmsg(socket, &io, &mut control, SendFlags::NOSIGNAL).is_ok()
}

/// The next message; `None` when the other side has hung up.
///
/// # Panics
/// If nothing comes in time: then the other side hangs.
pub fn hear(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut io = [IoSliceMut::new(buffer)];
    let got = recvmsg(socket, &mut io, &mut control, RecvFlags::CMSG_CLOEXEC);
    assert_ne!(
        got.as_ref().err(),
        Some(&rustix::io::Errno::AGAIN),
        "no answer"
    );
    let len = got.ok().filter(|got| got.bytes > 0)?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    Some((len, fds))
}

/// One step of a script: a byte that says what, and the bytes for it.
pub type Step<'a> = (u8, &'a [u8]);

/// Takes a script apart: kind, length of two bytes, bytes.
pub fn steps(script: &[u8]) -> Vec<Step<'_>> {
    let mut rest = script;
    let mut all = Vec::new();
    while let [kind, low, high, tail @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        all.push((*kind, &tail[..len]));
        rest = &tail[len..];
    }
    all
}

/// Adds a step to a script.
pub fn step(script: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    script.push(kind);
    script.extend((bytes.len() as u16).to_le_bytes());
    script.extend(bytes);
}

/// A number as it stands in messages: seven bits a byte, the lowest first.
pub fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// Reads one, and what is behind it.
pub fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|b| b & 0x80 == 0)?;
    let n = bytes[..=end].iter().rev();
    let n = n.fold(0u64, |n, b| n << 7 | u64::from(b & 0x7f));
    Some((n, &bytes[end + 1..]))
}
