//! Reading the files.

use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::uapi::ProgType;

/// One program and what is expected.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Its type.
    pub prog_type: ProgType,
    /// `expected_attach_type`.
    pub attach_type: u32,
    /// Its license is GPL.
    pub gpl: bool,
    /// Loaded with `BPF_F_STRICT_ALIGNMENT`.
    pub strict: bool,
    /// Its instructions, maps by handle.
    pub insns: Vec<Insn>,
    /// `accept`, `reject ERRNO` or `unsupported`.
    pub expected: String,
}

/// All cases of a file, in either spelling.
///
/// # Errors
/// The case that can't be read, and why.
pub fn parse(file: &str) -> Result<Vec<Case>, String> {
    let (lines, blocks) = match file.find("\n@ ") {
        Some(at) => file.split_at(at),
        None => (file, ""),
    };
    let lines = lines
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(line);
    lines
        .chain(blocks.split("\n@ ").skip(1).map(block))
        .collect()
}

/// One case of the one-line spelling; without a verdict, `expected` is empty.
///
/// # Errors
/// What can't be read.
pub fn line(line: &str) -> Result<Case, String> {
    let missing = || format!("not a case: {line}");
    let (head, rest) = line.split_once(" | ").ok_or_else(missing)?;
    let (text, expected) = match rest.rsplit_once(" = ") {
        Some((text, verdict)) if is_verdict(verdict) => (text, verdict),
        _ => (rest, ""),
    };
    case(head, &expand(text), expected)
}

fn is_verdict(text: &str) -> bool {
    matches!(text, "accept" | "unsupported") || text.starts_with("reject ")
}

fn block(block: &str) -> Result<Case, String> {
    let missing = || format!("not a case: {block}");
    let (head, rest) = block.split_once('\n').ok_or_else(missing)?;
    let (text, expected) = rest.split_once("\n= ").ok_or_else(missing)?;
    case(head, text, expected)
}

fn case(head: &str, text: &str, expected: &str) -> Result<Case, String> {
    let (kind, name) = head.split_once(' ').unwrap_or((head, ""));
    let (kind, strict) = without(kind, "!strict");
    let (kind, prop) = without(kind, "!prop");
    let (kind, attach_type) = kind.split_once('@').unwrap_or((kind, "0"));
    Ok(Case {
        name: name.to_owned(),
        prog_type: ProgType::from_name(kind).ok_or(format!("{head}: no type {kind}"))?,
        attach_type: (attach_type.parse()).map_err(|e| format!("{head}: {attach_type}: {e}"))?,
        gpl: !prop,
        strict,
        insns: instructions(text).map_err(|e| format!("{head}: {e}"))?,
        expected: expected.trim().to_owned(),
    })
}

fn without<'t>(text: &'t str, end: &str) -> (&'t str, bool) {
    match text.strip_suffix(end) {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// Assembles. `raw HEX` is an instruction as its eight bytes, for those that have
/// no spelling.
fn instructions(text: &str) -> Result<Vec<Insn>, String> {
    const PLACE: i32 = 0x5afe_0000;
    let mut raw = Vec::new();
    let mut plain = String::new();
    for line in text.lines() {
        match line.split_once("raw ") {
            Some((label, hex)) => {
                let word =
                    u64::from_str_radix(hex.trim(), 16).map_err(|e| format!("{hex}: {e}"))?;
                plain += &format!("{label}r0 = {}\n", PLACE + raw.len() as i32);
                raw.push(Insn::from_bytes(word.to_be_bytes()));
            }
            None => {
                plain += line;
                plain.push('\n');
            }
        }
    }
    let mut insns = assemble(&plain).map_err(|e| format!("{e}"))?;
    for insn in &mut insns {
        let nr = insn.imm.wrapping_sub(PLACE) as usize;
        if let (0xb7, Some(r)) = (insn.opcode, raw.get(nr)) {
            *insn = *r;
        }
    }
    Ok(insns)
}

/// Writes the shorthand out, one instruction a line: `look M` looks key 0 up in
/// map M, `val M` leaves for `out` if there is no value, `pkt N` checks N bytes
/// from R2 of an XDP packet, `rnd R` makes R unknown, `resv N` reserves ring
/// buffer memory, `ret N` ends.
pub fn expand(text: &str) -> String {
    let mut out = String::new();
    for statement in text.split(';').map(str::trim).filter(|s| !s.is_empty()) {
        let (label, rest) = match statement.split_once(": ") {
            Some((label, rest)) => (Some(label), rest),
            None => (None, statement),
        };
        if let Some(label) = label {
            out += &format!("{label}: ");
        }
        let (word, arg) = rest.split_once(' ').unwrap_or((rest, "0"));
        out += &shorthand(word, arg).unwrap_or_else(|| rest.into());
        out.push('\n');
    }
    out
}

fn shorthand(word: &str, arg: &str) -> Option<String> {
    let lookup = "*(u64 *)(r10 -8) = 0\nr2 = r10\nr2 += -8";
    Some(match word {
        "look" => format!("{lookup}\nr1 = map[id:{arg}]\ncall bpf_map_lookup_elem"),
        "val" => {
            format!("{lookup}\nr1 = map[id:{arg}]\ncall bpf_map_lookup_elem\nif r0 == 0 goto out")
        }
        "pkt" => format!(
            "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += {arg}\nif r4 > r3 goto out"
        ),
        "rnd" => format!("call bpf_get_prandom_u32\n{arg} = r0"),
        "resv" => format!("r1 = map[id:5]\nr2 = {arg}\nr3 = 0\ncall bpf_ringbuf_reserve"),
        "ret" => format!("r0 = {arg}\nexit"),
        _ => return None,
    })
}
