//! Format strings of `bpf_snprintf`.

/// Whether the kernel would print this format with so many 64-bit arguments.
pub(crate) fn fits(text: &[u8], args: u64) -> bool {
    let mut rest = text;
    let mut used = 0;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if !matches!(c, b'\t'..=b'\r' | b' '..=b'~' | 0x80..) {
            return false;
        }
        if c != b'%' {
            continue;
        }
        if let Some((b'%', after)) = rest.split_first() {
            rest = after;
            continue;
        }
        used += 1;
        match conversion(rest) {
            Some(after) if used <= args => rest = after,
            _ => return false,
        }
    }
    true
}

/// One conversion, from behind its `%`: what follows it.
fn conversion(mut s: &[u8]) -> Option<&[u8]> {
    while let Some((b'0' | b'+' | b'-' | b' ', after)) = s.split_first() {
        s = after;
    }
    while let Some((b'0'..=b'9', after)) = s.split_first() {
        s = after;
    }
    let (&c, after) = s.split_first()?;
    match c {
        b'p' => pointer(after),
        b's' | b'c' => Some(after),
        b'l' => {
            let after = after.strip_prefix(b"l").unwrap_or(after);
            integer(after)
        }
        _ => integer(s),
    }
}

fn integer(s: &[u8]) -> Option<&[u8]> {
    let (&c, after) = s.split_first()?;
    matches!(c, b'i' | b'd' | b'u' | b'x' | b'X').then_some(after)
}

fn pointer(s: &[u8]) -> Option<&[u8]> {
    let ends = |c: &u8| c.is_ascii_whitespace() || c.is_ascii_punctuation();
    match s.first() {
        None => Some(s),
        Some(b'k' | b'u') => s.get(1..)?.strip_prefix(b"s"),
        Some(b'K' | b'x' | b's' | b'S' | b'B') => s.get(1..),
        Some(b'i' | b'I') => matches!(s.get(1), Some(b'4' | b'6')).then(|| s.get(2..))?,
        Some(c) if ends(c) => Some(s),
        Some(_) => None,
    }
}
