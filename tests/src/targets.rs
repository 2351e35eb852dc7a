//! What hostile clients and guests may hand in, as functions of bytes: the bodies
//! of the fuzz targets of `tests/fuzz/`, and of the slice of them that is a test.
//!
//! Each gives whether its input was useful: whether it came past the first
//! checks. None may panic, hang, or reach outside of what it was given.

mod attr;
mod client;
mod elf;
mod lines;
mod pcap;
mod pipeline;
mod server;
mod socket;
mod storage;

use crate::generate::Rng;

/// One way in.
pub struct Target {
    /// What the fuzzer's binary is called.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs are changed by pieces of this length.
    pub grain: usize,
}

/// All of them. The host's side of the protocol is played in `bpfvisor-vmm`.
pub const ALL: [Target; 9] = [
    Target {
        name: "storage",
        run: storage::run,
        seeds: storage::seeds,
        grain: 4,
    },
    Target {
        name: "elf",
        run: elf::run,
        seeds: elf::seeds,
        grain: 1,
    },
    Target {
        name: "pipeline",
        run: pipeline::run,
        seeds: pipeline::seeds,
        grain: 8,
    },
    Target {
        name: "attr",
        run: attr::run,
        seeds: attr::seeds,
        grain: 4,
    },
    Target {
        name: "list",
        run: attr::run_list,
        seeds: attr::list_seeds,
        grain: 4,
    },
    Target {
        name: "pcap",
        run: pcap::run,
        seeds: pcap::seeds,
        grain: 4,
    },
    Target {
        name: "batch",
        run: lines::run,
        seeds: lines::seeds,
        grain: 1,
    },
    Target {
        name: "server",
        run: server::run,
        seeds: server::seeds,
        grain: 1,
    },
    Target {
        name: "client",
        run: client::run,
        seeds: client::seeds,
        grain: 1,
    },
];

/// A target by its name.
pub fn by_name(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|t| t.name == name)
}

/// Changes an input a little.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8], grain: usize) {
    for _ in 0..=rng.below(4) {
        if input.is_empty() {
            input.push(0);
        }
        let len = input.len() as u64;
        let at = rng.below(len) as usize;
        let piece = at / grain * grain;
        let end = (piece + grain).min(input.len());
        match rng.below(8) {
            0 => input[at] ^= 1 << rng.below(8),
            1 => input[at] = rng.below(256) as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
            3 => drop(input.drain(piece..end)),
            4 => {
                let copy: Vec<u8> = input[piece..end].into();
                input.splice(piece..piece, copy);
            }
            5 => input.truncate(at + 1),
            6 if !other.is_empty() => {
                let from = rng.below(other.len() as u64) as usize / grain * grain;
                let to = (from + grain * (1 + rng.below(8) as usize)).min(other.len());
                input.splice(piece..piece, other[from..to].iter().copied());
            }
            _ => {
                for byte in &mut input[piece..end] {
                    *byte = rng.below(256) as u8;
                }
            }
        }
    }
    input.truncate(1 << 16);
}
