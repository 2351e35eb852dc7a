//! The guest's clock: how its time stamp counter maps to the host's clocks.

use bpfvisor_abi::boot::BootInfo;
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};

const IA32_TIME_STAMP_COUNTER: u32 = 0x10;
/// Tries to read the counter without being interrupted in between.
const TRIES: usize = 3;
const MONOTONIC: DynamicClockId<'static> = DynamicClockId::Known(ClockId::Monotonic);

/// The clock fields of [`BootInfo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    mono_base_ns: u64,
    tsc_base: u64,
    tsc_mult: u32,
    tsc_shift: u32,
    boot_offset_ns: u64,
    tai_offset_ns: u64,
}

impl Clock {
    /// Measures on a stopped vCPU; nothing if KVM does not tell.
    pub(crate) fn measure(vcpu: &VcpuFd) -> Option<Self> {
        let (tsc_mult, tsc_shift) = scale(vcpu.get_tsc_khz().ok()?);
        let (tsc_base, mono_base_ns, _) = (0..TRIES)
            .filter_map(|_| read_tsc(vcpu))
            .min_by_key(|&(_, _, took)| took)?;
        let mono = now(MONOTONIC);
        Some(Self {
            mono_base_ns,
            tsc_base,
            tsc_mult,
            tsc_shift,
            boot_offset_ns: now(DynamicClockId::Known(ClockId::Boottime)).saturating_sub(mono),
            tai_offset_ns: now(DynamicClockId::Tai).saturating_sub(mono),
        })
    }

    /// Puts the fields into the record.
    pub(crate) fn fill(&self, info: &mut BootInfo) {
        info.mono_base_ns = self.mono_base_ns;
        info.tsc_base = self.tsc_base;
        info.tsc_mult = self.tsc_mult;
        info.tsc_shift = self.tsc_shift;
        info.boot_offset_ns = self.boot_offset_ns;
        info.tai_offset_ns = self.tai_offset_ns;
    }
}

/// The vCPU's counter, CLOCK_MONOTONIC at that moment, and how long it took, ns.
fn read_tsc(vcpu: &VcpuFd) -> Option<(u64, u64, u64)> {
    let entry = kvm_msr_entry {
        index: IA32_TIME_STAMP_COUNTER,
        ..Default::default()
    };
    let mut msrs = Msrs::from_entries(&[entry]).ok()?;
    let before = now(MONOTONIC);
    let read = vcpu.get_msrs(&mut msrs).ok()?;
    let took = now(MONOTONIC) - before;
    let tsc = msrs.as_slice().first()?.data;
    (read == 1).then_some((tsc, before + took / 2, took))
}

/// The largest multiplier and shift with ns = ticks * mult >> shift.
fn scale(khz: u32) -> (u32, u32) {
    const NS_PER_MS: u64 = 1_000_000;
    let fits = |shift: u32| {
        let mult = (NS_PER_MS << shift) / u64::from(khz.max(1));
        Some((u32::try_from(mult).ok()?, shift))
    };
    (0..=32).rev().find_map(fits).unwrap_or((0, 0))
}

/// Nanoseconds; 0 for a clock that this host does not have.
fn now(clock: DynamicClockId<'_>) -> u64 {
    let Ok(time) = clock_gettime_dynamic(clock) else {
        return 0;
    };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn scale_is_exact_to_a_millionth() {
        for khz in [1_000_000, 2_399_998, 3_700_000, 5_300_000] {
            let (mult, shift) = scale(khz);
            let second = u64::from(khz) * 1000;
            let ns = (u128::from(second) * u128::from(mult)) >> shift;
            assert!(
                ns.abs_diff(1_000_000_000) < 1000,
                "{khz} kHz: {ns} ns in a second"
            );
        }
    }
}
