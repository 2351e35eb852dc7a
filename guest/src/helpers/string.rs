//! Strings and numbers.
use super::Args;
use super::format::{self, Values};
use crate::env::Env;
use crate::memory::{bytes, bytes_mut, c_string, store_u64};
use bpf_core::uapi::errno;

/// The longest text that a number is looked for in.
const DIGITS_MAX: usize = 63;

/// `bpf_strtol(buf, len, flags, res)`: characters consumed.
pub fn to_long(_env: &Env<'_>, [buf, len, flags, res, _]: Args) -> Result<u64, i32> {
    store_u64(res, 0);
    let n = parse(bytes(buf, len), flags)?;
    let value = match n.negative {
        true if n.value > 1 << 63 => return Err(errno::ERANGE),
        true => n.value.wrapping_neg(),
        false if n.value > i64::MAX as u64 => return Err(errno::ERANGE),
        false => n.value,
    };
    store_u64(res, value);
    Ok(n.consumed)
}

/// `bpf_strtoul(buf, len, flags, res)`: characters consumed.
pub fn to_unsigned_long(_env: &Env<'_>, [buf, len, flags, res, _]: Args) -> Result<u64, i32> {
    store_u64(res, 0);
    let n = parse(bytes(buf, len), flags)?;
    if n.negative {
        return Err(errno::EINVAL);
    }
    store_u64(res, n.value);
    Ok(n.consumed)
}

struct Number {
    value: u64,
    negative: bool,
    consumed: u64,
}

fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0x0b || b == 0xa0
}

/// Spaces, a sign, digits in the base of `flags` (0 finds out).
fn parse(buf: &[u8], flags: u64) -> Result<Number, i32> {
    let base = flags & 0x1f;
    if flags != base || !matches!(base, 0 | 8 | 10 | 16) {
        return Err(errno::EINVAL);
    }
    let spaces = buf.iter().take_while(|&&b| is_space(b)).count();
    let rest = buf.get(spaces..).unwrap_or_default();
    let (negative, rest) = match rest.split_first() {
        Some((b'-', after)) => (true, after),
        _ => (false, rest),
    };
    let text = rest.get(..rest.len().min(DIGITS_MAX)).unwrap_or_default();
    let (base, prefix) = radix(text, base);
    let (mut value, mut count, mut overflow) = (0u64, 0, false);
    for &b in text.iter().skip(prefix) {
        let Some(digit) = char::from(b).to_digit(base) else {
            break;
        };
        let next = value
            .checked_mul(base.into())
            .and_then(|v| v.checked_add(digit.into()));
        overflow |= next.is_none();
        value = next.unwrap_or(0);
        count += 1;
    }
    match (overflow, count) {
        (true, _) => Err(errno::ERANGE),
        (_, 0) => Err(errno::EINVAL),
        _ => {
            let consumed = (buf.len() - rest.len() + prefix + count) as u64;
            Ok(Number {
                value,
                negative,
                consumed,
            })
        }
    }
}

/// The base, and how many characters its prefix has.
fn radix(text: &[u8], base: u64) -> (u32, usize) {
    let hex = matches!(text, [b'0', b'x' | b'X', ..]);
    match base {
        0 if hex && text.get(2).is_some_and(u8::is_ascii_hexdigit) => (16, 2),
        0 if text.first() == Some(&b'0') => (8, 0),
        0 => (10, 0),
        16 if hex => (16, 2),
        b => (b as u32, 0),
    }
}

/// `bpf_strncmp(s1, s1_size, s2)`: -1, 0 or 1.
pub fn compare(_env: &Env<'_>, [s1, len, s2, ..]: Args) -> u64 {
    let a = bytes(s1, u64::from(len as u32));
    let b = c_string(s2, a.len());
    for (i, &x) in a.iter().enumerate() {
        let y = b.get(i).copied().unwrap_or(0);
        if x != y {
            return if x < y { -1i64 as u64 } else { 1 };
        }
        if x == 0 {
            break;
        }
    }
    0
}

/// `bpf_snprintf(str, str_size, fmt, data, data_len)`: length that the whole text
/// has, with its final zero.
pub fn snprintf(env: &Env<'_>, [out, size, fmt, data, len]: Args) -> Result<u64, i32> {
    let values = Values::array(data, u64::from(len as u32))?;
    let out = bytes_mut(out, u64::from(size as u32));
    let fmt = c_string(fmt, usize::MAX);
    let n = format::print(env, out, fmt, &values)?;
    Ok(n as u64 + 1)
}
