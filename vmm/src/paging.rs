//! The guest's page tables, written before it starts and never after.
//!
//! All vCPUs share every table but the root: the entry of the code alias is
//! opened and closed per vCPU by the gate.

use bpfvisor_abi::layout::{self, REGION};
use vm_memory::{Bytes, VolatileMemoryError, VolatileSlice};

use crate::image::{Image, Rights};
use crate::memory::Places;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
/// Accessed and dirty, set in advance so that the processor need not.
const TOUCHED: u64 = 1 << 5 | 1 << 6;
const HUGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// An entry that points to a table and leaves the rights to its leaves.
const TABLE: u64 = PRESENT | WRITE | USER | 1 << 5;

// Where the tables lie in the supervisor region, after the roots.
const PDPT: u64 = layout::pml4(layout::MAX_VCPUS);
const ALIAS_PDPT: u64 = PDPT + 0x1000;
const PD: u64 = PDPT + 0x2000;
const ALIAS_PD: u64 = PDPT + 0x3000;
const CAUGHT_PDPT: u64 = PDPT + 0x4000;
const CAUGHT_PD: u64 = PDPT + 0x5000;
/// First free address after the fixed tables; descriptors follow.
pub(crate) const TABLES_END: u64 = PDPT + 0x6000;
/// Second root of vCPU 0, one page per vCPU: as the first, but that compiled
/// programs are not executable.
const CAUGHT: u64 = layout::cpl0_stack_top(layout::MAX_VCPUS - 1);
const _: () = assert!(caught(layout::MAX_VCPUS) <= SHARED_PDS);
/// Page directories of the shared slot, one per GiB.
const SHARED_PDS: u64 = 0x10_0000;

const GIB: u64 = 1 << 30;
const _: () = assert!(SHARED_PDS + crate::config::SHARED_MAX / GIB * 0x1000 <= REGION);

/// The root under which a vCPU in a helper can't go back to its program.
pub(crate) const fn caught(vcpu: u32) -> u64 {
    CAUGHT + vcpu as u64 * 0x1000
}

type Table = [u64; 512];

/// Writes all tables into the private slot.
pub(crate) fn write(
    memory: &VolatileSlice<'_>,
    places: &Places,
    image: &Image,
) -> Result<(), VolatileMemoryError> {
    let mut low = [0; 512];
    map(&mut low, layout::SUPERVISOR, 0, REGION, PRESENT | WRITE);
    for region in image.regions() {
        map(
            &mut low,
            region.address,
            region.address,
            REGION,
            user(region.rights),
        );
    }
    map(
        &mut low,
        layout::CODE,
        layout::CODE,
        layout::CODE_SIZE,
        user(Rights::EXECUTE),
    );
    for vcpu in 0..places.vcpus {
        map(
            &mut low,
            layout::stack_base(vcpu),
            places.stack(vcpu),
            REGION,
            user(Rights::WRITE),
        );
    }
    map(
        &mut low,
        layout::HEAP,
        places.heap,
        places.heap_len,
        user(Rights::WRITE),
    );
    put(memory, PD, &low)?;
    let data = user(Rights::READ);
    map(
        &mut low,
        layout::CODE,
        layout::CODE,
        layout::CODE_SIZE,
        data,
    );
    put(memory, CAUGHT_PD, &low)?;

    let mut alias = [0; 512];
    map(
        &mut alias,
        layout::CODE,
        layout::CODE,
        layout::CODE_SIZE,
        user(Rights::WRITE),
    );
    put(memory, ALIAS_PD, &alias)?;
    put(memory, ALIAS_PDPT, &table(&[(0, ALIAS_PD)]))?;

    let mut directories = vec![(0, PD)];
    write_shared(memory, places, &mut directories)?;
    put(memory, PDPT, &table(&directories))?;
    directories[0] = (0, CAUGHT_PD);
    put(memory, CAUGHT_PDPT, &table(&directories))?;
    write_roots(memory, places.vcpus)
}

/// One directory per GiB of the shared slot.
fn write_shared(
    memory: &VolatileSlice<'_>,
    places: &Places,
    directories: &mut Vec<(usize, u64)>,
) -> Result<(), VolatileMemoryError> {
    for (nth, done) in (0..places.shared_len).step_by(GIB as usize).enumerate() {
        let mut directory = [0; 512];
        let len = GIB.min(places.shared_len - done);
        map(
            &mut directory,
            0,
            places.shared + done,
            len,
            user(Rights::WRITE),
        );
        let at = SHARED_PDS + nth as u64 * 0x1000;
        put(memory, at, &directory)?;
        directories.push(((layout::SHARED / GIB) as usize + nth, at));
    }
    Ok(())
}

fn write_roots(memory: &VolatileSlice<'_>, vcpus: u32) -> Result<(), VolatileMemoryError> {
    let root = |pdpt| {
        let mut root = table(&[(0, pdpt)]);
        root[layout::PML4_ALIAS_KEPT as usize] = ALIAS_PDPT | TABLE & !PRESENT;
        root
    };
    (0..vcpus).try_for_each(|vcpu| {
        put(memory, layout::pml4(vcpu), &root(PDPT))?;
        put(memory, caught(vcpu), &root(CAUGHT_PDPT))
    })
}

/// Maps `[from, from + len)` to `to` in a page directory, by 2 MiB pages.
fn map(directory: &mut Table, from: u64, to: u64, len: u64, rights: u64) {
    for done in (0..len).step_by(REGION as usize) {
        let index = ((from + done) / REGION) as usize;
        if let Some(entry) = directory.get_mut(index) {
            *entry = (to + done) | rights | HUGE | TOUCHED;
        }
    }
}

/// Rights of a leaf that CPL3 reaches.
fn user(rights: Rights) -> u64 {
    let write = if rights.write { WRITE } else { 0 };
    let no_execute = if rights.execute { 0 } else { NO_EXECUTE };
    PRESENT | USER | write | no_execute
}

fn table(entries: &[(usize, u64)]) -> Table {
    let mut table = [0; 512];
    for &(index, to) in entries {
        if let Some(entry) = table.get_mut(index) {
            *entry = to | TABLE;
        }
    }
    table
}

fn put(memory: &VolatileSlice<'_>, at: u64, table: &Table) -> Result<(), VolatileMemoryError> {
    memory.write_slice(zerocopy::IntoBytes::as_bytes(table), at as usize)
}

#[cfg(test)]
mod tests;
