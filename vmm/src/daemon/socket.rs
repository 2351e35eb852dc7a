//! Whole messages and descriptors over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::LONGEST;

/// Descriptors beside one message: the memory, and two bells for each vCPU.
const FDS: usize = 1 + 2 * bpfvisor_abi::layout::MAX_VCPUS as usize;
const SPACE: usize = rustix::cmsg_space!(ScmRights(FDS));

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// What is wrong with what came, or the kernel's word.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("the connection is closed")]
    Closed,
    #[error("{0}")]
    Os(#[from] io::Error),
    #[error("a message that is none: {0}")]
    Garbage(&'static str),
}

impl From<rustix::io::Errno> for SocketError {
    fn from(e: rustix::io::Errno) -> Self {
        match e {
            rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET => Self::Closed,
            e => Self::Os(e.into()),
        }
    }
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// How long a receiver waits, and how long a sender for room.
    pub(crate) fn set_patience(&self, receive: Option<Duration>, send: Duration) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, receive)?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, Some(send))?)
    }

    /// Sends one message, or nothing of it.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let bytes = postcard::to_stdvec(message)
            .map_err(|_| SocketError::Garbage("it can't be encoded"))?;
        if bytes.len() > LONGEST {
            return Err(SocketError::Garbage("it is too long"));
        }
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(SocketError::Garbage("too many descriptors"));
        }
        // A stream of whole messages: there is no half of one.
        let parts = [IoSlice::new(&bytes)];
        loop {
            match sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => break Ok(sent.map(drop)?),
            }
        }
    }

    /// Receives one message with its descriptors, of which `fds` at most may come.
    pub(crate) fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Vec<u8>,
        fds: usize,
    ) -> Result<(T, Vec<OwnedFd>), SocketError> {
        buffer.resize(LONGEST, 0);
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let into = &mut [IoSliceMut::new(buffer)];
            match recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                got => break got?,
            }
        };
        let mut given = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                given.extend(some);
            }
        }
        if got.bytes == 0 {
            return Err(SocketError::Closed);
        }
        if got
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(SocketError::Garbage("it is too long"));
        }
        if given.len() > fds {
            return Err(SocketError::Garbage("it brings descriptors unasked"));
        }
        let bytes = buffer.get(..got.bytes).unwrap_or_default();
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok((message, given)),
            Ok(_) => Err(SocketError::Garbage("there is something behind its end")),
            Err(_) => Err(SocketError::Garbage("it can't be decoded")),
        }
    }

    /// Ends the connection for both sides.
    pub(crate) fn close(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
