//! Bytes of an `__sk_buff`'s packet.
use super::{Args, skb_hash};
use crate::env::Env;
use crate::memory::{bytes_mut, copy};
use crate::run::skb_span;
use bpf_core::uapi::errno;

/// `BPF_F_RECOMPUTE_CSUM` and `BPF_F_INVALIDATE_HASH`.
const RECOMPUTE_CSUM: u64 = 1;
const INVALIDATE_HASH: u64 = 2;
/// `BPF_HDR_START_MAC` and `BPF_HDR_START_NET`.
const START_MAC: u64 = 0;
const START_NET: u64 = 1;

/// `bpf_skb_load_bytes(skb, offset, to, len)`: zeros where it fails.
pub fn load(env: &Env<'_>, [_, off, to, len, _]: Args) -> Result<(), i32> {
    let (data, _) = skb_span(env);
    let off = off as u32;
    let from = (off <= i32::MAX as u32).then(|| data + u64::from(off));
    fetch(env, from, to, (len as u32).into())
}

/// `bpf_skb_load_bytes_relative(skb, offset, to, len, start_header)`.
pub fn load_relative(env: &Env<'_>, [_, off, to, len, start]: Args) -> Result<(), i32> {
    let start = match start as u32 as u64 {
        START_MAC => Some(env.mac.get()),
        START_NET => Some(env.network.get()),
        _ => None,
    };
    let off = u64::from(off as u32);
    let from = start.filter(|_| off <= 0xffff).map(|s| s + off);
    fetch(env, from, to, (len as u32).into())
}

fn fetch(env: &Env<'_>, from: Option<u64>, to: u64, len: u64) -> Result<(), i32> {
    let (_, end) = skb_span(env);
    match from.filter(|f| f + len <= end) {
        Some(from) => {
            copy(to, from, len);
            Ok(())
        }
        None => {
            bytes_mut(to, len).fill(0);
            Err(errno::EFAULT)
        }
    }
}

/// `bpf_skb_store_bytes(skb, offset, from, len, flags)`.
pub fn store(env: &Env<'_>, [_, off, from, len, flags]: Args) -> Result<(), i32> {
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Err(errno::EINVAL);
    }
    let len = u64::from(len as u32);
    copy(place(env, off as u32, len)?, from, len);
    if flags & INVALIDATE_HASH != 0 {
        skb_hash::clear(env);
    }
    Ok(())
}

/// The address of `len` bytes at `off` in the packet; EFAULT if it is shorter.
pub fn place(env: &Env<'_>, off: u32, len: u64) -> Result<u64, i32> {
    let (data, end) = skb_span(env);
    let at = data + u64::from(off);
    if off > i32::MAX as u32 || at + len > end {
        Err(errno::EFAULT)
    } else {
        Ok(at)
    }
}
