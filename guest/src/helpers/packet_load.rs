//! Legacy packet loads (`BPF_ABS`, `BPF_IND`).
use super::Args;
use crate::env::Env;
use crate::memory::bytes;
use crate::run::skb_span;

/// Offsets from here on count from the network header (`SKF_NET_OFF`).
const NET: i32 = -0x10_0000;
/// Offsets from here on count from the link-layer header (`SKF_LL_OFF`).
const LL: i32 = -0x20_0000;

/// R1 = offset, R2 = size; the value in host order, or -1 where the packet is too
/// short.
pub fn load(env: &Env<'_>, [off, size, ..]: Args) -> u64 {
    let off = off as i32;
    let (data, end) = skb_span(env);
    let at = match off {
        0.. => data + off as u64,
        NET..0 => env.network.get() + (off - NET) as u64,
        LL..NET => env.mac.get() + (off - LL) as u64,
        _ => return u64::MAX,
    };
    if at < env.hard_start.get() || at + size > end {
        return u64::MAX;
    }
    bytes(at, size)
        .iter()
        .fold(0, |v, &b| v << 8 | u64::from(b))
}
