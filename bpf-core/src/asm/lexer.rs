//! From a line to tokens.
use super::error::{AsmError, Pos};
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name, a register or a keyword.
    Word(&'t str),
    /// A number without its sign.
    Number(Number),
    /// Anything else.
    Symbol(&'t str),
    /// The end of the line.
    End,
}

/// A number as it was written, without its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub value: u64,
    pub hex: bool,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Symbol(text) => write!(f, "'{text}'"),
            Token::Number(n) if n.hex => write!(f, "'{:#x}'", n.value),
            Token::Number(n) => write!(f, "'{}'", n.value),
            Token::End => write!(f, "the end of the line"),
        }
    }
}

/// Longest first, so that the first that fits is the right one.
const SYMBOLS: [&str; 35] = [
    "s>>=", "s>=", "s<=", "s/=", "s%=", "<<=", ">>=", "s>", "s<", "+=", "-=", "*=", "/=", "|=",
    "&=", "%=", "^=", "==", "!=", ">=", "<=", "=", ">", "<", "&", "(", ")", "[", "]", "*", ",",
    "+", "-", ":", "@",
];

/// Splits a line, leaving out its comment. The last token is [`Token::End`].
pub(super) fn tokens(line: u32, text: &str) -> Result<Vec<(Token<'_>, Pos)>, AsmError> {
    let mut out = Vec::new();
    let mut rest = without_listing_prefix(text.trim_start()).trim_start();
    loop {
        let consumed = text.get(..text.len() - rest.len()).unwrap_or("");
        let column = consumed.chars().count() as u32 + 1;
        let pos = Pos { line, column };
        let glued = consumed.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if rest.is_empty() || starts_comment(rest, glued) {
            out.push((Token::End, pos));
            return Ok(out);
        }
        let (token, length) = token(rest, pos)?;
        out.push((token, pos));
        rest = rest.get(length..).unwrap_or("").trim_start();
    }
}

/// What follows the `12: (b7)` of a listing.
fn without_listing_prefix(text: &str) -> &str {
    let is_digit = |c: char| c.is_ascii_digit();
    let index = text.trim_start_matches(is_digit);
    match index.strip_prefix(':') {
        Some(rest) if index.len() < text.len() => {
            let rest = rest.trim_start();
            let opcode = rest.get(..4).unwrap_or("");
            let is_opcode = opcode.starts_with('(') && opcode.ends_with(')');
            let length = if is_opcode { 4 } else { 0 };
            rest.get(length..).unwrap_or(rest)
        }
        _ => text,
    }
}

fn starts_comment(rest: &str, glued: bool) -> bool {
    rest.starts_with(';') || rest.starts_with("//") || (rest.starts_with('#') && !glued)
}

/// The token at the start of `rest`, and its length in bytes.
fn token(rest: &str, pos: Pos) -> Result<(Token<'_>, usize), AsmError> {
    if let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    if rest.starts_with('#') {
        return Ok((Token::Symbol("#"), 1));
    }
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '$');
    let length = rest.find(is_end).unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or("");
    match word.chars().next() {
        None => {
            let odd = rest.chars().next().unwrap_or(' ');
            Err(pos.error(format!("'{odd}' has no meaning here")))
        }
        Some(first) if first.is_ascii_digit() => Ok((Token::Number(number(word, pos)?), length)),
        Some(_) => Ok((Token::Word(word), length)),
    }
}

fn number(word: &str, pos: Pos) -> Result<Number, AsmError> {
    let hex_digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let parsed = match hex_digits {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    let hex = hex_digits.is_some();
    match parsed {
        Ok(value) => Ok(Number { value, hex }),
        Err(_) => Err(pos.error(format!("'{word}' is not a number of at most 64 bits"))),
    }
}
