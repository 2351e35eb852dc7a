//! What the VMM tells the guest, and how the guest calls the VMM.
//!
//! A vCPU starts at the ELF entry with RDI = its index and RSP = its
//! [`stack_top`](crate::layout::stack_top) less 8, at CPL3. It
//! initialises itself (vCPU 0 the runtime, too), then announces [`port::READY`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Interrupt vector of the gate to CPL0: `int GATE_VECTOR` with EAX = 1 maps the
/// code alias writable on this vCPU, EAX = 0 unmaps it.
///
/// Vector 4 (overflow) has no other use in 64-bit mode, and is one of the few
/// that hosts without hardware virtualisation let CPL3 raise.
pub const GATE_VECTOR: u8 = 4;

/// Bytes after the ELF entry lies the abort entry: the watchdog sets RIP to it
/// (and RSP as at boot) to cut a running program short. The guest answers the
/// interrupted request with ETIMEDOUT and goes on.
pub const ABORT_ENTRY: u64 = 16;

/// Ports written with 32-bit `out` by the guest. To the host each is an
/// allegation: checked, answered, never trusted.
///
/// The I/O permission bitmap of the task state opens these ports and no other
/// to CPL3.
pub mod port {
    /// Ports that are open, each four wide.
    pub const ALL: core::ops::RangeInclusive<u16> = 0x500..=0x51f;
    /// This vCPU is up. The VMM fills the clock fields of
    /// [`BootInfo`](super::BootInfo) before it resumes the first one.
    pub const READY: u16 = 0x500;
    /// Nothing to do: do not resume before there is a submission.
    pub const SLEEP: u16 = 0x504;
    /// A completion was posted while somebody waits for one, in the ring pair
    /// whose number is in EAX.
    pub const NOTIFY: u16 = 0x508;
    /// Please populate the 2 MiB region that holds guest address EAX << 12
    /// (heap or code).
    pub const POPULATE: u16 = 0x50c;
    /// The runtime panicked; the text is in the queue block's message area, its
    /// length in EAX.
    pub const PANIC: u16 = 0x510;
    /// A fault was taken at CPL3 (or CPL0): vector in EAX. RSP points at a
    /// [`FaultFrame`](super::FaultFrame) on the vCPU's CPL0 stack; all general
    /// registers but RAX and RDX are as they were.
    pub const FAULT: u16 = 0x514;
    /// The vCPU stopped on request.
    pub const STOPPED: u16 = 0x518;
    /// A record was committed to the ring buffer whose handle is in EAX, and its
    /// consumer sleeps.
    pub const RECORD: u16 = 0x51c;
}

/// What a fault handler leaves on the CPL0 stack: it pushes an error code of 0
/// if the processor did not, then RDX, then RAX.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FaultFrame {
    pub rax: u64,
    pub rdx: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Bits of [`BootInfo::flags`].
pub mod boot_flags {
    /// Programs are not verified. For isolation tests and research only.
    pub const VERIFIER_OFF: u32 = 1 << 0;
    /// Programs are interpreted, not compiled.
    pub const INTERPRET: u32 = 1 << 1;
    /// The processor has BMI2. (CPUID is slow in a VM.)
    pub const BMI2: u32 = 1 << 2;
}

/// At offset [`BOOT_INFO`](crate::layout::BOOT_INFO) of the shared slot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct BootInfo {
    /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) of the VMM. The guest
    /// panics on another.
    pub version: u32,
    /// Bits of [`boot_flags`].
    pub flags: u32,
    /// vCPUs of this VM.
    pub vcpus: u32,
    /// How many polls of an empty queue before a vCPU sleeps.
    pub idle_polls: u32,
    /// Size of the shared slot in bytes.
    pub shared_len: u64,
    /// Size of the heap in bytes.
    pub heap_len: u64,
    /// Random bits: handle generations, hash seeds, prandom.
    pub seed: [u64; 2],
    /// Nanoseconds since host boot (CLOCK_MONOTONIC) at TSC = `tsc_base`.
    pub mono_base_ns: u64,
    /// TSC at which the bases hold.
    pub tsc_base: u64,
    /// ns = (tsc - tsc_base) * tsc_mult >> tsc_shift, in 128 bits.
    pub tsc_mult: u32,
    /// See `tsc_mult`.
    pub tsc_shift: u32,
    /// CLOCK_BOOTTIME less CLOCK_MONOTONIC, ns.
    pub boot_offset_ns: u64,
    /// CLOCK_TAI less CLOCK_MONOTONIC, ns.
    pub tai_offset_ns: u64,
    /// Ring pairs of each vCPU; 0 counts as 1.
    pub pairs: u32,
    /// Indices of handles below this are left for objects of an earlier life of
    /// the VM, which name their handles.
    pub kept_indices: u32,
}
const _: () = assert!(size_of::<BootInfo>() == 96);
