//! Guest memory: where each guest address lies in guest-physical memory, and
//! the two slots.
//!
//! ```text
//! private slot  0x000_0000  supervisor, image, code   as in `layout`, one to one
//!               0x500_0000  stacks                    2 MiB per vCPU, packed
//!               ...         heap
//! shared slot   behind it   a sealed memory file
//! ```

use std::io;

use bpfvisor_abi::layout::{self, REGION};

use crate::config::Config;
use crate::error::BootError;
use crate::image::Image;
use crate::mapping::{Advice, Mapping};

/// Guest-physical places that depend on the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) vcpus: u32,
    pub(crate) stacks: u64,
    pub(crate) heap: u64,
    pub(crate) heap_len: u64,
    pub(crate) shared: u64,
    pub(crate) shared_len: u64,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let stacks = layout::CODE + layout::CODE_SIZE;
        let heap = stacks + u64::from(config.vcpus) * REGION;
        Self {
            vcpus: config.vcpus,
            stacks,
            heap,
            heap_len: config.heap_bytes,
            shared: heap + config.heap_bytes,
            shared_len: config.shared_bytes,
        }
    }

    /// Bytes of the private slot.
    pub(crate) fn private_len(&self) -> u64 {
        self.shared
    }

    /// Guest-physical address of a vCPU's stack.
    pub(crate) fn stack(&self, vcpu: u32) -> u64 {
        self.stacks + u64::from(vcpu) * REGION
    }

    /// Where in the private slot the heap or code region of guest address `gva`
    /// begins; no other regions are populated on request.
    pub(crate) fn growable_region(&self, gva: u64) -> Option<u64> {
        let region = gva - gva % REGION;
        if (layout::CODE..layout::CODE + layout::CODE_SIZE).contains(&region) {
            return Some(region);
        }
        let in_heap = region.checked_sub(layout::HEAP)?;
        (in_heap < self.heap_len).then_some(self.heap + in_heap)
    }
}

/// The private slot.
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) places: Places,
    pub(crate) mapping: Mapping,
}

impl Private {
    pub(crate) fn new(places: Places) -> Result<Self, BootError> {
        let mapping = usize::try_from(places.private_len())
            .map_err(io::Error::other)
            .and_then(Mapping::anonymous)
            .map_err(|source| BootError::Memory {
                step: "map the private slot",
                source,
            })?;
        Ok(Self { places, mapping })
    }

    /// Takes the memory of the heap or code region around guest address `gva`,
    /// in one huge page if the host can. Anything else is ignored: it is the
    /// guest that asks, and a refusal only costs it time.
    pub(crate) fn populate(&self, gva: u64) {
        if let Some(offset) = self.places.growable_region(gva) {
            let (offset, len) = (offset as usize, REGION as usize);
            let _ = self.mapping.advise(offset, len, Advice::Huge);
            let _ = self.mapping.advise(offset, len, Advice::Populate);
        }
    }

    /// Takes what is in use from the first instructions on: a little of heap,
    /// code and each stack.
    pub(crate) fn populate_for_boot(&self) {
        let stacks = (0..self.places.vcpus).map(|vcpu| {
            (
                self.places.stack(vcpu) + REGION - STACK_IN_USE,
                STACK_IN_USE,
            )
        });
        let first = [(self.places.heap, HEAP_IN_USE), (layout::CODE, CODE_IN_USE)];
        for (offset, len) in stacks.chain(first) {
            let _ = self
                .mapping
                .advise(offset as usize, len as usize, Advice::Populate);
        }
    }

    /// Asks for huge pages where code of the image will lie: fewer faults of the
    /// host while it is copied, and of the guest while it runs.
    pub(crate) fn expect_image(&self, image: &Image) {
        for region in image.regions().iter().filter(|r| r.rights.execute) {
            let (offset, len) = (region.address as usize, REGION as usize);
            let _ = self.mapping.advise(offset, len, Advice::Huge);
        }
    }

    /// Once booted, takes the rest of the heap's first region, as a huge page if
    /// the host can: clearing it would have been a good part of the boot.
    pub(crate) fn populate_after_boot(&self) {
        let (offset, len) = (self.places.heap as usize, REGION as usize);
        if self.mapping.advise(offset, len, Advice::Collapse).is_err() {
            let _ = self.mapping.advise(offset, len, Advice::Populate);
        }
    }
}

/// How much of a stack is in use at boot.
const STACK_IN_USE: u64 = 16 << 10;
/// And of the heap.
const HEAP_IN_USE: u64 = 32 << 10;
/// How much of the code region is worth having before there is a program. The
/// first region never grows into a huge page: small VMs stay small.
const CODE_IN_USE: u64 = 128 << 10;
