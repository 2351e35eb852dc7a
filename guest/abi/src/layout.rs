//! Every guest-virtual address, in one place.
//!
//! ```text
//! 0x0000_0000  supervisor  2 MiB  page tables, GDT, IDT, TSS, fault handlers  CPL0 only
//! 0x0020_0000  image      14 MiB  guest ELF: text RX, data RW (2 MiB apart)
//! 0x0100_0000  code       64 MiB  compiled programs                           RX
//! 0x0800_0000  stacks             per vCPU: 2 MiB unmapped guard, 2 MiB stack RW
//! 0x1800_0000  heap               the runtime's heap                          RW
//! 0x4000_0000  shared             the shared slot (queues, packets, maps)     RW
//! 0x80_0100_0000 code alias       the code region, writable while a program
//!                                 is being placed, else unmapped              RW
//! ```
//!
//! Contexts (in stack or heap) and packets (in the first 3 GiB of the shared
//! slot) lie below 4 GiB, so that the 32-bit `data` and `data_end` of Linux's
//! context structures hold real pointers.

/// One permission per region of this size, mapped by one 2 MiB page.
pub const REGION: u64 = 2 << 20;

/// Supervisor region: nothing here is accessible at CPL3.
pub const SUPERVISOR: u64 = 0;
/// Where the guest ELF's `.handlers` section lies: fault handler of vector `v`
/// at `HANDLERS + v * HANDLER_STRIDE` for 0..32, then the gate.
pub const HANDLERS: u64 = 0x1_0000;
/// Bytes from one handler to the next.
pub const HANDLER_STRIDE: u64 = 64;
/// The gate's handler ([`crate::boot::GATE_VECTOR`]).
pub const GATE_HANDLER: u64 = HANDLERS + 32 * HANDLER_STRIDE;
/// End of the handlers; the VMM's own tables begin here.
pub const HANDLERS_END: u64 = 0x2_0000;

/// Root page table (PML4) of vCPU 0; one page per vCPU. The supervisor region is
/// mapped one to one, so CR3 is also the table's address.
pub const PML4: u64 = 0x2_0000;
/// Index in a PML4 of the code alias' entry: 0 while the gate is closed.
pub const PML4_ALIAS: u64 = CODE_ALIAS_OFFSET >> 39;
/// Index in a PML4 where the VMM keeps the value for [`PML4_ALIAS`], without its
/// present bit (so the processor ignores it): the gate copies it and sets bit 0.
pub const PML4_ALIAS_KEPT: u64 = 511;

/// Root page table of a vCPU.
pub const fn pml4(vcpu: u32) -> u64 {
    PML4 + vcpu as u64 * 0x1000
}

/// CPL0 stack of vCPU 0; one page per vCPU.
pub const CPL0_STACKS: u64 = 0x8_0000;

/// One past the highest CPL0 stack address of a vCPU.
pub const fn cpl0_stack_top(vcpu: u32) -> u64 {
    CPL0_STACKS + (vcpu as u64 + 1) * 0x1000
}

/// Link address of the guest image.
pub const IMAGE: u64 = 0x20_0000;
/// End of what the image may take.
pub const IMAGE_END: u64 = CODE;

/// Compiled programs, executable and not writable. The beginning of the first
/// region is populated before the first vCPU starts.
pub const CODE: u64 = 0x100_0000;
/// Size of the code region.
pub const CODE_SIZE: u64 = 64 << 20;
/// Added to an address in the code region to get its writable alias. The alias
/// is one entry of the vCPU's own PML4, present only while the gate is open.
pub const CODE_ALIAS_OFFSET: u64 = 0x80_0000_0000;

/// First vCPU's guard.
pub const STACKS: u64 = 0x800_0000;
/// Bytes from one vCPU's guard to the next.
pub const STACK_STRIDE: u64 = 2 * REGION;
/// The most vCPUs a VM may have.
pub const MAX_VCPUS: u32 = 64;

/// Lowest mapped stack address of a vCPU.
pub const fn stack_base(vcpu: u32) -> u64 {
    STACKS + vcpu as u64 * STACK_STRIDE + REGION
}

/// One past the highest stack address of a vCPU.
pub const fn stack_top(vcpu: u32) -> u64 {
    stack_base(vcpu) + REGION
}

/// The runtime's heap; its size is in [`crate::boot::BootInfo::heap_len`]. Its
/// first region is populated around the boot.
pub const HEAP: u64 = 0x1800_0000;
/// The longest heap.
pub const HEAP_MAX: u64 = SHARED - HEAP;

/// The shared slot. An offset into it plus this is a guest address.
pub const SHARED: u64 = 0x4000_0000;
/// Buffers of packets and contexts must end below this offset.
pub const LOW_SHARED: u64 = (4 << 30) - SHARED;

/// Offset in the shared slot of [`crate::boot::BootInfo`].
pub const BOOT_INFO: u64 = 0;
/// Offset in the shared slot of the first vCPU's queue block.
pub const QUEUES: u64 = 0x1000;
/// Size of one queue block ([`crate::ring`] says what is in it).
pub const QUEUE_BLOCK: u64 = 0x8000;

/// The most queue blocks that one vCPU serves: bits of
/// [`ACTIVE`](crate::ring::block::ACTIVE).
pub const MAX_PAIRS: u32 = 64;

/// Offset of a queue block in the shared slot: block `v` is that of vCPU `v`.
pub const fn queue_block(index: u32) -> u64 {
    QUEUES + index as u64 * QUEUE_BLOCK
}

/// Offset of a vCPU's queue block for ring pair `pair`. Pair 0 is the VMM's, the
/// others are for clients of a daemon.
pub const fn pair_block(vcpus: u32, vcpu: u32, pair: u32) -> u64 {
    QUEUES + (pair as u64 * vcpus as u64 + vcpu as u64) * QUEUE_BLOCK
}

/// First offset that the host may give to packets, maps and buffers, behind this
/// many queue blocks.
pub const fn dynamic(blocks: u32) -> u64 {
    queue_block(blocks).next_multiple_of(REGION)
}
