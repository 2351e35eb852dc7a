//! Keys and values as bpftool takes them: `key hex 01 00 00 00 value 7 0 0 0`.

use anyhow::{Result, anyhow, bail};
use bpfvisor::uapi::elem_flags;

/// What the words after a map's name say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub flags: u64,
}

/// Reads them.
pub fn parse(words: &[String]) -> Result<Words> {
    let mut out = Words::default();
    let mut rest = words.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        let into = match word {
            "key" => &mut out.key,
            "value" => &mut out.value,
            "any" => {
                out.flags = elem_flags::ANY;
                continue;
            }
            "noexist" => {
                out.flags = elem_flags::NOEXIST;
                continue;
            }
            "exist" => {
                out.flags = elem_flags::EXIST;
                continue;
            }
            other => bail!("{other:?}: expected key, value, any, exist or noexist"),
        };
        let hex = rest.next_if_eq(&"hex").is_some();
        let is_byte = |w: &&str| !matches!(*w, "key" | "value" | "any" | "exist" | "noexist");
        while let Some(byte) = rest.next_if(is_byte) {
            into.push(parse_byte(byte, hex)?);
        }
    }
    Ok(out)
}

fn parse_byte(text: &str, hex: bool) -> Result<u8> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if hex => (text, 16),
        None => (text, 10),
    };
    u8::from_str_radix(digits, radix).map_err(|_| anyhow!("{text:?} is not a byte"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(text: &str) -> Result<Words> {
        parse(&text.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn bytes_are_decimal_unless_told() {
        let got = words("key hex 0a ff value 10 0x10 noexist").unwrap();
        assert_eq!((got.key, got.value), (vec![10, 255], vec![10, 16]));
        assert_eq!(got.flags, elem_flags::NOEXIST);
        for bad in ["key 256", "key zz", "keys 1", "1 2", "key hex 100"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
