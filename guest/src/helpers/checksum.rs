//! Internet checksums (RFC 1071), with the kernel's choice between the two zeros.
use super::Args;
use super::skb_bytes::place;
use crate::env::Env;
use crate::memory::{bytes, bytes_mut};
use bpf_core::uapi::errno;

/// `BPF_F_HDR_FIELD_MASK` and what else `bpf_l4_csum_replace` takes:
/// `BPF_F_PSEUDO_HDR`, `BPF_F_MARK_MANGLED_0`, `BPF_F_MARK_ENFORCE`,
/// `BPF_F_IPV6`.
const FIELD: u64 = 0xf;
const PSEUDO_HDR: u64 = 0x10;
const MARK_MANGLED_0: u64 = 0x20;
const MARK_ENFORCE: u64 = 0x40;
const IPV6: u64 = 0x80;
/// What stands for a computed checksum of 0 where 0 means none.
const MANGLED_0: u16 = 0xffff;

/// Adds with the carry coming back in.
fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry.into())
}

fn sub(a: u32, b: u32) -> u32 {
    add(a, !b)
}

/// 32 bits to 16, without inverting.
fn to_16(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// 32 bits to 16, inverted (`csum_fold`).
fn fold(sum: u32) -> u16 {
    !to_16(sum)
}

/// Sum of 32-bit words in memory order (`csum_partial`); zeros fill up the last.
fn partial(data: &[u8], seed: u32) -> u32 {
    let (words, rest) = data.as_chunks::<4>();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let words = words.iter().chain([&last]);
    let sum: u64 = words
        .map(|w| u64::from(u32::from_ne_bytes(*w)))
        .sum::<u64>()
        + u64::from(seed);
    add((sum >> 32) as u32, sum as u32)
}

/// `bpf_csum_diff(from, from_size, to, to_size, seed)`.
pub fn diff(_env: &Env<'_>, [from, from_size, to, to_size, seed]: Args) -> u64 {
    let (from_size, to_size) = (u64::from(from_size as u32), u64::from(to_size as u32));
    let (from, to, seed) = (bytes(from, from_size), bytes(to, to_size), seed as u32);
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => sub(partial(to, seed), partial(from, 0)),
        (true, false) => partial(to, seed),
        (false, true) => !partial(from, !seed),
        (true, true) => seed,
    };
    to_16(sum).into()
}

/// `bpf_csum_update(skb, csum)`: no packet here has a checksum of its own.
pub fn update(_env: &Env<'_>, _: Args) -> Result<u64, i32> {
    Err(errno::ENOTSUPP)
}

/// `BPF_CSUM_LEVEL_…` and `SKB_MAX_CSUM_LEVEL`.
const LEVEL_QUERY: u64 = 0;
const LEVEL_INC: u64 = 1;
const LEVEL_DEC: u64 = 2;
const LEVEL_RESET: u64 = 3;
const LEVEL_MAX: u8 = 3;

/// `bpf_csum_level(skb, level)`: how many checksums the device vouched for. None
/// (`CHECKSUM_NONE`) until a program says so.
pub fn level(env: &Env<'_>, [_, what, ..]: Args) -> Result<u64, i32> {
    let level = env.csum_level.get();
    env.csum_level.set(match what {
        LEVEL_QUERY => return level.map(u64::from).ok_or(errno::EACCES),
        LEVEL_INC => Some(level.map_or(0, |l| LEVEL_MAX.min(l + 1))),
        LEVEL_DEC => level.and_then(|l| l.checked_sub(1)),
        LEVEL_RESET => None,
        _ => return Err(errno::EINVAL),
    });
    Ok(0)
}

/// `bpf_l3_csum_replace(skb, offset, from, to, flags)`.
pub fn l3_replace(env: &Env<'_>, [_, off, from, to, flags]: Args) -> Result<(), i32> {
    if flags & !FIELD != 0 {
        return Err(errno::EINVAL);
    }
    let at = field(env, off)?;
    let new = replaced(read(at), from, to as u32, flags)?;
    write(at, new);
    Ok(())
}

/// `bpf_l4_csum_replace(skb, offset, from, to, flags)`.
pub fn l4_replace(env: &Env<'_>, [_, off, from, to, flags]: Args) -> Result<(), i32> {
    if flags & !(FIELD | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE | IPV6) != 0 {
        return Err(errno::EINVAL);
    }
    let at = field(env, off)?;
    let old = read(at);
    let may_be_none = flags & MARK_MANGLED_0 != 0;
    if may_be_none && flags & MARK_ENFORCE == 0 && old == 0 {
        return Ok(());
    }
    let new = replaced(old, from, to as u32, flags)?;
    write(
        at,
        if may_be_none && new == 0 {
            MANGLED_0
        } else {
            new
        },
    );
    Ok(())
}

/// The checksum after a field changed: of 2 or 4 bytes, or by a difference.
fn replaced(old: u16, from: u64, to: u32, flags: u64) -> Result<u16, i32> {
    let sum = u32::from(!old);
    match flags & FIELD {
        0 if from != 0 => Err(errno::EINVAL),
        0 => Ok(fold(add(to, sum))),
        2 => Ok(fold(add(
            sub(sum, u32::from(from as u16)),
            u32::from(to as u16),
        ))),
        4 => Ok(fold(add(sub(sum, from as u32), to))),
        _ => Err(errno::EINVAL),
    }
}

/// The address of a 16-bit checksum field.
fn field(env: &Env<'_>, off: u64) -> Result<u64, i32> {
    let off = off as u32;
    if off > 0xffff || !off.is_multiple_of(2) {
        return Err(errno::EFAULT);
    }
    place(env, off, 2)
}

fn read(at: u64) -> u16 {
    bytes(at, 2)
        .as_chunks::<2>()
        .0
        .first()
        .map_or(0, |b| u16::from_ne_bytes(*b))
}

fn write(at: u64, value: u16) {
    bytes_mut(at, 2).copy_from_slice(&value.to_ne_bytes());
}
