//! Programs with known results, in VMs that compile and that interpret: the
//! vectors of `bpf-core/tests/vectors`, and those of a file that the environment
//! variable `BPFVISOR_CONFORMANCE` names (one JSON object per line with `name`,
//! `kind`, `prog_hex`, `mem_hex`, `expected_r0` and `kernel_pass`).
//! Needs /dev/kvm.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../bpf-core/tests/common/mod.rs"]
mod common;

use bpf_core::insn::{Insn, build};
use bpf_core::uapi::ProgType;
use bpfvisor::{Error, MIN_FRAME, ProgramSpec, Vm};
use common::{Case, Want};
use serde_json::Value;

/// A VM of each kind, and its name.
fn machines() -> [(&'static str, Vm); 2] {
    let boot = |builder: bpfvisor::VmBuilder| {
        let vm = builder.memory(64 << 20).boot();
        vm.unwrap_or_else(|e| panic!("these tests need a usable /dev/kvm: {e}"))
    };
    [
        ("compiled", boot(Vm::builder())),
        ("interpreted", boot(Vm::builder().interpret())),
    ]
}

/// Loads and runs over exactly this memory, or this packet.
fn run(
    vm: &Vm,
    insns: &[Insn],
    memory: &[u8],
    packet: Option<&[u8]>,
) -> Result<(u64, Vec<u8>), Error> {
    let len = memory.len() as u32;
    let spec = match packet {
        Some(_) => ProgramSpec::new(ProgType::SchedCls, insns),
        None => ProgramSpec::flat(insns).flat_memory(len, len),
    };
    let program = vm.load(spec.license("GPL"))?;
    let out = program.run(packet.unwrap_or(memory))?;
    Ok((out.r0, out.data))
}

/// What is wrong with what a VM makes of a case.
fn judge(vm: &Vm, case: &Case) -> Result<(), String> {
    let got = run(vm, &case.insns, &case.memory, case.packet.as_deref());
    match (&case.want, got) {
        (Want::Error(_), Err(Error::Program(_) | Error::Caller(_))) => Ok(()),
        (Want::Done { r0, memory }, Ok((got, data)))
            if *r0 == got && (case.packet.is_some() || *memory == data) =>
        {
            Ok(())
        }
        (want, got) => Err(format!("{got:x?}, not {want:x?}")),
    }
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn own_vectors() {
    // No frame is shorter than its Ethernet header.
    let runs = |case: &Case| case.packet.as_ref().is_none_or(|p| p.len() >= MIN_FRAME);
    let cases: Vec<Case> = common::cases().into_iter().filter(runs).collect();
    assert!(cases.len() > 500, "{} cases", cases.len());
    let mut failures = Vec::new();
    for (how, vm) in machines() {
        for case in &cases {
            let judged = judge(&vm, case);
            failures.extend(judged.err().map(|e| format!("{how}: {}: {e}", case.name)));
        }
    }
    assert_none(&failures);
}

/// Its results are nobody's to expect.
fn calls_clock(insns: &[Insn]) -> bool {
    insns.contains(&build::call(5))
}

/// What is wrong with what a VM makes of a vector that the kernel passes.
fn judge_vector(vm: &Vm, vector: &Value) -> Result<(), String> {
    let text = |key: &str| vector[key].as_str().unwrap_or_default();
    let insns = common::slots(&common::hex(text("prog_hex")));
    let got = run(vm, &insns, &common::hex(text("mem_hex")), None);
    match (text("kind"), got) {
        ("run", Ok(_)) if calls_clock(&insns) => Ok(()),
        ("run", Ok((r0, _))) if r0 == common::number(text("expected_r0")) => Ok(()),
        ("run", got) => Err(format!("{got:x?}, not {}", text("expected_r0"))),
        (_, Err(e)) if !matches!(e, Error::Guest(_) | Error::Timeout(_)) => Ok(()),
        (_, got) => Err(format!("not refused: {got:x?}")),
    }
}

#[test]
fn vectors_of_a_suite() {
    let Ok(path) = std::env::var("BPFVISOR_CONFORMANCE") else {
        println!("skipped: BPFVISOR_CONFORMANCE does not name a file of vectors");
        return;
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let vectors = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let vectors: Vec<Value> = vectors
        .filter(|v: &Value| v["kernel_pass"] == true)
        .collect();
    assert!(!vectors.is_empty(), "{path} holds no vectors");
    let mut failures = Vec::new();
    for (how, vm) in machines() {
        for vector in &vectors {
            let judged = judge_vector(&vm, vector);
            failures.extend(
                judged
                    .err()
                    .map(|e| format!("{how}: {}: {e}", vector["name"])),
            );
        }
    }
    println!("{} vectors", vectors.len());
    assert_none(&failures);
}
