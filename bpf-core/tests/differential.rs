//! Random programs through the verifier, the interpreter and the compiler, which
//! must agree.
#![allow(clippy::unwrap_used, clippy::panic)]
mod common;
mod jit_support;

use bpf_core::asm::assemble;
use bpf_core::disasm::listing;
use bpf_core::interp::{self, hosted::Hosted};
use bpf_core::jit::Features;
use bpf_core::program::Program;
use common::random::Random;
use jit_support::world::{Env, Loaded, Maps, features};

/// Programs per run; `BPFVISOR_CASES` asks for more.
fn cases() -> u64 {
    let asked = std::env::var("BPFVISOR_CASES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(500)
}

fn interpret(prog: &Program) -> u64 {
    interp::run(prog, [0, 0], &mut Hosted::new()).unwrap()
}

fn execute(prog: &Program, features: Features) -> u64 {
    let loaded = Loaded::new(prog, &Maps::default(), features).unwrap();
    loaded.run(&mut Env::default(), [0; 4])
}

#[test]
fn engines_agree_on_random_programs() {
    for seed in 0..cases() {
        let insns = Random::new(seed).program(1 + seed as usize % 60);
        let text = listing(&insns);
        assert!(assemble(&text).unwrap() == insns, "seed {seed}\n{text}");
        let wanted = interpret(&common::raw(insns.clone()));
        let verified = match common::verified(&insns, 0, false) {
            Ok(prog) => prog,
            Err(reject) => panic!("seed {seed}: {reject:?}\n{text}"),
        };
        let got = [
            interpret(&verified),
            execute(&verified, Features::default()),
            execute(&verified, features()),
        ];
        assert_eq!(got, [wanted; 3], "seed {seed}\n{text}");
    }
}
