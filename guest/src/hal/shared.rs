//! The shared slot: memory that the host reads and writes, too.
#![allow(unsafe_code)]
use core::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The shared slot. Offsets are checked against its length; everything else the
/// host says is believed (it built this machine).
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    base: u64,
    len: u64,
}

impl Shared {
    /// The slot at `base`.
    ///
    /// # Safety
    /// `[base, base + len)` is readable and writable for ever, `base` is a
    /// multiple of 4096, and nothing but this type, the programs' memory and the
    /// host refers to it.
    pub const unsafe fn new(base: u64, len: u64) -> Self {
        Self { base, len }
    }

    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// True for a slot of no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of `[off, off + len)`, if that lies in the slot.
    #[inline]
    pub const fn addr(&self, off: u64, len: u64) -> Option<u64> {
        if off <= self.len && len <= self.len - off {
            Some(self.base + off)
        } else {
            None
        }
    }

    /// A word that both sides change.
    #[inline]
    pub fn word(&self, off: u64) -> Option<&'static AtomicU32> {
        let at = self.addr(off, 4).filter(|a| a % 4 == 0)?;
        // SAFETY: in the slot and aligned; the slot lives for ever (`new`).
        Some(unsafe { AtomicU32::from_ptr(at as *mut u32) })
    }

    /// A double word that both sides change.
    #[inline]
    pub fn dword(&self, off: u64) -> Option<&'static AtomicU64> {
        let at = self.addr(off, 8).filter(|a| a % 8 == 0)?;
        // SAFETY: in the slot and aligned; the slot lives for ever (`new`).
        Some(unsafe { AtomicU64::from_ptr(at as *mut u64) })
    }

    /// Copies plain data out.
    #[inline]
    pub fn read<T: FromBytes>(&self, off: u64) -> Option<T> {
        let at = self.addr(off, size_of::<T>() as u64)?;
        // SAFETY: in the slot; any bytes are a `T`. The host leaves a request's
        // memory alone while the request is under way.
        Some(unsafe { (at as *const T).read_unaligned() })
    }

    /// Copies plain data in.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, off: u64, value: T) -> Option<()> {
        let at = self.addr(off, size_of::<T>() as u64)?;
        // SAFETY: in the slot, which is writable.
        unsafe { (at as *mut T).write_unaligned(value) };
        Some(())
    }

    /// Copies bytes in.
    pub fn copy_in(&self, off: u64, from: &[u8]) -> Option<()> {
        let at = self.addr(off, from.len() as u64)?;
        // SAFETY: in the slot, which is writable; `from` is no part of it.
        unsafe { core::ptr::copy(from.as_ptr(), at as *mut u8, from.len()) };
        Some(())
    }

    /// Copies bytes out.
    pub fn copy_out(&self, off: u64, to: &mut [u8]) -> Option<()> {
        let at = self.addr(off, to.len() as u64)?;
        // SAFETY: in the slot; `to` is no part of it.
        unsafe { core::ptr::copy(at as *const u8, to.as_mut_ptr(), to.len()) };
        Some(())
    }
}
