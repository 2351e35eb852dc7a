//! The flow hash of an `__sk_buff`.
use super::Args;
use crate::env::Env;
use crate::memory::bytes;
use crate::run::skb_span;
use bpf_core::uapi::sk_buff as f;

/// `bpf_get_hash_recalc(skb)`: computes the hash if there is none. Linux's hash
/// is keyed by a boot-time secret; so is this one, by the VM's seed.
pub fn recalc(env: &Env<'_>, _: Args) -> u64 {
    if !env.hashed.get() {
        let hash = flow_hash(env);
        env.ctx.set(f::HASH, hash);
        env.hashed.set(true);
    }
    env.ctx.get(f::HASH).into()
}

/// Forgets the hash (`skb_clear_hash`).
pub fn clear(env: &Env<'_>) {
    env.ctx.set(f::HASH, 0);
    env.hashed.set(false);
}

/// `bpf_set_hash_invalid(skb)`.
pub fn invalidate(env: &Env<'_>, _: Args) -> u64 {
    clear(env);
    0
}

/// `bpf_set_hash(skb, hash)`.
pub fn set(env: &Env<'_>, [_, hash, ..]: Args) -> u64 {
    env.ctx.set(f::HASH, hash as u32);
    env.hashed.set(true);
    0
}

/// A hash over addresses, ports and protocol as far as they are there; never 0.
fn flow_hash(env: &Env<'_>) -> u32 {
    let (_, end) = skb_span(env);
    let net = env.network.get();
    let packet = bytes(net, end.saturating_sub(net).min(60));
    let fields: &[core::ops::Range<usize>] = match packet.first().map(|b| b >> 4) {
        Some(4) => &[9..10, 12..20, 20..24],
        Some(6) => &[6..7, 8..40, 40..44],
        _ => &[],
    };
    let mix = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    let flow = fields
        .iter()
        .filter_map(|r| packet.get(r.clone()))
        .flatten();
    let h = flow.fold(env.rt.boot.seed[0], |h, &b| mix(h, b));
    ((h >> 32) as u32 ^ h as u32).max(1)
}
