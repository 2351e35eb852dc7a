//! Instruction-level conformance vectors that are not part of the project: one
//! JSON object per line, with `name`, `kind`, `prog_hex`, `mem_hex`,
//! `expected_r0` and whether the kernel passes (`kernel_pass`).
//! The environment variable `BPFVISOR_CONFORMANCE` names the file.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;

use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::insn::{DecodeError, Insn, ops};
use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Options, Trap};

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

fn interpret(insns: &[Insn], memory: &[u8]) -> Result<u64, Trap> {
    let mut host = Hosted::new();
    // bpf_ktime_get_ns, which is what the vectors that call a helper call.
    host.add_helper(5, |_, _, _| Ok(1));
    let address = host.add_memory(memory.to_vec());
    let options = Options {
        fuel: Some(10_000_000),
        observer: None,
    };
    let prog = common::unverified(insns.to_vec());
    let args = [address, memory.len() as u64];
    interp::run_with(&prog, args, &mut host, options)
}

fn undecodable(insns: &[Insn]) -> Option<(usize, DecodeError)> {
    ops(insns).find_map(|(at, op)| Some((at, op.err()?)))
}

/// What is wrong with what we make of a vector.
fn judge(vector: &Vector) -> Result<(), String> {
    if vector.kind != "run" {
        return Ok(());
    }
    if let Some((at, e)) = undecodable(&vector.insns) {
        return Err(format!("instruction {at}: {e}"));
    }
    let text = listing(&vector.insns);
    let again = assemble(&text).map_err(|e| format!("reading it back: {e}\n{text}"))?;
    for insns in [&vector.insns, &again] {
        match interpret(insns, &vector.memory) {
            Ok(r0) if Some(r0) == vector.expected => {}
            got => return Err(format!("{got:x?}, not {:x?}", vector.expected)),
        }
    }
    Ok(())
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
    let rejects = vectors.iter().filter(|v| v.kind == "reject");
    let (early, late): (Vec<_>, Vec<_>) = rejects.partition(|v| undecodable(&v.insns).is_some());
    println!(
        "{} vectors; {} do not decode, {} are for the verifier to reject",
        vectors.len(),
        early.len(),
        late.len()
    );
    for vector in late {
        println!("for the verifier: {}", vector.name);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
