//! The kernel's format strings for programs (`bpf_bprintf_prepare`): `%d %i %u %x
//! %X` with `l` or `ll`, `%c`, `%s` (`%pks`, `%pus`), `%p` (`%px`, `%pK` …),
//! `%pi4 %pI4 %pi6 %pI6`, `%%`; flags `0`, `+`, `-`, space, and a width.
use crate::env::Env;
use crate::memory::{bytes_at, load_u64, text_at};
use bpf_core::uapi::errno;

/// The most values of one call (`MAX_BPRINTF_VARARGS`).
const VALUES_MAX: u64 = 12;
/// The widest field: more is cut, so that the format can't make us busy.
const WIDTH_MAX: usize = 1024;

/// The values to be printed.
pub struct Values {
    list: [u64; VALUES_MAX as usize],
    len: usize,
}

impl Values {
    /// Values in registers.
    pub fn registers(v: [u64; 3]) -> Self {
        let mut list = [0; VALUES_MAX as usize];
        for (to, from) in list.iter_mut().zip(v) {
            *to = from;
        }
        Self { list, len: 3 }
    }

    /// An array of values in memory; EINVAL unless it has whole values, at most
    /// twelve.
    pub fn array(at: u64, size: u64) -> Result<Self, i32> {
        if !size.is_multiple_of(8) || size > VALUES_MAX * 8 || (size != 0 && at == 0) {
            return Err(errno::EINVAL);
        }
        let len = (size / 8) as usize;
        let mut list = [0; VALUES_MAX as usize];
        for (i, v) in list.iter_mut().take(len).enumerate() {
            *v = load_u64(at + i as u64 * 8);
        }
        Ok(Self { list, len })
    }

    fn get(&self, i: usize) -> Result<u64, i32> {
        self.list
            .get(..self.len)
            .and_then(|l| l.get(i))
            .copied()
            .ok_or(errno::EINVAL)
    }
}

/// Text as far as there is room; the length counts on.
struct Out<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn push(&mut self, b: u8) {
        if self.len + 1 < self.buf.len()
            && let Some(to) = self.buf.get_mut(self.len)
        {
            *to = b;
        }
        self.len += 1;
    }

    /// Text that the kernel makes before it prints: where there is no more room
    /// for it, it does not count either.
    fn push_prepared(&mut self, text: &[u8]) {
        if self.len < self.buf.len() {
            text.iter().for_each(|&b| self.push(b));
        }
    }

    /// The final zero.
    fn finish(self) -> usize {
        let end = self.len.min(self.buf.len().saturating_sub(1));
        if let Some(to) = self.buf.get_mut(end) {
            *to = 0;
        }
        self.len
    }
}

/// Flags and width of one conversion.
#[derive(Default)]
struct Spec {
    zero: bool,
    plus: bool,
    left: bool,
    space: bool,
    width: usize,
}

/// Prints into `out` with a final zero; answers the length that the whole text
/// has without it. EINVAL for a format that the kernel would refuse.
pub fn print(env: &Env<'_>, out: &mut [u8], fmt: &[u8], values: &Values) -> Result<usize, i32> {
    let mut out = Out { buf: out, len: 0 };
    let mut rest = fmt;
    let mut used = 0;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        let printable = matches!(b, b'\t'..=b'\r' | b' '..=b'~' | 0x80..);
        if !printable {
            return Err(errno::EINVAL);
        }
        if b != b'%' {
            out.push(b);
        } else if let Some((b'%', after)) = rest.split_first() {
            out.push(b'%');
            rest = after;
        } else {
            let value = values.get(used)?;
            used += 1;
            rest = conversion(env, &mut out, rest, value)?;
        }
    }
    Ok(out.finish())
}

/// One conversion after its `%`; answers what follows it.
fn conversion<'a>(
    env: &Env<'_>,
    out: &mut Out<'_>,
    fmt: &'a [u8],
    value: u64,
) -> Result<&'a [u8], i32> {
    let (spec, rest) = spec(fmt);
    let (&kind, after) = rest.split_first().ok_or(errno::EINVAL)?;
    match kind {
        b'p' => pointer(env, out, &spec, after, value),
        b's' => {
            field(out, &spec, "", text_at(env, value));
            Ok(after)
        }
        b'c' => {
            field(out, &spec, "", &[value as u8]);
            Ok(after)
        }
        _ => integer(out, &spec, rest, value),
    }
}

fn spec(fmt: &[u8]) -> (Spec, &[u8]) {
    let mut s = Spec::default();
    let mut rest = fmt;
    while let Some((&b, after)) = rest.split_first() {
        match b {
            b'0' => s.zero = true,
            b'+' => s.plus = true,
            b'-' => s.left = true,
            b' ' => s.space = true,
            _ => break,
        }
        rest = after;
    }
    while let Some((&b, after)) = rest.split_first().filter(|(b, _)| b.is_ascii_digit()) {
        s.width = (s.width * 10 + usize::from(b - b'0')).min(WIDTH_MAX);
        rest = after;
    }
    (s, rest)
}

