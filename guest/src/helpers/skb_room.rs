//! Making an `__sk_buff`'s packet longer and shorter.
use super::{Args, skb_hash};
use crate::env::Env;
use crate::memory::{bytes_mut, copy};
use crate::run::{set_skb_data, skb_span};
use bpf_core::uapi::{errno, sk_buff as f};

/// `BPF_SKB_MAX_LEN`: four pages less what Linux keeps for itself.
pub(super) const LEN_MAX: u64 = 16384 - 320;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
/// Length of an IPv6 header less that of an IPv4 header.
const HEADERS_APART: u64 = 20;
/// `PACKET_OTHERHOST`.
const OTHERHOST: u32 = 3;
/// `bpf_skb_pull_data(skb, len)`: packets here are always in one piece.
pub fn pull_data(env: &Env<'_>, [_, len, ..]: Args) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    if u64::from(len as u32) > end - data {
        Err(errno::ENOMEM)
    } else {
        Ok(())
    }
}

/// `bpf_skb_change_tail(skb, len, flags)`: bytes that it adds are zero.
pub fn change_tail(env: &Env<'_>, [_, len, flags, ..]: Args) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    let len = u64::from(len as u32);
    let shortest = env.network.get().saturating_sub(data);
    if flags != 0 || len > LEN_MAX || len < shortest {
        return Err(errno::EINVAL);
    }
    let new = data + len;
    if new > env.hard_end.get() {
        return Err(errno::ENOMEM);
    }
    if new > end {
        bytes_mut(end, new - end).fill(0);
    }
    set_skb_data(env, data, new);
    Ok(())
}

/// `bpf_skb_change_head(skb, len, flags)`: zero bytes before the packet.
pub fn change_head(env: &Env<'_>, [_, room, flags, ..]: Args) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    let room = u64::from(room as u32);
    if flags != 0 || end - data + room > LEN_MAX {
        return Err(errno::EINVAL);
    }
    make_headroom(env, room)?;
    let (data, end) = skb_span(env);
    let new = data - room;
    bytes_mut(new, room).fill(0);
    set_skb_data(env, new, end);
    env.mac.set(new);
    Ok(())
}

/// `bpf_skb_change_proto(skb, proto, flags)`: makes room for the longer header, or
/// takes the room away. What the new header holds is the program's to write.
pub fn change_proto(env: &Env<'_>, [_, to, flags, ..]: Args) -> Result<(), i32> {
    if flags != 0 {
        return Err(errno::EINVAL);
    }
    let link = env.network.get() - env.mac.get();
    let (from, to) = (env.ctx.get(f::PROTOCOL) as u16, to as u16);
    match (u16::from_be(from), u16::from_be(to)) {
        (IPV4, IPV6) => grow(env, link, HEADERS_APART)?,
        (IPV6, IPV4) => shrink(env, link, HEADERS_APART)?,
        _ => return Err(errno::ENOTSUPP),
    }
    env.ctx.set(f::PROTOCOL, to.into());
    skb_hash::clear(env);
    Ok(())
}

/// `bpf_skb_change_type(skb, type)`: between `PACKET_HOST` and
/// `PACKET_OTHERHOST`.
pub fn change_type(env: &Env<'_>, [_, to, ..]: Args) -> Result<(), i32> {
    let to = to as u32;
    if to > OTHERHOST || env.ctx.get(f::PKT_TYPE) > OTHERHOST {
        return Err(errno::EINVAL);
    }
    env.ctx.set(f::PKT_TYPE, to);
    Ok(())
}

/// Room of at least `by` bytes before the packet: where its buffer has less, the
/// packet moves back in it.
pub fn make_headroom(env: &Env<'_>, by: u64) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    let missing = by.saturating_sub(data - env.hard_start.get());
    if missing > env.hard_end.get() - end {
        return Err(errno::ENOMEM);
    }
    if missing != 0 {
        copy(data + missing, data, end - data);
        set_skb_data(env, data + missing, end + missing);
        env.mac.set(env.mac.get() + missing);
        env.network.set(env.network.get() + missing);
    }
    Ok(())
}

/// Opens `by` zero bytes at `off`: what lies before moves towards the headroom.
pub(super) fn grow(env: &Env<'_>, off: u64, by: u64) -> Result<(), i32> {
    make_headroom(env, by)?;
    let (data, end) = skb_span(env);
    if off > end - data {
        return Err(errno::ENOMEM);
    }
    copy(data - by, data, off);
    bytes_mut(data - by + off, by).fill(0);
    set_skb_data(env, data - by, end);
    env.mac.set(env.mac.get() - by);
    env.network.set(env.network.get() - by);
    Ok(())
}

/// Takes `by` bytes out at `off`.
pub(super) fn shrink(env: &Env<'_>, off: u64, by: u64) -> Result<(), i32> {
    let (data, end) = skb_span(env);
    if off + by > end - data {
        return Err(errno::ENOMEM);
    }
    copy(data + by, data, off);
    set_skb_data(env, data + by, end);
    env.mac.set(env.mac.get() + by);
    env.network.set(env.network.get() + by);
    Ok(())
}
