//! The shared slot, seen from the host.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use bpfvisor_abi::boot::BootInfo;
use bpfvisor_abi::layout::{self, REGION};
use vm_memory::{Bytes, VolatileSlice};
use zerocopy::IntoBytes;

use crate::clock::Clock;
use crate::error::{BootError, CallError};
use crate::mapping::{Advice, Mapping, sealed_memory};

/// Memory that host and guest both read and write. The guest may change it at
/// any time, so it is only ever copied in and out.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    mapping: Mapping,
}

const OUTSIDE: CallError = CallError::Invalid("a range outside shared memory");

impl SharedMemory {
    pub(crate) fn new(len: u64) -> Result<Self, BootError> {
        let memory = |step| move |source| BootError::Memory { step, source };
        let file = sealed_memory(len).map_err(memory("create the shared memory file"))?;
        Self::of_file(file, len)
    }

    /// The first `len` bytes of the memory file that a daemon gave.
    pub(crate) fn of_file(file: File, len: u64) -> Result<Self, BootError> {
        let memory = |step| move |source| BootError::Memory { step, source };
        let mapping = usize::try_from(len)
            .map_err(io::Error::other)
            .and_then(|len| Mapping::shared(&file, len))
            .map_err(memory("map the shared slot"))?;
        // Only some hosts have huge pages for shared memory.
        let _ = mapping.advise(0, mapping.len(), Advice::Huge);
        Ok(Self { file, mapping })
    }

    /// Copies out. [`CallError::Invalid`] when the range is outside.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), CallError> {
        self.range(offset, into.len())?.copy_to(into);
        Ok(())
    }

    /// Copies in. [`CallError::Invalid`] when the range is outside.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), CallError> {
        self.range(offset, from.len())?.copy_from(from);
        Ok(())
    }

    /// Where it is mapped. Valid as long as any handle of the VM or one of its
    /// objects lives. Only volatile or atomic accesses are sound.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Its length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// The memory file behind it, sealed against changes of its size.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    #[inline]
    pub(crate) fn slice(&self) -> VolatileSlice<'_> {
        self.mapping.slice()
    }

    fn range(&self, offset: u64, len: usize) -> Result<VolatileSlice<'_>, CallError> {
        let offset = usize::try_from(offset).map_err(|_| OUTSIDE)?;
        self.mapping
            .slice()
            .subslice(offset, len)
            .map_err(|_| OUTSIDE)
    }

    /// Writes the boot record.
    pub(crate) fn set_boot_info(&self, info: &BootInfo) -> Result<(), CallError> {
        self.write(layout::BOOT_INFO, info.as_bytes())
    }

    /// Fills in the clock of the boot record; the guest has read the rest of it.
    pub(crate) fn set_clock(&self, clock: &Clock) -> Result<(), CallError> {
        let mut info = BootInfo::default();
        self.read(layout::BOOT_INFO, info.as_mut_bytes())?;
        clock.fill(&mut info);
        self.set_boot_info(&info)
    }

    /// Takes whole pages around a range from the host now. Only a matter of
    /// speed, so failure is nothing.
    pub(crate) fn populate(&self, offset: u64, len: u64) {
        const PAGE: u64 = 4096;
        let start = offset - offset % PAGE;
        let len = (offset - start + len).next_multiple_of(PAGE);
        let _ = self
            .mapping
            .advise(start as usize, len as usize, Advice::Populate);
    }

    /// Takes the regions around a range from the host now, as huge pages if it can,
    /// and tells whether it could. A host that has no huge pages for shared memory
    /// by itself collapses what is touched.
    pub(crate) fn populate_huge(&self, offset: u64, len: u64) -> bool {
        let start = offset - offset % REGION;
        let end = (offset + len).next_multiple_of(REGION).min(self.len());
        for region in (start..end).step_by(REGION as usize) {
            self.populate(region, 1);
        }
        let len = end.saturating_sub(start) as usize;
        self.mapping
            .advise(start as usize, len, Advice::Collapse)
            .is_ok()
    }

    /// Gives the whole pages of a range back to the host and zeroes the rest;
    /// false if the host refused.
    pub(crate) fn give_back(&self, offset: u64, len: u64) -> bool {
        const PAGE: u64 = 4096;
        let (start, end) = (offset.next_multiple_of(PAGE), (offset + len) & !(PAGE - 1));
        let inner = end.saturating_sub(start) as usize;
        if self
            .mapping
            .advise(start as usize, inner, Advice::Remove)
            .is_err()
        {
            return false;
        }
        self.clear(offset, start - offset);
        self.clear(end, offset + len - end);
        true
    }

    /// Overwrites a range with zeroes.
    pub(crate) fn clear(&self, offset: u64, len: u64) {
        const ZEROES: [u8; 4096] = [0; 4096];
        let end = offset + len;
        let slice = self.mapping.slice();
        let mut at = offset;
        while at < end {
            let part = (end - at).min(ZEROES.len() as u64) as usize;
            let _ = slice.write_slice(&ZEROES[..part], at as usize);
            at += part as u64;
        }
    }
}
