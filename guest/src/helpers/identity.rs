//! Which CPU, which node, and a random number.
use super::Args;
use crate::env::Env;
use bpf_core::uapi::limits;
use core::sync::atomic::Ordering;

/// `bpf_get_prandom_u32()`: xorshift64*, seeded by the VMM.
pub fn random(env: &Env<'_>, _: Args) -> u64 {
    let Some(state) = env.rt.vcpu(env.vcpu).map(|v| &v.random) else {
        return 0;
    };
    let mut x = state.load(Ordering::Relaxed);
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    state.store(x, Ordering::Relaxed);
    x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
}

// The verifier counts on it.
const _: () = assert!(bpfvisor_abi::layout::MAX_VCPUS <= limits::VCPUS);

/// `bpf_get_smp_processor_id()`: the vCPU.
pub fn cpu(env: &Env<'_>, _: Args) -> u64 {
    env.vcpu.into()
}

/// `bpf_get_numa_node_id()`: a VM is one node.
pub fn numa_node(_: &Env<'_>, _: Args) -> u64 {
    0
}
