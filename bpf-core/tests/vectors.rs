//! The text vectors, through every engine that runs programs.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;

use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::interp::hosted::Hosted;
use bpf_core::interp::{self, Options};
use common::{Case, Want};

/// Instructions after which a case counts as endless.
const FUEL: u64 = 100_000;

/// What an engine makes of a case, in the form of what is wanted.
fn interpret(case: &Case) -> Want {
    let mut host = Hosted::new();
    if let Some(packet) = &case.packet {
        host.set_packet(packet.clone());
    }
    let memory = host.add_memory(case.memory.clone());
    let options = Options {
        fuel: Some(FUEL),
        observer: None,
    };
    let prog = common::unverified(case.insns.clone());
    let args = [memory, case.memory.len() as u64];
    match interp::run_with(&prog, args, &mut host, options) {
        Ok(r0) => Want::Done {
            r0,
            memory: host.memory(memory).unwrap().to_vec(),
        },
        Err(trap) => Want::Error(trap.to_string()),
    }
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
    check(interpret);
}

#[test]
fn text_and_back() {
    for case in common::cases() {
        let text = listing(&case.insns);
        let again = assemble(&text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(again, case.insns, "{}", case.name);
    }
}
