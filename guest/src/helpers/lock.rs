//! `struct bpf_spin_lock`.
use super::Args;
use crate::env::Env;
use crate::memory;
use core::sync::atomic::Ordering;

/// How often a lock is tried between two looks at the time.
const TRIES: u32 = 1024;

/// `bpf_spin_lock(lock)`. The vCPU remembers it, so that a run that is cut short
/// leaves it free. Who waits beyond its time is cut short here.
pub fn lock(env: &Env<'_>, [at, ..]: Args) -> u64 {
    let word = memory::lock_word(at);
    let mut tries = 0u32;
    while word
        .compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        core::hint::spin_loop();
        tries = tries.wrapping_add(1);
        if tries.is_multiple_of(TRIES) {
            env.rt.give_up(env.vcpu);
        }
    }
    remember(env, at);
    0
}

/// `bpf_spin_unlock(lock)`.
pub fn unlock(env: &Env<'_>, [at, ..]: Args) -> u64 {
    remember(env, 0);
    memory::lock_word(at).store(0, Ordering::Release);
    0
}

fn remember(env: &Env<'_>, at: u64) {
    if let Some(v) = env.rt.vcpu(env.vcpu) {
        v.held_lock.store(at, Ordering::Relaxed);
    }
}
