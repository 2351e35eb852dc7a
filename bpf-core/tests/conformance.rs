//! Instruction-level conformance vectors that are not part of the project: one
//! JSON object per line, with `name`, `kind`, `prog_hex`, `mem_hex`,
//! `expected_r0` and whether the kernel passes (`kernel_pass`).
//! The environment variable `BPFVISOR_CONFORMANCE` names the file.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;
mod jit_support;

use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::insn::{Insn, build};
use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Options, Trap};
use bpf_core::jit::JitError;
use bpf_core::program::Program;
use jit_support::world::{Env, Loaded, Maps, features};
use std::fmt::Debug;

/// One line of the file.
struct Vector {
    name: String,
    kind: String,
    insns: Vec<Insn>,
    memory: Vec<u8>,
    expected: Option<u64>,
}

/// A field of a flat JSON object whose strings hold no escapes.
fn field(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{key}\": "))?;
    match rest.strip_prefix('"') {
        Some(text) => text.split_once('"').map(|(value, _)| value.to_owned()),
        None => {
            let value = rest.split([',', '}']).next()?;
            (value != "null").then(|| value.to_owned())
        }
    }
}

/// The vector, unless the kernel fails it.
fn vector(line: &str) -> Option<Vector> {
    if field(line, "kernel_pass")? != "true" {
        return None;
    }
    let bytes = |key| common::hex(&field(line, key).unwrap_or_default());
    Some(Vector {
        name: field(line, "name")?,
        kind: field(line, "kind")?,
        insns: common::slots(&bytes("prog_hex")),
        memory: bytes("mem_hex"),
        expected: field(line, "expected_r0").map(|text| common::number(&text)),
    })
}

/// The helper that some vectors call.
const KTIME_GET_NS: u32 = 5;

fn interpret(prog: &Program, memory: &[u8]) -> Result<u64, Trap> {
    let mut host = Hosted::new();
    host.add_helper(KTIME_GET_NS, |_, _, _| Ok(1));
    let address = host.add_memory(memory.to_vec());
    let options = Options {
        fuel: Some(10_000_000),
        observer: None,
    };
    let args = [address, memory.len() as u64];
    interp::run_with(prog, args, &mut host, options)
}

fn execute(prog: &Program, memory: &[u8]) -> Result<u64, JitError> {
    let loaded = Loaded::new(prog, &Maps::default(), features())?;
    let mut memory = memory.to_vec();
    let args = [memory.as_mut_ptr() as u64, memory.len() as u64, 0, 0];
    Ok(loaded.run(&mut Env::default(), args))
}

/// What is wrong with what we make of a vector.
fn judge(vector: &Vector) -> Result<(), String> {
    let verdict = |insns: &[Insn]| common::verified(insns, vector.memory.len(), false);
    match vector.kind.as_str() {
        "run" => {
            let text = listing(&vector.insns);
            let again = assemble(&text).map_err(|e| format!("reading it back: {e}\n{text}"))?;
            runs(vector, &common::raw(vector.insns.clone()))?;
            let verified = verdict(&again).map_err(|r| format!("rejected: {r:?}"))?;
            runs(vector, &verified)?;
            let calls = vector.insns.contains(&build::call(KTIME_GET_NS));
            let compiled = || execute(&verified, &vector.memory);
            expect(vector, if calls { None } else { Some(compiled()) })
        }
        "reject" => match verdict(&vector.insns) {
            Ok(_) => Err("accepted".to_owned()),
            Err(_) => Ok(()),
        },
        kind => Err(format!("no such kind: {kind}")),
    }
}

fn runs(vector: &Vector, prog: &Program) -> Result<(), String> {
    expect(vector, Some(interpret(prog, &vector.memory)))
}

/// What ran must have given what is expected.
fn expect<E: Debug>(vector: &Vector, got: Option<Result<u64, E>>) -> Result<(), String> {
    match got {
        None => Ok(()),
        Some(Ok(r0)) if Some(r0) == vector.expected => Ok(()),
        Some(got) => Err(format!("{got:x?}, not {:x?}", vector.expected)),
    }
}

#[test]
fn all_that_the_kernel_passes() {
    let Ok(path) = std::env::var("BPFVISOR_CONFORMANCE") else {
        println!("skipped: BPFVISOR_CONFORMANCE does not name a file of vectors");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let vectors: Vec<Vector> = text.lines().filter_map(vector).collect();
    assert!(!vectors.is_empty(), "{path} holds no vectors");
    let failures: Vec<String> = vectors
        .iter()
        .filter_map(|v| Some(format!("{}: {}", v.name, judge(v).err()?)))
        .collect();
    println!("{} vectors", vectors.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
