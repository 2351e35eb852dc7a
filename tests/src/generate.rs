//! Random programs, most of them valid.
//!
//! | kind | is | for |
//! |---|---|---|
//! | [`Kind::Alu`] | every arithmetic, jump, atomic and stack instruction over known and loaded numbers | interpreter against JIT against kernel |
//! | [`Kind::Bounds`] | pointers, ranges and calls, close to the edge of what is allowed | verifier against kernel |
//! | [`Kind::Mutant`] | one of the others with small damage | verifier against kernel |
//!
//! Maps are named by their index in [`MAPS`] plus one, in the form of handles
//! (see [`bpf_core::program::ProgramDesc`]).

mod alu;
mod bounds;
mod code;
mod fragments;
mod helpers;
mod mutate;
mod rng;

pub use alu::CONDITIONS;
pub use code::{Code, Label, Operand};
pub use mutate::mutate;
pub use rng::Rng;

use crate::kernel::MapSpec;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{MapType, ProgType};

/// What kind of program to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Arithmetic and jumps.
    Alu,
    /// Pointers and bounds.
    Bounds,
    /// Damaged programs.
    Mutant,
}

impl Kind {
    /// The kind with this name: `alu`, `bounds` or `mutant`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "alu" => Some(Self::Alu),
            "bounds" => Some(Self::Bounds),
            "mutant" => Some(Self::Mutant),
            _ => None,
        }
    }
}

/// A generated program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its type.
    pub prog_type: ProgType,
    /// Its instructions, maps by handle.
    pub insns: Vec<Insn>,
}

/// The maps that generated programs use: handle 1 is the first.
pub const MAPS: [MapSpec<'static>; 6] = [
    MapSpec::new(MapType::Array, 4, 48, 4),
    MapSpec::new(MapType::Hash, 8, 17, 8),
    MapSpec::new(MapType::Array, 4, 1024, 1),
    MapSpec::new(MapType::Ringbuf, 0, 0, 4096),
    MapSpec::new(MapType::ProgArray, 4, 4, 2),
    MapSpec::new(MapType::Queue, 0, 8, 4),
];

/// How many of [`MAPS`] have values that lookups answer: the first ones.
const WITH_VALUES: usize = 3;
/// Handles of the others.
const RINGBUF: i32 = 4;
const PROG_ARRAY: i32 = 5;
const QUEUE: i32 = 6;

/// The most instructions of a generated program.
pub const MAX_INSNS: usize = 200;

/// The program of a seed.
pub fn generate(kind: Kind, seed: u64) -> Sample {
    let mut rng = Rng::new(seed);
    match kind {
        Kind::Alu => alu::generate(&mut rng),
        Kind::Bounds => bounds::generate(&mut rng),
        Kind::Mutant => loop {
            let parent = any(&mut rng);
            let sample = mutate(&mut rng, &parent);
            if !loops(&parent) && !loops(&sample) {
                return sample;
            }
        },
    }
}

fn any(rng: &mut Rng) -> Sample {
    match rng.one_in(4) {
        true => alu::generate(rng),
        false => bounds::generate(rng),
    }
}

/// Whether a jump leads back. A damaged loop may be one that the kernel's
/// verifier follows for a million instructions, which stalls the machine.
fn loops(sample: &Sample) -> bool {
    let back = |insn: &Insn| {
        let far = insn.opcode == op::JMP32 | op::JA;
        matches!(insn.class(), op::JMP | op::JMP32) && (insn.off < 0 || far && insn.imm < 0)
    };
    sample.insns.iter().any(back)
}
