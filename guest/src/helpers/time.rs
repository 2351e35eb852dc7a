//! Clocks.
use super::Args;
use crate::env::Env;

/// Ticks per second, as most distributions' kernels have it.
const HZ: u64 = 250;
const TICK_NS: u64 = 1_000_000_000 / HZ;
/// `INITIAL_JIFFIES`: the counter begins five minutes before it wraps at 32 bits.
const INITIAL_JIFFIES: u64 = (1 << 32) - 300 * HZ;

/// `bpf_ktime_get_ns()`.
pub fn ktime(env: &Env<'_>, _: Args) -> u64 {
    env.rt.clock.now()
}

/// `bpf_ktime_get_boot_ns()`.
pub fn boottime(env: &Env<'_>, _: Args) -> u64 {
    env.rt.clock.boottime()
}

/// `bpf_ktime_get_coarse_ns()`: as of the last tick.
pub fn coarse(env: &Env<'_>, _: Args) -> u64 {
    let now = env.rt.clock.now();
    now - now % TICK_NS
}

/// `bpf_ktime_get_tai_ns()`.
pub fn tai(env: &Env<'_>, _: Args) -> u64 {
    env.rt.clock.tai()
}

/// `bpf_jiffies64()`.
pub fn jiffies(env: &Env<'_>, _: Args) -> u64 {
    INITIAL_JIFFIES + env.rt.clock.now() / TICK_NS
}
