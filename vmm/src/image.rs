//! The guest image: an ELF executable that the build script embeds.

use std::io::Cursor;

use bpfvisor_abi::layout::{self, REGION};
use linux_loader::loader::{Elf, KernelLoader};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::BootError;
use crate::mapping::Mapping;

/// What may be done with memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

impl Rights {
    pub(crate) const WRITE: Self = Self {
        write: true,
        execute: false,
    };
    pub(crate) const READ: Self = Self {
        write: false,
        execute: false,
    };
    pub(crate) const EXECUTE: Self = Self {
        write: false,
        execute: true,
    };
}

/// One 2 MiB region of the image, mapped one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageRegion {
    pub(crate) address: u64,
    pub(crate) rights: Rights,
}

/// A checked image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    elf: &'static [u8],
    entry: u64,
    regions: Vec<ImageRegion>,
}

/// ELF64 program header.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;
const PF_W: u32 = 2;

fn bad(text: impl Into<String>) -> BootError {
    BootError::Guest { text: text.into() }
}

impl Image {
    /// The image of this build.
    pub(crate) fn embedded() -> Result<Self, BootError> {
        static ELF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));
        Self::parse(ELF)
    }

    /// Checks where an ELF wants to be loaded: inside the image or the handlers,
    /// with one set of rights per region.
    pub(crate) fn parse(elf: &'static [u8]) -> Result<Self, BootError> {
        let entry = u64_at(elf, 24).ok_or_else(|| bad("the image is no ELF executable"))?;
        let mut image = Self {
            elf,
            entry,
            regions: Vec::new(),
        };
        for header in headers(elf).ok_or_else(|| bad("the image's headers are cut off"))? {
            if header.kind == PT_LOAD && header.memory_size > 0 {
                image.place(&header)?;
            }
        }
        let executable = |r: &ImageRegion| r.rights.execute && r.address == entry - entry % REGION;
        if !image.regions.iter().any(executable) {
            return Err(bad(format!(
                "the image's entry {entry:#x} is not executable"
            )));
        }
        Ok(image)
    }

    fn place(&mut self, header: &ProgramHeader) -> Result<(), BootError> {
        let start = header.vaddr;
        let end = start
            .checked_add(header.memory_size)
            .filter(|_| header.paddr == start);
        let end =
            end.ok_or_else(|| bad(format!("segment at {start:#x}: paddr must equal vaddr")))?;
        if start >= layout::HANDLERS && end <= layout::HANDLERS_END {
            return Ok(());
        }
        if start < layout::IMAGE || end > layout::IMAGE_END {
            return Err(bad(format!(
                "segment {start:#x}..{end:#x} lies outside the image"
            )));
        }
        let rights = Rights {
            write: header.flags & PF_W != 0,
            execute: header.flags & PF_X != 0,
        };
        for address in (start - start % REGION..end).step_by(REGION as usize) {
            match self.regions.iter().find(|r| r.address == address) {
                Some(other) if other.rights != rights => {
                    let text = format!("region {address:#x} has segments of different rights");
                    return Err(bad(text));
                }
                Some(_) => {}
                None => self.regions.push(ImageRegion { address, rights }),
            }
        }
        Ok(())
    }

    /// Address of the first instruction.
    pub(crate) fn entry(&self) -> u64 {
        self.entry
    }

    /// The regions it takes, besides the handlers.
    pub(crate) fn regions(&self) -> &[ImageRegion] {
        &self.regions
    }

    /// Copies it into the private slot.
    pub(crate) fn load(&self, private: &Mapping) -> Result<(), BootError> {
        let memory = |source| BootError::Memory {
            step: "wrap the private slot",
            source,
        };
        let region = private.region().map_err(memory)?;
        let region = GuestRegionMmap::new(region, GuestAddress(0))
            .ok_or_else(|| memory(std::io::ErrorKind::InvalidInput.into()))?;
        let slot = GuestMemoryMmap::from_regions(vec![region])
            .map_err(|e| memory(std::io::Error::other(e)))?;
        Elf::load(&slot, None, &mut Cursor::new(self.elf), None)
            .map_err(|e| bad(format!("the image does not load: {e}")))?;
        Ok(())
    }
}

fn u64_at(elf: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*elf.get(at..)?.first_chunk()?))
}

fn u16_at(elf: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?))
}

/// The program headers, if they lie inside the file.
fn headers(elf: &[u8]) -> Option<Vec<ProgramHeader>> {
    let offset = usize::try_from(u64_at(elf, 32)?).ok()?;
    let count = usize::from(u16_at(elf, 56)?);
    let table = elf.get(offset..)?;
    let size = size_of::<ProgramHeader>();
    (0..count)
        .map(|n| ProgramHeader::read_from_bytes(table.get(n * size..(n + 1) * size)?).ok())
        .collect()
}

#[cfg(test)]
mod tests;
