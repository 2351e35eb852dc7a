//! The shared slot: memory that the host reads and writes, too.
#![allow(unsafe_code)]
use bpf_core::map::Region;
use core::ptr::NonNull;
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

    /// The slot's end, if the address lies in it.
    pub const fn limit(&self, addr: u64) -> Option<u64> {
        let end = self.base + self.len;
        if addr >= self.base && addr < end {
            Some(end)
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

    /// Storage of a map.
    pub fn region(&self, off: u64, len: u64) -> Option<Region> {
        let at = self
            .addr(off, len)
            .filter(|a| a % bpf_core::map::ALIGN as u64 == 0)?;
        let ptr = NonNull::new(at as *mut u8)?;
        // SAFETY: in the slot, which lives for ever; the host gave this range to
        // one map, and it is accessed through the region and by programs only.
        Some(unsafe { Region::new(ptr, len) })
    }

    /// Bytes of a request. The host leaves them alone while it is under way.
    pub fn bytes(&self, off: u64, len: u64) -> Option<&[u8]> {
        Some(crate::memory::bytes(self.addr(off, len)?, len))
    }

    /// Bytes of an answer. Handlers hold one such slice at a time.
    #[allow(clippy::mut_from_ref)]
    pub fn bytes_mut(&self, off: u64, len: u64) -> Option<&mut [u8]> {
        Some(crate::memory::bytes_mut(self.addr(off, len)?, len))
    }
}