fn integer<'a>(out: &mut Out<'_>, s: &Spec, fmt: &'a [u8], value: u64) -> Result<&'a [u8], i32> {
    let longs = fmt.iter().take(2).take_while(|&&b| b == b'l').count();
    let (&kind, after) = fmt
        .get(longs..)
        .and_then(|f| f.split_first())
        .ok_or(errno::EINVAL)?;
    let (unsigned, signed) = match longs {
        0 => (u64::from(value as u32), i64::from(value as i32)),
        _ => (value, value as i64),
    };
    let mut digits = Digits::default();
    let sign = match kind {
        b'd' | b'i' => {
            digits.number(signed.unsigned_abs(), 10, false);
            match signed {
                ..0 => "-",
                _ if s.plus => "+",
                _ if s.space => " ",
                _ => "",
            }
        }
        b'u' => digits.number(unsigned, 10, false),
        b'x' => digits.number(unsigned, 16, false),
        b'X' => digits.number(unsigned, 16, true),
        _ => return Err(errno::EINVAL),
    };
    field(out, s, sign, digits.text());
    Ok(after)
}

fn pointer<'a>(
    env: &Env<'_>,
    out: &mut Out<'_>,
    s: &Spec,
    fmt: &'a [u8],
    value: u64,
) -> Result<&'a [u8], i32> {
    let mut digits = Digits::default();
    let taken = match fmt {
        [b'k' | b'u', b's', ..] => {
            field(out, s, "", text_at(env, value));
            return Ok(fmt.get(2..).unwrap_or_default());
        }
        [b'i' | b'I', b'4' | b'6', ..] => {
            address(env, &mut digits, fmt, value);
            out.push_prepared(digits.text());
            return Ok(fmt.get(2..).unwrap_or_default());
        }
        // No address here has a name.
        [b'B', ..] => {
            name(&mut digits, value);
            out.push_prepared(digits.text());
            return Ok(fmt.get(1..).unwrap_or_default());
        }
        [b's' | b'S', ..] => {
            name(&mut digits, value);
            1
        }
        [b'K' | b'x', ..] => {
            digits.hex(value, 16);
            1
        }
        [b, ..] if !b.is_ascii_whitespace() && !b.is_ascii_punctuation() => {
            return Err(errno::EINVAL);
        }
        _ => {
            digits.hex(value, 16);
            0
        }
    };
    field(out, s, "", digits.text());
    Ok(fmt.get(taken..).unwrap_or_default())
}

/// What stands for the name of an address that has none, as no address here has.
fn name(digits: &mut Digits, value: u64) {
    digits.push(b'0');
    digits.push(b'x');
    digits.hex(value, (16 - value.leading_zeros() / 4).max(1));
}

/// `%pi4`, `%pI4`, `%pi6`, `%pI6`: the pointer names the address; zeros where
/// nothing is there.
fn address(env: &Env<'_>, digits: &mut Digits, fmt: &[u8], at: u64) {
    let four = fmt.get(1) == Some(&b'4');
    let plain = fmt.first() == Some(&b'i');
    let len = if four { 4 } else { 16 };
    let raw = bytes_at(env, at, len).unwrap_or(&[0; 16]);
    let raw = raw.get(..len as usize).unwrap_or_default();
    if four {
        for (i, &b) in raw.iter().enumerate() {
            if i > 0 {
                digits.push(b'.');
            }
            match plain {
                true => digits.zero_padded(b),
                false => drop(digits.number(b.into(), 10, false)),
            }
        }
        return;
    }
    for (i, pair) in raw.chunks(2).enumerate() {
        if i > 0 && !plain {
            digits.push(b':');
        }
        pair.iter().for_each(|&b| digits.hex(b.into(), 2));
    }
}

/// Padding, sign, text.
fn field(out: &mut Out<'_>, s: &Spec, sign: &str, text: &[u8]) {
    let pad = s.width.saturating_sub(sign.len() + text.len());
    let zeros = s.zero && !s.left;
    let before = if s.left || zeros { 0 } else { pad };
    (0..before).for_each(|_| out.push(b' '));
    sign.bytes().for_each(|b| out.push(b));
    (0..if zeros { pad } else { 0 }).for_each(|_| out.push(b'0'));
    text.iter().for_each(|&b| out.push(b));
    (0..if s.left { pad } else { 0 }).for_each(|_| out.push(b' '));
}

/// A short text of digits.
struct Digits {
    buf: [u8; 48],
    len: usize,
}

impl Default for Digits {
    fn default() -> Self {
        Self {
            buf: [0; 48],
            len: 0,
        }
    }
}

impl Digits {
    fn text(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, b: u8) {
        if let Some(to) = self.buf.get_mut(self.len) {
            *to = b;
            self.len += 1;
        }
    }

    fn number(&mut self, mut v: u64, base: u64, upper: bool) -> &'static str {
        let start = self.len;
        loop {
            self.push(digit(v % base, upper));
            v /= base;
            if v == 0 {
                break;
            }
        }
        if let Some(own) = self.buf.get_mut(start..self.len) {
            own.reverse();
        }
        ""
    }

    fn hex(&mut self, v: u64, digits: u32) {
        (0..digits)
            .rev()
            .for_each(|i| self.push(digit(v >> (i * 4) & 0xf, false)));
    }

    fn zero_padded(&mut self, b: u8) {
        [b / 100, b / 10 % 10, b % 10]
            .iter()
            .for_each(|d| self.push(b'0' + d));
    }
}

fn digit(v: u64, upper: bool) -> u8 {
    let c = char::from_digit(v as u32, 16).unwrap_or('0');
    let c = if upper { c.to_ascii_uppercase() } else { c };
    c as u8
}
