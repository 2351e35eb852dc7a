#![allow(clippy::unwrap_used, clippy::panic)]

//! Arithmetic programs end with the same number in the interpreter (over what
//! our verifier made of them) and in the kernel; those with maps or callbacks run
//! in `differential_vm`. Needs root.

use bpf_core::disasm::listing;
use bpf_core::interp::{self, hosted::Hosted};
use bpfvisor_tests::generate::{Kind, generate};
use bpfvisor_tests::kernel::{self, Prog, ProgSpec, RunSpec};
use bpfvisor_tests::oracle::verify;

#[test]
fn programs_end_alike() {
    kernel::require().unwrap();
    let count = std::env::var("COUNT").map_or(300, |n| n.parse().unwrap());
    for seed in 0..count {
        let sample = generate(Kind::Alu, seed);
        if sample.insns.iter().any(|i| i.is_wide() && i.src != 0) {
            continue;
        }
        let prog = Prog::load(&ProgSpec::new(sample.prog_type, &sample.insns)).unwrap();
        let theirs = prog.run(&RunSpec::data(&[0; 64])).unwrap().retval;
        let ours = verify(&sample)
            .verdict
            .unwrap_or_else(|no| panic!("seed {seed}: {no:?}"));
        let r0 = interp::run(&ours, [0, 0], &mut Hosted::new())
            .unwrap_or_else(|trap| panic!("seed {seed}: {trap:?}\n{}", listing(&ours.insns)));
        assert_eq!(r0 as u32, theirs, "seed {seed}\n{}", listing(&sample.insns));
    }
}
