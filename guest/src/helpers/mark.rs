//! Marks on a packet: congestion, and when to send it.
use super::Args;
use crate::env::Env;
use crate::memory::{bytes, bytes_mut};
use crate::run::{ETH_HLEN, skb_span};
use bpf_core::uapi::{errno, sk_buff as f};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn protocol(env: &Env<'_>) -> u16 {
    u16::from_be(env.ctx.get(f::PROTOCOL) as u16)
}

/// The protocol behind all VLAN tags (`vlan_get_protocol`), which are looked for
/// behind an Ethernet header at the data's start; 0 where they don't end.
fn below_tags(env: &Env<'_>) -> u16 {
    const TAGS: [u16; 2] = [0x8100, 0x88a8];
    const DEPTH: u64 = 8;
    let (data, end) = skb_span(env);
    let first = protocol(env);
    if !TAGS.contains(&first) {
        return first;
    }
    let tags = (0..DEPTH).map(|n| data + u64::from(ETH_HLEN) + n * 4);
    let kinds = tags.map(|at| match at + 4 <= end {
        true => bytes(at + 2, 2)
            .first_chunk()
            .copied()
            .map(u16::from_be_bytes),
        false => None,
    });
    let last = kinds
        .into_iter()
        .find(|k| k.is_none_or(|k| !TAGS.contains(&k)));
    last.flatten().unwrap_or(0)
}

/// `bpf_skb_ecn_set_ce(skb)`: says "congestion experienced" (RFC 3168) if the
/// packet's ends can hear it. 1 if it says so now, else 0.
pub fn congestion(env: &Env<'_>, _: Args) -> u64 {
    let (_, end) = skb_span(env);
    let net = env.network.get();
    let there = end.saturating_sub(net);
    let said = match below_tags(env) {
        IPV4 if there >= 20 => bytes_mut(net, 20).first_chunk_mut().map(congestion4),
        IPV6 if there >= 40 => bytes_mut(net, 40).first_chunk_mut().map(congestion6),
        _ => None,
    };
    said.unwrap_or(false).into()
}

/// Bits 0 and 1 of the second byte; the checksum (bytes 10 and 11) follows.
fn congestion4(h: &mut [u8; 12]) -> bool {
    let old = h[1] & 3;
    if old == 0 || old == 3 {
        return old == 3;
    }
    h[1] |= 3;
    // RFC 1624 for a change of the low bits of a 16-bit word.
    let sum = u32::from(u16::from_be_bytes([h[10], h[11]]));
    let sum = sum + 0xffff - u32::from(3 - old);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [a, b] = (sum as u16).to_be_bytes();
    (h[10], h[11]) = (a, b);
    true
}

/// Bits 4 and 5 of the second byte.
fn congestion6(h: &mut [u8; 2]) -> bool {
    let old = h[1] >> 4 & 3;
    if old == 0 || old == 3 {
        return old == 3;
    }
    h[1] |= 0x30;
    true
}

/// `bpf_skb_set_tstamp(skb, tstamp, type)`.
pub fn time(env: &Env<'_>, [_, time, kind, ..]: Args) -> Result<(), i32> {
    // BPF_SKB_CLOCK_REALTIME, _MONOTONIC, _TAI.
    const REALTIME: u32 = 0;
    const TAI: u32 = 2;
    if !matches!(protocol(env), IPV4 | IPV6) {
        return Err(errno::EOPNOTSUPP);
    }
    match kind as u32 {
        REALTIME => {}
        1..=TAI if time == 0 => return Err(errno::EINVAL),
        1..=TAI => {}
        _ => return Err(errno::EINVAL),
    }
    env.ctx.set(f::TSTAMP, time as u32);
    env.ctx.set(f::TSTAMP + 4, (time >> 32) as u32);
    env.ctx.set(f::TSTAMP_TYPE, kind as u32);
    Ok(())
}
