//! The memory that addresses in attributes mean.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

/// An address that means no memory, or none that may be used so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at address {addr:#x} are not accessible")]
pub struct Fault {
    /// The address.
    pub addr: u64,
    /// How many bytes were to be copied.
    pub len: usize,
}

/// Memory by address. A bad address is an error, whatever it is.
pub trait UserMemory {
    /// Copies out of it, all or nothing.
    ///
    /// # Errors
    /// [`Fault`] where not all of it is there.
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault>;

    /// Copies into it; after an error some of it may be written.
    ///
    /// # Errors
    /// [`Fault`] where not all of it is there and writable.
    fn write(&self, addr: u64, from: &[u8]) -> Result<(), Fault>;
}

/// This process: addresses are pointers, as in the system call. The kernel does
/// the copying, so that a bad pointer is an error and not a crash.
#[derive(Debug)]
pub struct OwnMemory(());

impl OwnMemory {
    /// # Safety
    /// As with the system call, whoever fills in attributes names memory: what
    /// results are written to must be memory that may be overwritten at that
    /// time, and what is read must not change meanwhile. Addresses where nothing
    /// is mapped are harmless.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

impl UserMemory for OwnMemory {
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault> {
        let len = into.len();
        let (here, there) = (iovec(into.as_mut_ptr() as u64, len), iovec(addr, len));
        // SAFETY: the local vector is the slice given. The remote side is read by
        // the kernel, which checks it.
        let done = unsafe { libc::process_vm_readv(own(), &here, 1, &there, 1, 0) };
        complete(done, addr, len)
    }

    fn write(&self, addr: u64, from: &[u8]) -> Result<(), Fault> {
        let len = from.len();
        let (here, there) = (iovec(from.as_ptr() as u64, len), iovec(addr, len));
        // SAFETY: the local vector is the slice given, and only read. The kernel
        // writes where `new`'s caller promised that it may, or finds nothing.
        let done = unsafe { libc::process_vm_writev(own(), &here, 1, &there, 1, 0) };
        complete(done, addr, len)
    }
}

fn own() -> libc::pid_t {
    std::process::id() as libc::pid_t
}

fn iovec(addr: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(addr as usize),
        iov_len: len,
    }
}

fn complete(done: isize, addr: u64, len: usize) -> Result<(), Fault> {
    if usize::try_from(done) == Ok(len) {
        Ok(())
    } else {
        Err(Fault { addr, len })
    }
}

/// A block of memory at an address of choice: for callers that have no pointers,
/// and for tests.
#[derive(Debug)]
pub struct Space {
    base: u64,
    bytes: Mutex<Vec<u8>>,
}

impl Space {
    /// `len` zeros at address `base`.
    pub fn new(base: u64, len: usize) -> Self {
        Self {
            base,
            bytes: Mutex::new(vec![0; len]),
        }
    }

    fn with<T>(&self, addr: u64, len: usize, f: impl FnOnce(&mut [u8]) -> T) -> Result<T, Fault> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let start = addr.checked_sub(self.base).map(usize::try_from);
        let range = match start {
            Some(Ok(start)) => start.checked_add(len).map(|end| start..end),
            _ => None,
        };
        let found = range.and_then(|r| bytes.get_mut(r));
        found.map(f).ok_or(Fault { addr, len })
    }
}

impl UserMemory for Space {
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.with(addr, into.len(), |bytes| into.copy_from_slice(bytes))
    }

    fn write(&self, addr: u64, from: &[u8]) -> Result<(), Fault> {
        self.with(addr, from.len(), |bytes| bytes.copy_from_slice(from))
    }
}

impl<M: UserMemory + ?Sized> UserMemory for &M {
    fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), Fault> {
        (**self).read(addr, into)
    }

    fn write(&self, addr: u64, from: &[u8]) -> Result<(), Fault> {
        (**self).write(addr, from)
    }
}
