//! The text vectors: what they say, and how they become programs.
//!
//! Any engine that runs programs can go through [`cases`] and compare.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub mod random;

use bpf_core::asm::assemble;
use bpf_core::insn::Insn;
use bpf_core::interp::hosted::Hosted;
use bpf_core::program::{FlatMemory, Program, ProgramDesc, TypeInfo};
use bpf_core::uapi::ProgType;
use bpf_core::verifier::{Options, Reject, verify};

/// What a case must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// R0, and the memory afterwards.
    Done { r0: u64, memory: Vec<u8> },
    /// An error whose text contains this. No verifier accepts such a program.
    Error(String),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub insns: Vec<Insn>,
    /// R1 points to it, R2 is its length.
    pub memory: Vec<u8>,
    /// What legacy packet loads read. R1 is then a context that the program may
    /// only put into R6.
    pub packet: Option<Vec<u8>>,
    pub want: Want,
}

/// All cases: whole programs, and single instructions made into programs.
pub fn cases() -> Vec<Case> {
    let mut all = programs(include_str!("../vectors/programs.txt"));
    all.extend(operations(include_str!("../vectors/ops.txt")));
    all
}

/// Bytes from hex digits, with or without spaces.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hex digit") as u8)
        .collect();
    assert!(
        digits.len().is_multiple_of(2),
        "odd number of digits: {text}"
    );
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// Instructions from bytes.
pub fn slots(bytes: &[u8]) -> Vec<Insn> {
    assert!(bytes.len().is_multiple_of(8), "not whole instructions");
    let whole = bytes.chunks(8).map(|slot| slot.try_into().unwrap());
    whole.map(Insn::from_bytes).collect()
}

/// A number in decimal or, after `0x`, in hexadecimal.
pub fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The cases of `vectors/programs.txt`, whose head says how it is written.
fn programs(text: &str) -> Vec<Case> {
    let mut parts = text.split("\n== ");
    parts.next();
    parts.map(program).collect()
}

fn program(text: &str) -> Case {
    let (name, body) = text.split_once('\n').unwrap();
    let field = |key: &str| {
        let mut lines = body.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.map(str::to_owned)
    };
    let is_code = |line: &&str| !line.starts_with(['.', '#']);
    let code: Vec<&str> = body.lines().filter(is_code).collect();
    let insns = assemble(&code.join("\n")).unwrap_or_else(|e| panic!("{name}: {e}"));
    let memory = match field(".mem").as_deref() {
        None | Some("ctx") => Vec::new(),
        Some(text) => hex(text),
    };
    let want = match (field(".r0"), field(".error")) {
        (Some(r0), None) => Want::Done {
            r0: number(&r0),
            memory: field(".after").map_or(memory.clone(), |text| hex(&text)),
        },
        (None, Some(message)) => Want::Error(message),
        _ => panic!("{name}: wants .r0 or .error"),
    };
    Case {
        name: name.to_owned(),
        insns,
        memory,
        packet: field(".packet").map(|text| hex(&text)),
        want,
    }
}

/// The cases of `vectors/ops.txt`, whose head says how it is written.
fn operations(text: &str) -> Vec<Case> {
    let lines = text.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(operation).collect()
}

fn operation(line: &str) -> Case {
    let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [insn, before, result] = parts[..] else {
        panic!("{line}");
    };
    let (r1, r2) = before.split_once(", ").unwrap();
    let (end, r0) = match result {
        "taken" => ("r0 = 0\nexit", 1),
        "not" => ("r0 = 0\nexit", 0),
        value => ("r0 = r1\nexit", number(value)),
    };
    let text = format!("r1 = {r1} ll\nr2 = {r2} ll\nr0 = 1\n{insn}\n{end}");
    let memory = Vec::new();
    Case {
        name: line.to_owned(),
        insns: assemble(&text).unwrap_or_else(|e| panic!("{line}: {e}")),
        memory: memory.clone(),
        packet: None,
        want: Want::Done { r0, memory },
    }
}

/// A program that no verifier saw, as far as the interpreter needs it.
pub fn raw(insns: Vec<Insn>) -> Program {
    Program {
        insns,
        ..Program::default()
    }
}

/// The verifier's answer, for memory of exactly this length.
pub fn verified(insns: &[Insn], memory: usize, packet: bool) -> Result<Program, Reject> {
    let length = memory as u32;
    let desc = ProgramDesc {
        insns,
        prog_type: match packet {
            true => ProgType::SchedCls,
            false => ProgType::Flat,
        },
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory {
            min: length,
            max: length,
        },
        types: TypeInfo::default(),
    };
    let options = Options {
        log_level: 0,
        insn_budget: 1_000_000,
        spent: &|| None,
    };
    verify(&desc, &Hosted::new(), &options).verdict
}
