//! Walks the tables as the processor does.
#![allow(clippy::unwrap_used)]

use zerocopy::IntoBytes;

use super::*;
use crate::config::Config;
use crate::testing;

/// Tables in memory of their own, for 3 vCPUs and 3 GiB of shared memory.
struct Tables {
    memory: Vec<u64>,
    places: Places,
}

impl Tables {
    fn new() -> Self {
        let config = Config {
            vcpus: 3,
            shared_bytes: 3 << 30,
            heap_bytes: 4 << 20,
            ..Config::default()
        };
        let places = Places::new(&config);
        let mut memory = vec![0; REGION as usize / 8];
        let slice = VolatileSlice::from(memory.as_mut_bytes());
        write(&slice, &places, &testing::guest(testing::spin())).unwrap();
        Self { memory, places }
    }

    fn entry(&self, table: u64, index: u64) -> Option<u64> {
        let entry = self.memory[((table & 0xf_ffff_ffff_f000) / 8 + index) as usize];
        (entry & PRESENT != 0).then_some(entry)
    }

    /// Where an address leads and what CPL3 may do there, as in `rwx`; nothing
    /// for what CPL3 does not reach.
    fn walk(&self, vcpu: u32, address: u64) -> Option<(u64, &'static str)> {
        let mut table = layout::pml4(vcpu);
        let mut rights = USER | WRITE;
        for level in [39, 30, 21] {
            let entry = self.entry(table, address >> level & 511)?;
            rights &= entry;
            table = entry;
        }
        assert!(table & HUGE != 0);
        let to = (table & 0xf_ffff_ffe0_0000) + address % REGION;
        match (
            rights & USER != 0,
            rights & WRITE != 0,
            table & NO_EXECUTE == 0,
        ) {
            (false, ..) => None,
            (_, false, false) => Some((to, "r")),
            (_, true, false) => Some((to, "rw")),
            (_, false, true) => Some((to, "rx")),
            (_, true, true) => Some((to, "rwx")),
        }
    }
}

#[test]
fn each_region_has_its_place_and_rights() {
    let tables = Tables::new();
    let places = tables.places;
    for (address, to, rights) in [
        (layout::IMAGE + 5, layout::IMAGE + 5, "rx"),
        (layout::CODE, layout::CODE, "rx"),
        (
            layout::CODE + layout::CODE_SIZE - 1,
            layout::CODE + layout::CODE_SIZE - 1,
            "rx",
        ),
        (layout::stack_base(2), places.stack(2), "rw"),
        (layout::HEAP + REGION, places.heap + REGION, "rw"),
        (layout::SHARED, places.shared, "rw"),
        (
            layout::SHARED + (3 << 30) - 1,
            places.shared + (3 << 30) - 1,
            "rw",
        ),
    ] {
        assert_eq!(tables.walk(1, address), Some((to, rights)), "{address:#x}");
    }
}

#[test]
fn everything_else_is_out_of_reach() {
    let tables = Tables::new();
    for address in [
        layout::SUPERVISOR,
        layout::pml4(1),
        layout::IMAGE + REGION,
        layout::CODE + layout::CODE_SIZE,
        layout::stack_base(0) - 1,
        layout::stack_top(0),
        layout::stack_base(3),
        layout::HEAP + (4 << 20),
        layout::SHARED + (3 << 30),
        layout::CODE + layout::CODE_ALIAS_OFFSET,
        1 << 47,
    ] {
        assert_eq!(tables.walk(0, address), None, "{address:#x}");
    }
}

#[test]
fn gate_opens_the_code_alias_of_one_vcpu() {
    let mut tables = Tables::new();
    let root = (layout::pml4(1) / 8) as usize;
    let kept = tables.memory[root + layout::PML4_ALIAS_KEPT as usize];
    assert_eq!(kept & PRESENT, 0);
    tables.memory[root + layout::PML4_ALIAS as usize] = kept | PRESENT;
    let alias = layout::CODE + layout::CODE_ALIAS_OFFSET + 7;
    assert_eq!(tables.walk(1, alias), Some((layout::CODE + 7, "rw")));
    assert_eq!(tables.walk(0, alias), None);
    assert_eq!(tables.walk(1, layout::CODE_ALIAS_OFFSET), None);
}
