//! `bpf_skb_adjust_room`: room for outer headers, and its end.
use super::Args;
use super::skb_room::{IPV4, IPV6, LEN_MAX, grow, shrink};
use crate::env::Env;
use crate::run::skb_span;
use bpf_core::uapi::{errno, sk_buff as f};

/// `BPF_F_ADJ_ROOM_*`.
const FIXED_GSO: u64 = 1;
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_IPV6: u64 = 1 << 2;
const ENCAP_GRE: u64 = 1 << 3;
const ENCAP_UDP: u64 = 1 << 4;
const NO_CSUM_RESET: u64 = 1 << 5;
const ENCAP_ETH: u64 = 1 << 6;
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;
/// Length of the inner link-layer header, in the highest byte.
const ENCAP_L2_SHIFT: u32 = 56;
const ENCAP: u64 = ENCAP_IPV4 | ENCAP_IPV6;
const DECAP: u64 = DECAP_IPV4 | DECAP_IPV6;
const KNOWN: u64 = 0x1ff | 0xff << ENCAP_L2_SHIFT;
/// What a caller may ask for who takes room away.
const SHRINKING: u64 = FIXED_GSO | DECAP | NO_CSUM_RESET;
/// `ETH_HLEN`.
const ETH_LEN: u64 = 14;

/// `bpf_skb_adjust_room(skb, delta, mode, flags)`: room behind the link layer's
/// header (`BPF_ADJ_ROOM_MAC`) or the network layer's (`BPF_ADJ_ROOM_NET`).
pub fn adjust_room(env: &Env<'_>, [_, delta, mode, flags, _]: Args) -> Result<(), i32> {
    let delta = delta as i32;
    let by = u64::from(delta.unsigned_abs());
    if flags & !KNOWN != 0 {
        return Err(errno::EINVAL);
    }
    if by > 0xfff {
        return Err(errno::EFAULT);
    }
    let header = network_header(env).ok_or(errno::ENOTSUPP)?;
    let link = env.network.get() - env.mac.get();
    let off = match mode as u32 {
        0 => link + header,
        1 => link,
        _ => return Err(errno::ENOTSUPP),
    };
    if delta < 0 {
        take(env, off, by, flags, header)?;
    } else {
        give(env, off, by, flags)?;
    }
    if flags & NO_CSUM_RESET == 0 {
        env.csum_level.set(None);
    }
    Ok(())
}

/// Length of the network header without options; `None` for other protocols.
fn network_header(env: &Env<'_>) -> Option<u64> {
    match u16::from_be(env.ctx.get(f::PROTOCOL) as u16) {
        IPV4 => Some(20),
        IPV6 => Some(40),
        _ => None,
    }
}

fn set_protocol(env: &Env<'_>, proto: u16) {
    env.ctx.set(f::PROTOCOL, proto.to_be().into());
}

fn take(env: &Env<'_>, off: u64, by: u64, flags: u64, header: u64) -> Result<(), i32> {
    let shortest = match flags & DECAP {
        0 => header,
        DECAP_IPV4 => 20,
        DECAP_IPV6 => 40,
        _ => return Err(errno::EINVAL),
    };
    let (_, end) = skb_span(env);
    let payload = end.saturating_sub(env.network.get());
    if by >= payload || payload - by < shortest {
        return Err(errno::ENOTSUPP);
    }
    if flags & !SHRINKING != 0 {
        return Err(errno::EINVAL);
    }
    shrink(env, off, by)?;
    match flags & DECAP {
        DECAP_IPV4 => set_protocol(env, IPV4),
        DECAP_IPV6 => set_protocol(env, IPV6),
        _ => {}
    }
    Ok(())
}

fn give(env: &Env<'_>, off: u64, by: u64, flags: u64) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    if flags & DECAP != 0 {
        return Err(errno::EINVAL);
    }
    if end - data + by > LEN_MAX {
        return Err(errno::ENOTSUPP);
    }
    if flags & ENCAP == 0 {
        return grow(env, off, by);
    }
    let inner_link = flags >> ENCAP_L2_SHIFT;
    let both = |bits: u64| flags & bits == bits;
    if both(ENCAP)
        || both(ENCAP_GRE | ENCAP_UDP)
        || (both(ENCAP_ETH) && inner_link < ETH_LEN)
        || inner_link > by
    {
        return Err(errno::EINVAL);
    }
    if env.encapsulated.get() {
        return Err(errno::EALREADY);
    }
    grow(env, off, by)?;
    env.encapsulated.set(true);
    set_protocol(env, if both(ENCAP_IPV4) { IPV4 } else { IPV6 });
    Ok(())
}
