//! What the runtime needs of a machine.
mod shared;
mod text;

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
