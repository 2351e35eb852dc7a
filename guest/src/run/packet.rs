//! Where a packet lies.
use crate::env::Env;
use bpf_core::uapi::errno;
use bpfvisor_abi::op::Packet;

/// Shortest packet that programs over packets take (`ETH_HLEN`).
pub const ETH_HLEN: u32 = 14;

/// Addresses of a packet's buffer and data.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// First byte of the buffer.
    pub start: u64,
    /// One past its last.
    pub limit: u64,
    /// First byte of the data.
    pub data: u64,
    /// One past its last.
    pub end: u64,
}

/// Checks that the packet lies in the shared slot, below 4 GiB, and the data in
/// its buffer.
#[inline(always)]
pub fn bounds(env: &Env<'_>, p: &Packet) -> Result<Bounds, i32> {
    let start = env
        .rt
        .shared
        .addr(p.off.into(), p.cap.into())
        .ok_or(errno::EFAULT)?;
    let limit = start + u64::from(p.cap);
    if limit > 1 << 32 || p.data > p.cap || p.len > p.cap - p.data {
        return Err(errno::EFAULT);
    }
    let data = start + u64::from(p.data);
    Ok(Bounds {
        start,
        limit,
        data,
        end: data + u64::from(p.len),
    })
}

/// Copies the caller's context structure in. A caller's structure may be longer
/// than ours if the rest is zero (E2BIG otherwise), or shorter.
pub fn context_in<const N: usize>(env: &Env<'_>, p: &Packet) -> Result<[u8; N], i32> {
    let mut ctx = [0; N];
    let given = env
        .rt
        .shared
        .bytes(p.ctx_or_target.into(), p.ctx_len_or_via.into())
        .ok_or(errno::EFAULT)?;
    let (known, rest) = given.split_at(given.len().min(N));
    if rest.iter().any(|&b| b != 0) {
        return Err(errno::E2BIG);
    }
    ctx.get_mut(..known.len())
        .ok_or(errno::EINVAL)?
        .copy_from_slice(known);
    Ok(ctx)
}

/// Copies the context structure out, as far as the caller has room.
pub fn context_out(env: &Env<'_>, p: &Packet, ctx: &[u8]) -> Result<(), i32> {
    let fit = ctx
        .get(..ctx.len().min(p.ctx_len_or_via as usize))
        .unwrap_or_default();
    env.rt
        .shared
        .copy_in(p.ctx_or_target.into(), fit)
        .ok_or(errno::EFAULT)
}

/// The 32-bit field at a byte offset.
pub fn field(ctx: &[u8], off: u32) -> u32 {
    let at = off as usize;
    let word = ctx
        .get(at..at + 4)
        .and_then(|b| <[u8; 4]>::try_from(b).ok());
    word.map_or(0, u32::from_le_bytes)
}

/// Sets the 32-bit field at a byte offset.
pub fn set_field(ctx: &mut [u8], off: u32, value: u32) {
    let at = off as usize;
    if let Some(b) = ctx.get_mut(at..at + 4) {
        b.copy_from_slice(&value.to_le_bytes());
    }
}
