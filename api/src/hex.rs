//! Bytes written in hex.

use crate::error::{Error, Result};

/// Reads hex digits; white space, `:` and a `0x` in front of a word don't matter.
///
/// # Errors
/// EINVAL, with the position, for anything else and for an odd number of digits.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let is_gap = |c: char| c.is_whitespace() || c == ':';
    let mut digits = Vec::with_capacity(text.len());
    let mut begin = 0;
    for word in text.split_inclusive(is_gap) {
        let prefix = if word.starts_with("0x") { 2 } else { 0 };
        for (at, c) in word
            .char_indices()
            .skip(prefix)
            .filter(|(_, c)| !is_gap(*c))
        {
            let digit = c.to_digit(16).ok_or_else(|| bad_digit(c, begin + at))?;
            digits.push(digit as u8);
        }
        begin += word.len();
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::argument("bad hex: an odd number of digits"));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn bad_digit(c: char, at: usize) -> Error {
    Error::argument(format!(
        "bad hex: {c:?} at position {at} is not a hex digit"
    ))
}

/// Writes bytes as hex digits.
pub fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spaces_colons_and_prefix_do_not_matter() {
        for text in [
            "00ff1a",
            "0x00FF1a",
            " 00 ff 1a\n",
            "00:ff:1a",
            "0 0 f f 1 a",
            "0x00 0xff\n0x1A",
        ] {
            assert_eq!(decode(text).unwrap(), [0, 0xff, 0x1a], "{text}");
        }
        assert!(decode("").unwrap().is_empty());
        assert_eq!(encode(&[0, 0xff, 0x1a]), "00ff1a");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(
            decode("0g")
                .unwrap_err()
                .to_string()
                .contains("'g' at position 1")
        );
        assert!(decode("000").unwrap_err().to_string().contains("odd"));
        assert!(decode("é0").is_err());
    }
}
