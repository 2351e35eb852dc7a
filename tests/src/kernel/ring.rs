//! The consumer's end of a ring buffer of the kernel, as `bpf(2)` users map it.
#![allow(unsafe_code)]

use super::{Error, Map, Result};
use bpf_core::uapi::Cmd;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PAGE: usize = 4096;
const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;

/// A mapped ring. The kernel is trusted to keep its side of the layout.
pub struct Ring {
    consumer: Mapping,
    /// The producer's page, then the data twice.
    producer: Mapping,
    size: u64,
}

/// Memory that the kernel shares with this process.
pub(super) struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is the kernel's and this type's, touched through atomics and
// copies only, and may be used by any thread.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn new(fd: RawFd, len: usize, prot: i32, offset: usize) -> Result<Self> {
        // SAFETY: a new mapping, wherever the kernel puts it.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                libc::MAP_SHARED,
                fd,
                offset as libc::off_t,
            )
        };
        let at = NonNull::new(at.cast::<u8>()).filter(|_| at != libc::MAP_FAILED);
        let error = || Error {
            cmd: Cmd::MapLookupElem,
            errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        };
        Ok(Self {
            at: at.ok_or_else(error)?,
            len,
        })
    }

    /// The word at `off`, a multiple of 8 inside the mapping.
    pub(super) fn word(&self, off: usize) -> &AtomicU64 {
        assert!(off + 8 <= self.len && off.is_multiple_of(8));
        // SAFETY: inside the mapping and aligned, by the check.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().add(off).cast()) }
    }
}

impl Mapping {
    /// The byte at `off`, inside the mapping.
    pub(super) fn byte(&self, off: usize) -> u8 {
        let word = self.word(off & !7).load(Ordering::Acquire);
        word.to_ne_bytes()[off & 7]
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping is nobody else's.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

impl Map {
    /// Maps a ring buffer of `size` bytes.
    pub fn ring(&self, size: u32) -> Result<Ring> {
        let (fd, data) = (self.as_raw_fd(), PAGE + 2 * size as usize);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        Ok(Ring {
            consumer: Mapping::new(fd, PAGE, both, 0)?,
            producer: Mapping::new(fd, data, libc::PROT_READ, PAGE)?,
            size: size.into(),
        })
    }
}

impl Ring {
    /// Gives every record that is there to `each`, and the room back. Answers how
    /// many they were.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut position = self.consumer.word(0).load(Ordering::Acquire);
        let mut count = 0;
        while position < self.producer.word(0).load(Ordering::Acquire) {
            let at = PAGE + (position & (self.size - 1)) as usize;
            let header = self.producer.word(at).as_ptr().cast::<u32>();
            // SAFETY: the first half of a word of the mapping.
            let header = unsafe { AtomicU32::from_ptr(header) }.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !DISCARD) as usize;
            assert!(at + 8 + len <= self.producer.len);
            if header & DISCARD == 0 {
                // SAFETY: inside the mapping; the kernel leaves a committed record
                // alone until the consumer's position is past it.
                each(unsafe {
                    std::slice::from_raw_parts(self.producer.at.as_ptr().add(at + 8), len)
                });
                count += 1;
            }
            position += (len as u64 + 8).next_multiple_of(8);
            self.consumer.word(0).store(position, Ordering::Release);
        }
        count
    }
}
