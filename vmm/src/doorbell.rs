//! An event counter that one side rings and the other sleeps on.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// An eventfd: rings are remembered until somebody waits.
#[derive(Debug)]
pub(crate) struct Doorbell(EventFd);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        EventFd::new(EFD_NONBLOCK | libc::EFD_CLOEXEC).map(Self)
    }

    /// One that another process made.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is ours alone, and open.
        Self(unsafe { EventFd::from_raw_fd(fd.into_raw_fd()) })
    }

    /// Wakes the sleeper, now or when it next waits. The one way it can fail,
    /// a counter that is full, means that a ring is already pending.
    pub(crate) fn ring(&self) {
        let _ = self.0.write(1);
    }

    /// Takes all pending rings.
    pub(crate) fn clear(&self) {
        let _ = self.0.read();
    }

    /// Sleeps until rung, for `limit` at most, or until a signal arrives.
    /// Takes all pending rings; false if there were none.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `poll` is one valid entry and `limit` is null or points to a
        // timespec, both alive during the call.
        unsafe { libc::ppoll(&mut poll, 1, limit, std::ptr::null()) };
        self.0.read().is_ok()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the eventfd is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
