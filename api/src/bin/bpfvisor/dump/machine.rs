//! Machine code as text.

use bpfvisor::hex;
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, SymbolResolver, SymbolResult,
};
use serde_json::{Value, json};
use std::io::{self, Write};

/// One machine instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its first byte, from the beginning of the code.
    pub offset: u32,
    /// In Intel's syntax.
    pub text: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Line {
    /// Prints it, with its bytes if asked to.
    pub fn write(&self, out: &mut impl Write, with_bytes: bool) -> io::Result<()> {
        if with_bytes {
            let bytes = hex::encode(&self.bytes);
            return writeln!(out, "{:>14x}:  {:<24}{}", self.offset, bytes, self.text);
        }
        writeln!(out, "{:>14x}:  {}", self.offset, self.text)
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({"offset": self.offset, "text": self.text, "bytes": hex::encode(&self.bytes)})
    }
}

/// Places in the code are named by their offset, as on the left of each line.
struct Offsets {
    base: u64,
    len: u64,
}

impl SymbolResolver for Offsets {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let offset = address.wrapping_sub(self.base);
        let inside = offset < self.len;
        inside.then(|| SymbolResult::with_string(address, format!("+{offset:x}")))
    }
}

/// The instructions of `code`, which lies at the address `base`.
pub fn disassemble(code: &[u8], base: u64) -> Vec<Line> {
    let names = Offsets {
        base,
        len: code.len() as u64,
    };
    let mut formatter = IntelFormatter::with_options(Some(Box::new(names)), None);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut lines = Vec::new();
    for insn in Decoder::with_ip(64, code, base, DecoderOptions::NONE) {
        let begin = insn.ip().wrapping_sub(base);
        let bytes = code.iter().skip(begin as usize).take(insn.len());
        let mut text = String::new();
        formatter.format(&insn, &mut text);
        lines.push(Line {
            offset: begin as u32,
            text,
            bytes: bytes.copied().collect(),
        });
    }
    lines
}
