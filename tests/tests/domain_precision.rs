#![allow(clippy::unwrap_used, clippy::panic)]

//! The numeric domain knows what the running kernel's verifier knows: both follow
//! random arithmetic and comparisons down one path, and each number in the kernel's
//! log must be ours, and read the same. Needs root.

#[path = "precision/log.rs"]
mod log;
#[path = "precision/path.rs"]
mod path;

use bpf_core::uapi::ProgType;
use bpfvisor_tests::generate::Rng;
use bpfvisor_tests::kernel::{self, Prog, ProgSpec};
use path::Path;

#[test]
fn ranges_are_the_kernels() {
    kernel::require().unwrap();
    let count = std::env::var("COUNT").map_or(400, |n| n.parse().unwrap());
    let mut compared = 0;
    let mut different = Vec::new();
    for seed in 0..count {
        let insns = path::program(&mut Rng::new(seed));
        let spec = ProgSpec::new(ProgType::SocketFilter, &insns).log_level(2);
        let prog = Prog::load(&spec).unwrap_or_else(|no| panic!("seed {seed}: {}", no.log));
        compared += compare(seed, &insns, prog.log(), &mut different);
    }
    assert!(
        compared > 10 * count,
        "only {compared} ranges were compared"
    );
    for line in different.iter().take(20) {
        println!("{line}");
    }
    assert!(
        different.is_empty(),
        "{} of {compared} ranges differ",
        different.len()
    );
}

/// Follows the kernel's log as long as both go the same way.
fn compare(
    seed: u64,
    insns: &[bpf_core::insn::Insn],
    text: &str,
    different: &mut Vec<String>,
) -> u64 {
    let mut path = Path::new();
    let mut compared = 0;
    for step in log::steps(text) {
        if step.insn != path.at || path.ended(insns) {
            break;
        }
        let before = path.clone();
        path.step(insns);
        for (reg, theirs) in step.regs {
            let Some(ours) = path.reg(reg) else {
                continue;
            };
            if theirs.is_elsewhere(&ours) {
                return compared;
            }
            compared += 1;
            assert!(
                !theirs.reads_otherwise(&ours),
                "ours {ours}, theirs {theirs:?}"
            );
            if !theirs.is(&ours) {
                different.push(format!(
                    "seed {seed}, {}\n   before {before}\n   ours   {ours}\n   theirs {theirs:?}",
                    step.line
                ));
                return compared;
            }
        }
    }
    compared
}
