//! What the runtime needs of a machine.
mod shared;
mod text;

use alloc::vec::Vec;
use bpf_core::uapi::errno;

pub use shared::Shared;
pub use text::TextBuf;

/// The machine under the runtime: the VM's vCPU, or a test's process.
pub trait Machine: Sync {
    /// Rings the VMM ([`bpfvisor_abi::boot::port`]).
    fn out(&self, port: u16, value: u32);

    /// Rings [`READY`](bpfvisor_abi::boot::port::READY) with the clock's reading.
    fn ready(&self);

    /// The time stamp counter.
    fn tsc(&self) -> u64;

    /// Leaves everything that a vCPU does and goes on as if the watchdog had sent it
    /// to the abort entry. A machine without one returns.
    fn abandon(&self, vcpu: u32) {
        let _ = vcpu;
    }

    /// Writes machine code to its place in the code region. `false` when the
    /// range lies outside.
    fn write_code(&self, addr: u64, bytes: &[u8]) -> bool;

    /// Whether the processor has BMI2 (CPUID leaf 7, EBX bit 8).
    fn bmi2(&self) -> bool;

    /// The code region: its address and length.
    fn code_region(&self) -> (u64, u64);

    /// Asks for memory behind the region that holds `addr`, ahead of its use.
    fn populate(&self, addr: u64);
}

/// What small things may take of the heap unasked.
const SPARE: usize = 256 << 10;

/// ENOMEM where the heap has not `bytes` in one piece, and something to spare:
/// to be asked before work that could not go on without.
pub fn headroom(bytes: usize) -> Result<(), i32> {
    let mut probe = Vec::<u8>::new();
    let asked = bytes.saturating_add(SPARE);
    let answer = probe.try_reserve_exact(asked);
    // Compilers know that nobody looks at the memory, and would not ask for it.
    core::hint::black_box(&probe);
    answer.map_err(|_| errno::ENOMEM)
}
