//! Bytes written in hex.

use crate::error::{Error, Result};

/// Reads hex digits; white space, `:` and a `0x` in front don't matter.
///
/// # Errors
/// EINVAL, with the position, for anything else and for an odd number of digits.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() || c == ':' {
            continue;
        }
        let Some(digit) = c.to_digit(16) else {
            return Err(Error::argument(format!(
                "bad hex: {c:?} at position {at} is not a hex digit"
            )));
        };
        match high.take() {
            None => high = Some(digit as u8),
            Some(h) => out.push(h << 4 | digit as u8),
        }
    }
    if high.is_some() {
        return Err(Error::argument("bad hex: an odd number of digits"));
    }
    Ok(out)
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
