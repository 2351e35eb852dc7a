//! Segments, interrupt gates and task state (SDM volume 3, 3.4, 6.14 and 8.7).

use bpfvisor_abi::boot::{GATE_VECTOR, port};
use bpfvisor_abi::layout;
use vm_memory::{Bytes, VolatileMemoryError, VolatileSlice};
use zerocopy::IntoBytes;

use crate::paging::TABLES_END;

/// Global descriptor table.
pub(crate) const GDT: u64 = TABLES_END;
/// Its contents: null, code and data of CPL0, data and code of CPL3, all flat.
const SEGMENTS: [u64; 5] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];
/// Limit of the GDT. There is no task descriptor in it: the task register is
/// loaded by the VMM, and nothing in the guest may reload it.
pub(crate) const GDT_LIMIT: u16 = (SEGMENTS.len() * 8 - 1) as u16;

/// Selector of CPL0's code.
const KERNEL_CODE: u16 = 1 << 3;
/// Selector of CPL3's data.
pub(crate) const USER_DATA: u16 = 3 << 3 | 3;
/// Selector of CPL3's code.
pub(crate) const USER_CODE: u16 = 4 << 3 | 3;
/// Selector that the task register claims to have.
pub(crate) const TASK: u16 = 5 << 3;

/// Interrupt descriptor table.
pub(crate) const IDT: u64 = GDT + 0x1000;
const BREAKPOINT: u8 = 3;
const GATES: usize = 32;
/// Limit of the IDT.
pub(crate) const IDT_LIMIT: u16 = (GATES * 16 - 1) as u16;

/// Task state of vCPU 0.
const TSS: u64 = IDT + 0x1000;
const TSS_STRIDE: u64 = 512;
/// Where the I/O bitmap begins in it, one bit per port, set where it is closed.
const IO_BITMAP: usize = 104;
/// The bitmap ends with the byte of the last port that is open, and one of ones.
const TSS_LEN: usize = IO_BITMAP + (*port::ALL.end() / 8) as usize + 2;
/// Limit of a task state segment.
pub(crate) const TSS_LIMIT: u32 = TSS_LEN as u32 - 1;

/// Task state of a vCPU.
pub(crate) const fn tss(vcpu: u32) -> u64 {
    TSS + vcpu as u64 * TSS_STRIDE
}

const _: () = assert!(TSS_LEN as u64 <= TSS_STRIDE);
const _: () = assert!(tss(layout::MAX_VCPUS) <= layout::CPL0_STACKS);

/// Writes all of them into the private slot.
pub(crate) fn write(memory: &VolatileSlice<'_>, vcpus: u32) -> Result<(), VolatileMemoryError> {
    memory.write_slice(SEGMENTS.as_bytes(), GDT as usize)?;
    let mut idt = [[0; 2]; GATES];
    for (vector, entry) in (0..).zip(&mut idt) {
        *entry = match vector {
            GATE_VECTOR => gate(layout::GATE_HANDLER, 3),
            // Without DPL 3 it would be reported as general protection.
            BREAKPOINT => gate(handler(vector), 3),
            _ => gate(handler(vector), 0),
        };
    }
    memory.write_slice(idt.as_bytes(), IDT as usize)?;
    for vcpu in 0..vcpus {
        memory.write_slice(&task_state(vcpu), tss(vcpu) as usize)?;
    }
    Ok(())
}

fn handler(vector: u8) -> u64 {
    layout::HANDLERS + u64::from(vector) * layout::HANDLER_STRIDE
}

/// A 64-bit interrupt gate.
const fn gate(handler: u64, dpl: u64) -> [u64; 2] {
    const PRESENT_INTERRUPT: u64 = 0x8e << 40;
    let low = handler & 0xffff | (handler >> 16 & 0xffff) << 48;
    [
        low | (KERNEL_CODE as u64) << 16 | PRESENT_INTERRUPT | dpl << 45,
        handler >> 32,
    ]
}

/// CPL0 stack and I/O bitmap. The bitmap, and not IOPL 3, opens the ports: with
/// IOPL 3 programs could also disable interrupts, and some hosts forget it.
fn task_state(vcpu: u32) -> [u8; TSS_LEN] {
    let mut state = [0; TSS_LEN];
    state[4..12].copy_from_slice(&layout::cpl0_stack_top(vcpu).to_le_bytes());
    state[102..104].copy_from_slice(&(IO_BITMAP as u16).to_le_bytes());
    state[IO_BITMAP..].fill(0xff);
    let open = IO_BITMAP + usize::from(port::ALL.start() / 8)..TSS_LEN - 1;
    state[open].fill(0);
    state
}
