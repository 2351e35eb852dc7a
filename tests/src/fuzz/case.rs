//! Programs with what they run over.

use super::parser;
use crate::generate::{self, Kind, Rng, Sample};
use bpf_core::insn::{Insn, op};

/// Where programs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kind of [`crate::generate`].
    Generated(Kind),
    /// XDP programs that parse packets and use maps, nearly all valid.
    Packets,
}

impl Source {
    /// The source with this name: `alu`, `bounds`, `mutant` or `packets`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "packets" => Some(Self::Packets),
            other => Kind::from_name(other).map(Self::Generated),
        }
    }
}

/// A program, and the packets that it runs over one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The program.
    pub sample: Sample,
    /// The packets.
    pub packets: Vec<Vec<u8>>,
}

/// Helpers whose answers differ from run to run.
const KTIME_GET_NS: i32 = 5;
const GET_PRANDOM_U32: i32 = 7;

/// Helpers that generated programs call and whose answers don't.
const REPEATABLE: [i32; 20] = [
    1, 2, 3, 10, 11, 12, 26, 28, 39, 44, 54, 65, 87, 88, 89, 105, 131, 132, 133, 181,
];
/// `bpf_ringbuf_output`.
const RINGBUF_OUTPUT: i32 = 130;

impl Case {
    /// The case of a seed.
    pub fn generate(source: Source, seed: u64) -> Self {
        // Another stream than the program's own.
        let mut rng = Rng::new(!seed);
        let mut sample = match source {
            Source::Generated(kind) => generate::generate(kind, seed),
            Source::Packets => parser::generate(&mut Rng::new(seed)),
        };
        make_repeatable(&mut rng, &mut sample.insns);
        if matches!(source, Source::Generated(Kind::Bounds | Kind::Mutant)) {
            fill_stack(&mut rng, &mut sample.insns);
        }
        let packets = (0..rng.within(1, 3)).map(|_| packet(&mut rng)).collect();
        Self { sample, packets }
    }

    /// Whether equal runs give equal results: it asks nothing of the world that
    /// changes.
    pub fn is_repeatable(&self) -> bool {
        let known = |imm: i32| REPEATABLE.contains(&imm) || imm == RINGBUF_OUTPUT;
        self.sample
            .insns
            .iter()
            .all(|insn| !is_helper_call(insn) || known(insn.imm))
    }
}

fn is_helper_call(insn: &Insn) -> bool {
    insn.opcode == op::JMP | op::CALL && insn.src == 0
}

/// Time and chance become constants.
fn make_repeatable(rng: &mut Rng, insns: &mut [Insn]) {
    for insn in insns {
        if is_helper_call(insn) && [KTIME_GET_NS, GET_PRANDOM_U32].contains(&insn.imm) {
            *insn = Insn::new(op::ALU64 | op::MOV | op::K, 0, 0, 0, rng.imm());
        }
    }
}

/// Slots of the stack that are filled at the start.
const FILLED: i16 = 14;

/// Privileged programs may read what they never wrote to the stack: the main
/// program's is filled first.
fn fill_stack(rng: &mut Rng, insns: &mut Vec<Insn>) {
    let store = |slot: i16| {
        let imm = rng.within(0, 4) as i32;
        Insn::new(op::ST | op::MEM | op::DW, 10, 0, -8 * slot, imm)
    };
    let fill: Vec<Insn> = (1..=FILLED).map(store).collect();
    insns.splice(0..0, fill);
}

/// The kernel does not run socket buffers of IPv4 with less than its header.
const ETHERNET_AND_IPV4: usize = 14 + 20;

/// An Ethernet frame, often with an IPv4 header.
fn packet(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(3) {
        0 => rng.within(14, 40),
        1 => 64,
        _ => rng.within(14, 300),
    };
    let mut bytes: Vec<u8> = (0..len).map(|_| rng.word() as u8).collect();
    if bytes.len() >= ETHERNET_AND_IPV4 && !rng.one_in(4) {
        let head = [0x08, 0x00, 0x45, 0x00];
        for (to, from) in bytes.iter_mut().skip(12).zip(head) {
            *to = from;
        }
    }
    bytes
}
