//! Time from the time stamp counter, by the bases that the VMM measured.
use crate::hal::{Machine, Shared};
use bpfvisor_abi::boot::BootInfo;
use bpfvisor_abi::layout::BOOT_INFO;
use core::sync::atomic::{AtomicU64, Ordering};

/// The VM's clocks.
pub struct Clock {
    machine: &'static dyn Machine,
    mono_base: AtomicU64,
    tsc_base: AtomicU64,
    mult: AtomicU64,
    shift: AtomicU64,
    boot_offset: AtomicU64,
    tai_offset: AtomicU64,
}

impl Clock {
    /// A clock that counts cycles until [`Clock::set`].
    pub fn new(machine: &'static dyn Machine) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            machine,
            mono_base: zero(),
            tsc_base: zero(),
            mult: AtomicU64::new(1),
            shift: zero(),
            boot_offset: zero(),
            tai_offset: zero(),
        }
    }

    /// Takes over what the VMM wrote into the boot record.
    pub fn set(&self, shared: Shared) {
        let Some(b) = shared.read::<BootInfo>(BOOT_INFO) else {
            return;
        };
        let fields = [
            (&self.mono_base, b.mono_base_ns),
            (&self.tsc_base, b.tsc_base),
            (&self.mult, b.tsc_mult.into()),
            (&self.shift, u64::from(b.tsc_shift).min(63)),
            (&self.boot_offset, b.boot_offset_ns),
            (&self.tai_offset, b.tai_offset_ns),
        ];
        for (to, from) in fields {
            to.store(from, Ordering::Relaxed);
        }
    }

    /// CLOCK_MONOTONIC in ns.
    #[inline]
    pub fn now(&self) -> u64 {
        let cycles = self
            .machine
            .tsc()
            .wrapping_sub(self.tsc_base.load(Ordering::Relaxed));
        self.mono_base
            .load(Ordering::Relaxed)
            .wrapping_add(self.to_ns(cycles))
    }

    #[inline]
    fn to_ns(&self, cycles: u64) -> u64 {
        let wide = u128::from(cycles) * u128::from(self.mult.load(Ordering::Relaxed));
        (wide >> self.shift.load(Ordering::Relaxed)) as u64
    }

    /// CLOCK_BOOTTIME in ns.
    pub fn boottime(&self) -> u64 {
        self.now()
            .wrapping_add(self.boot_offset.load(Ordering::Relaxed))
    }

    /// CLOCK_TAI in ns.
    pub fn tai(&self) -> u64 {
        self.now()
            .wrapping_add(self.tai_offset.load(Ordering::Relaxed))
    }
}
