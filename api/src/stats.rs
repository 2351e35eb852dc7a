//! Whether runs are counted: as long as somebody holds a descriptor that
//! `BPF_ENABLE_STATS` gave.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Spares everybody else the lock.
    ever: AtomicBool,
    /// The ends whose peers were given out.
    holders: Mutex<Vec<UnixStream>>,
}

impl Stats {
    /// A descriptor that keeps statistics on until its last copy is closed.
    pub fn enable(&self) -> std::io::Result<OwnedFd> {
        let (given, kept) = UnixStream::pair()?;
        kept.set_nonblocking(true)?;
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.push(kept);
        self.ever.store(true, Relaxed);
        Ok(given.into())
    }

    /// Whether runs are counted now.
    pub fn enabled(&self) -> bool {
        if !self.ever.load(Relaxed) {
            return false;
        }
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing readable: there. End of file: gone.
        holders.retain_mut(|kept| !matches!(kept.read(&mut [0]), Ok(0)));
        self.ever.store(!holders.is_empty(), Relaxed);
        !holders.is_empty()
    }
}
