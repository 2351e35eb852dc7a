#![allow(clippy::unwrap_used)]

//! Accepted programs stay inside what the verifier believed of them, in a world
//! that does everything it may. `verifier_diff --soundness 1` runs more of it.

use bpf_core::asm::assemble;
use bpf_core::program::{FlatMemory, ProgramDesc, TypeInfo};
use bpf_core::uapi::ProgType;
use bpfvisor_tests::generate::{Kind, Sample, generate};
use bpfvisor_tests::oracle::mirror_maps;
use bpfvisor_tests::oracle::soundness::{self, Outcome};

fn examine(sample: &Sample, seed: u64) -> Outcome {
    let desc = ProgramDesc {
        insns: &sample.insns,
        prog_type: sample.prog_type,
        attach_type: 0,
        flags: 0,
        gpl: true,
        flat: FlatMemory::default(),
        types: TypeInfo::default(),
    };
    soundness::examine(&desc, &mirror_maps(), 4, seed)
}

fn no_holes(kind: Kind, count: u64, accepted: u64) {
    let (mut ran, mut compared) = (0, 0);
    for seed in 0..count {
        let sample = generate(kind, seed);
        let outcome = examine(&sample, seed);
        assert_eq!(outcome.hole, None, "{kind:?}, seed {seed}");
        ran += u64::from(outcome.ran);
        compared += u64::from(outcome.compared);
    }
    assert!(100 * ran >= accepted * count, "{ran} of {count} ran");
    assert!(100 * compared >= 95 * ran, "{compared} of {ran} compared");
}

#[test]
fn pointers_and_bounds() {
    no_holes(Kind::Bounds, 2000, 50);
}

#[test]
fn damaged_programs() {
    no_holes(Kind::Mutant, 2000, 15);
}

#[test]
fn arithmetic() {
    no_holes(Kind::Alu, 300, 95);
}

fn xdp(text: &str) -> Sample {
    Sample {
        prog_type: ProgType::Xdp,
        insns: assemble(text).unwrap(),
    }
}

/// What the check would say if the verifier had judged another program.
fn believed_wrongly(text: &str, instead: &str) -> Option<String> {
    let (real, believed) = (xdp(text), xdp(instead));
    soundness::confuse(&believed.insns, &real.insns, &mirror_maps(), 1)
}

#[test]
fn a_wrong_belief_about_a_number_is_noticed() {
    let hole = believed_wrongly("r6 = 4\nr0 = r6\nexit", "r6 = 5\nr0 = r6\nexit");
    assert!(hole.unwrap().contains("R6=0x4 is not in"));
}

#[test]
fn a_wrong_belief_about_the_stack_is_noticed() {
    let stored = |n| format!("*(u64 *)(r10 -8) = {n}\nr0 = *(u64 *)(r10 -8)\nexit");
    let hole = believed_wrongly(&stored(1), &stored(2));
    assert!(hole.unwrap().contains("fp-8=0x1 is not in"));
}

#[test]
fn an_access_outside_is_noticed() {
    let load = |off| format!("r6 = r10\nr6 += -8\nr0 = *(u64 *)(r6 +{off})\nexit");
    let hole = believed_wrongly(&load(8), &load(0));
    assert!(hole.unwrap().contains("Memory"));
}
