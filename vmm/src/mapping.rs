//! Mappings that back guest memory.
//!
//! One of the few files with `unsafe`: it owns the address ranges, and hands
//! them out only as `vm-memory` slices, whose accesses are volatile and checked.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};

use bpfvisor_abi::layout::REGION;
use vm_memory::{MmapRegion, VolatileSlice};

/// A readable and writable mapping, aligned to [`REGION`], unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the range is owned by this value alone and is only reached through
// volatile or atomic accesses, which may come from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory, taken only when touched.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::aligned(len, flags, -1)
    }

    /// The first `len` bytes of `file`, shared with whoever else maps it.
    pub(crate) fn shared(file: &File, len: usize) -> io::Result<Self> {
        Self::aligned(
            len,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
        )
    }

    /// Reserves an aligned range and maps over it.
    fn aligned(len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<Self> {
        let slack = REGION as usize;
        let reserve = len.checked_add(slack).ok_or(io::ErrorKind::OutOfMemory)?;
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches
        // nothing that exists.
        let raw = unsafe { libc::mmap(ptr::null_mut(), reserve, libc::PROT_NONE, none, -1, 0) };
        if raw == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let before = raw.cast::<u8>().align_offset(slack);
        let start = raw.cast::<u8>().wrapping_add(before);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: `[start, start + len)` lies inside the range reserved above,
        // which nobody else knows; replacing it is our right.
        let mapped = unsafe { libc::mmap(start.cast(), len, prot, flags | libc::MAP_FIXED, fd, 0) };
        let failed = (mapped == libc::MAP_FAILED).then(io::Error::last_os_error);
        // SAFETY: both ends of the reservation outside `[start, start + len)` are
        // ours and unused.
        unsafe {
            if before > 0 {
                libc::munmap(raw, before);
            }
            libc::munmap(start.wrapping_add(len).cast(), slack - before);
        }
        if let Some(error) = failed {
            // SAFETY: still the reservation, unused.
            unsafe { libc::munmap(start.cast(), len) };
            return Err(error);
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// All of it, for volatile access.
    #[inline]
    pub(crate) fn slice(&self) -> VolatileSlice<'_> {
        // SAFETY: the range is mapped readable and writable for as long as `self`
        // lives, which the slice's lifetime cannot outlast; nobody holds a Rust
        // reference into it.
        unsafe { VolatileSlice::new(self.start.as_ptr(), self.len) }
    }

    /// The same memory as a `vm-memory` region. It does not own the range, so it
    /// must not outlive `self`: only for use within one function.
    pub(crate) fn region(&self) -> io::Result<MmapRegion> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range is mapped with these rights and, by the contract
        // above, stays so while the region is in use.
        unsafe {
            MmapRegion::build_raw(self.start.as_ptr(), self.len, prot, libc::MAP_PRIVATE)
                .map_err(io::Error::other)
        }
    }

    /// Gives advice on `[offset, offset + len)`; outside is EINVAL.
    pub(crate) fn advise(&self, offset: usize, len: usize, advice: Advice) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = self.start.as_ptr().wrapping_add(offset);
        // SAFETY: the range is inside our own mapping, which is reached only
        // through volatile accesses; none of these advices unmaps anything, and
        // contents are lost only where the caller asks for it.
        let result = unsafe { libc::madvise(start.cast(), len, advice as libc::c_int) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `aligned`, and slices of it can't
        // outlive `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// What [`Mapping::advise`] can ask for.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Advice {
    /// Back it with huge pages where the host can.
    Huge = libc::MADV_HUGEPAGE,
    /// Make it huge pages now, keeping contents.
    Collapse = libc::MADV_COLLAPSE,
    /// Take the memory now, zeroed, keeping contents.
    Populate = libc::MADV_POPULATE_WRITE,
    /// Give the memory of a shared mapping back; it reads as zeroes afterwards.
    Remove = libc::MADV_REMOVE,
}

/// Whether `file` has `len` bytes, for good: no other holder can make it shorter.
pub(crate) fn keeps_its_length(file: &File, len: u64) -> bool {
    // SAFETY: fcntl without arguments on a descriptor that is open.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    let long = file.metadata().is_ok_and(|m| m.len() >= len);
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0 && long
}

/// A memory file that can't shrink, so that no reader of it can be made to fault,
/// and whose seals whoever else has it can't add to.
pub(crate) fn sealed_memory(len: u64) -> io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; no memory of ours is touched.
    let fd = unsafe { libc::memfd_create(c"bpfvisor-shared".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor, owned by nobody else.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: fcntl with integer arguments on our own descriptor.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
