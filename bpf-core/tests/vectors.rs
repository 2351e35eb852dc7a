//! The text vectors, through every engine that runs programs.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;
mod jit_support;

use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::insn::{Insn, op, ops};
use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Options};
use bpf_core::jit::Features;
use bpf_core::program::Program;
use common::{Case, Want};
use jit_support::world::{Env, Loaded, Maps, features};
use std::collections::BTreeSet;

/// Instructions after which a case counts as endless.
const FUEL: u64 = 100_000;

/// What the interpreter makes of a case, in the form of what is wanted.
fn interpret(case: &Case, prog: &Program) -> Want {
    let mut host = Hosted::new();
    if let Some(packet) = &case.packet {
        host.set_packet(packet.clone());
    }
    let memory = host.add_memory(case.memory.clone());
    let options = Options {
        fuel: Some(FUEL),
        observer: None,
    };
    let args = [memory, case.memory.len() as u64];
    match interp::run_with(prog, args, &mut host, options) {
        Ok(r0) => Want::Done {
            r0,
            memory: host.memory(memory).unwrap().to_vec(),
        },
        Err(trap) => Want::Error(trap.to_string()),
    }
}

/// What compiled code makes of a case. Nothing holds it back from doing harm.
fn execute(case: &Case, prog: &Program, features: Features) -> Want {
    let loaded = match Loaded::new(prog, &Maps::default(), features) {
        Ok(loaded) => loaded,
        Err(e) => return Want::Error(format!("{e:?}")),
    };
    let mut env = Env {
        packet: case.packet.clone().unwrap_or_default(),
        ..Env::default()
    };
    let mut memory = case.memory.clone();
    let args = [memory.as_mut_ptr() as u64, memory.len() as u64, 0, 0];
    let r0 = loaded.run(&mut env, args);
    Want::Done { r0, memory }
}

fn verified(case: &Case) -> Result<Program, Want> {
    let verdict = common::verified(&case.insns, case.memory.len(), case.packet.is_some());
    verdict.map_err(|reject| Want::Error(format!("rejected: {}", reject.reason)))
}

fn agrees(got: &Want, want: &Want) -> bool {
    match (got, want) {
        (Want::Error(got), Want::Error(want)) => got.contains(want),
        _ => got == want,
    }
}

/// Runs all cases and lists those that differ.
fn check(engine: impl Fn(&Case) -> Want) {
    let cases = common::cases();
    assert!(cases.len() > 800, "only {} cases", cases.len());
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let got = engine(case);
            let text = || format!("{}: {got:x?}, not {:x?}", case.name, case.want);
            (!agrees(&got, &case.want)).then(text)
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn interpreter() {
    check(|case| interpret(case, &common::raw(case.insns.clone())));
}

/// The verifier rejects what ends with an error, and accepts the rest; what it
/// makes of a program still does the same.
#[test]
fn interpreter_of_verified_programs() {
    check(|case| match (verified(case), &case.want) {
        (Ok(_), Want::Error(_)) => Want::Error("accepted by the verifier".to_owned()),
        (Ok(prog), _) => interpret(case, &prog),
        (Err(_), Want::Error(text)) => Want::Error(text.clone()),
        (Err(reject), _) => reject,
    });
}

fn compiled(features: Features) {
    check(|case| match (verified(case), &case.want) {
        (_, Want::Error(text)) => Want::Error(text.clone()),
        (Ok(prog), _) => execute(case, &prog, features),
        (Err(reject), _) => reject,
    });
}

#[test]
fn compiler() {
    compiled(Features::default());
}

#[test]
fn compiler_with_processor_features() {
    compiled(features());
}

#[test]
fn text_and_back() {
    for case in common::cases() {
        let text = listing(&case.insns);
        let again = assemble(&text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(again, case.insns, "{}", case.name);
    }
}

/// Every opcode that decodes stands in some case.
#[test]
fn every_opcode_has_a_case() {
    let cases = common::cases();
    let slots = cases.iter().flat_map(|case| {
        let at = ops(&case.insns).filter_map(|(at, op)| op.is_ok().then_some(at));
        at.map(|at| case.insns[at].opcode)
    });
    let seen: BTreeSet<u8> = slots.collect();
    let decodes = |opcode: &u8| {
        let with = |imm| Insn::new(*opcode, 0, 0, 0, imm).decode(Some(&Insn::default()));
        [0, 16, op::LOAD_ACQ]
            .into_iter()
            .any(|imm| with(imm).is_ok())
    };
    let missing: Vec<u8> = (0..=u8::MAX)
        .filter(|opcode| decodes(opcode) && !seen.contains(opcode))
        .collect();
    assert_eq!(missing, [], "{missing:02x?}");
}
