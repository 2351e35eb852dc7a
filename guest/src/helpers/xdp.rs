//! XDP packets: their bounds and bytes.
use super::Args;
use crate::env::Env;
use crate::memory::{bytes_mut, copy};
use crate::run::{ETH_HLEN, META_MAX};
use bpf_core::uapi::{errno, xdp_md as md};

/// Bytes at the start of the buffer that Linux keeps for itself
/// (`struct xdp_frame`).
const FRAME: u64 = 40;

/// Addresses of metadata, data and end.
fn span(env: &Env<'_>) -> (u64, u64, u64) {
    let field = |f| u64::from(env.ctx.get(f));
    (field(md::DATA_META), field(md::DATA), field(md::DATA_END))
}

/// An address moved by a signed 32-bit distance. Addresses are far from either
/// end of the 64 bits, so this can't wrap.
fn moved(at: u64, by: u64) -> u64 {
    at.wrapping_add_signed(i64::from(by as i32))
}

/// `bpf_xdp_adjust_head(ctx, delta)`.
pub fn adjust_head(env: &Env<'_>, [_, delta, ..]: Args) -> Result<(), i32> {
    let (meta, data, end) = span(env);
    let meta_len = data - meta;
    let new = moved(data, delta);
    let first = env.hard_start.get() + FRAME + meta_len;
    if new < first || new > end.wrapping_sub(ETH_HLEN.into()) {
        return Err(errno::EINVAL);
    }
    copy(new - meta_len, meta, meta_len);
    env.ctx.set(md::DATA, new as u32);
    env.ctx.set(md::DATA_META, (new - meta_len) as u32);
    Ok(())
}

/// `bpf_xdp_adjust_tail(ctx, delta)`: bytes that it adds are zero.
pub fn adjust_tail(env: &Env<'_>, [_, delta, ..]: Args) -> Result<(), i32> {
    let (_, data, end) = span(env);
    let new = moved(end, delta);
    if new > env.hard_end.get() || new < data + u64::from(ETH_HLEN) {
        return Err(errno::EINVAL);
    }
    if new > end {
        bytes_mut(end, new - end).fill(0);
    }
    env.ctx.set(md::DATA_END, new as u32);
    Ok(())
}

/// `bpf_xdp_adjust_meta(ctx, delta)`.
pub fn adjust_meta(env: &Env<'_>, [_, delta, ..]: Args) -> Result<(), i32> {
    let (meta, data, _) = span(env);
    let new = moved(meta, delta);
    if new < env.hard_start.get() + FRAME || new > data {
        return Err(errno::EINVAL);
    }
    let len = data - new;
    if !len.is_multiple_of(4) || len > META_MAX.into() {
        return Err(errno::EACCES);
    }
    env.ctx.set(md::DATA_META, new as u32);
    Ok(())
}

/// `bpf_xdp_get_buff_len(ctx)`.
pub fn buff_len(env: &Env<'_>, _: Args) -> u64 {
    let (_, data, end) = span(env);
    end - data
}

/// `bpf_xdp_load_bytes(ctx, offset, buf, len)`.
pub fn load(env: &Env<'_>, [_, off, to, len, _]: Args) -> Result<(), i32> {
    let at = place(env, off as u32, len as u32)?;
    copy(to, at, (len as u32).into());
    Ok(())
}

/// `bpf_xdp_store_bytes(ctx, offset, buf, len)`.
pub fn store(env: &Env<'_>, [_, off, from, len, _]: Args) -> Result<(), i32> {
    let at = place(env, off as u32, len as u32)?;
    copy(at, from, (len as u32).into());
    Ok(())
}

/// The address of `len` bytes at `off` in the packet.
fn place(env: &Env<'_>, off: u32, len: u32) -> Result<u64, i32> {
    if off > 0xffff || len > 0xffff {
        return Err(errno::EFAULT);
    }
    let (_, data, end) = span(env);
    if u64::from(off) + u64::from(len) > end - data {
        return Err(errno::EINVAL);
    }
    Ok(data + u64::from(off))
}
