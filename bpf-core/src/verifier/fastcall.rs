//! Spills and fills around a call that clobbers nothing but R0.
//!
//! Compilers save R1 to R5 at the very end of the stack around such calls, for
//! kernels that do clobber them. Linux takes the pairs out where nothing else
//! touches their slots, and does not count the slots (`mark_fastcall_patterns`).
//! Here the pairs stay, and only the count follows.
use super::engine::Verifier;
use super::structure::Shape;
use crate::helper;
use crate::insn::{Insn, op};
use crate::uapi::ProgType;
use alloc::vec::Vec;

/// `bpf_get_smp_processor_id`, which Linux puts in line.
const CLOBBERS_NOTHING: u32 = 8;

/// What is known of one function.
#[derive(Clone, Copy, Default)]
pub(crate) struct Saved {
    /// Pairs lie below this offset, and nothing else.
    end: Option<i32>,
    /// A call with a pair around it clobbers more, or something else lies there.
    counts: bool,
}

/// All functions, and the instructions that are part of a pair.
pub(crate) struct Fastcalls {
    functions: Vec<Saved>,
    pairs: Vec<bool>,
}

impl Fastcalls {
    pub fn find(insns: &[Insn], shape: &Shape) -> Self {
        let mut found = Self {
            functions: alloc::vec![Saved::default(); shape.starts.len()],
            pairs: alloc::vec![false; insns.len()],
        };
        for nr in 0..shape.starts.len() {
            let (start, end) = (shape.starts[nr], shape.end(nr));
            let body = insns.get(start..end).unwrap_or(&[]);
            let lowest = body.iter().filter(|i| is_spill(i)).map(|i| i.off).min();
            let Some(lowest) = lowest.filter(|l| *l < 0) else {
                continue;
            };
            for (at, i) in body.iter().enumerate() {
                if i.opcode == op::JMP | op::CALL && i.src == 0 {
                    found.around(insns, nr, start + at, i32::from(lowest));
                }
            }
        }
        found
    }

    /// The pairs around the call at `at`, from the inside out.
    fn around(&mut self, insns: &[Insn], nr: usize, at: usize, lowest: i32) {
        let id = insns.get(at).map_or(0, |i| i.imm as u32);
        let args = helper::proto(id, ProgType::Flat).map_or(5, |p| p.args.len());
        let mut free: u16 = 0b11_1110 & !((1u16 << (args + 1)) - 1);
        let mut off = lowest;
        for n in 1..=5 {
            let spill = at.checked_sub(n).and_then(|b| insns.get(b));
            let (Some(spill), Some(fill)) = (spill, insns.get(at + n)) else {
                break;
            };
            let pair = is_spill(spill) && is_fill(fill) && spill.src == fill.dst;
            let here = i32::from(spill.off) == off && fill.off == spill.off;
            if !pair || !here || free & 1 << spill.src == 0 {
                break;
            }
            free &= !(1 << spill.src);
            off += 8;
            for part in [at - n, at + n] {
                self.pairs[part] = true;
            }
        }
        if off == lowest {
            return;
        }
        let f = &mut self.functions[nr];
        f.end = Some(f.end.map_or(off, |e| e.min(off)));
        f.counts |= id != CLOBBERS_NOTHING;
    }

    /// Bytes of stack that count, of those that a function uses.
    pub fn counted(&self, nr: usize, used: u32) -> u32 {
        match self.functions.get(nr) {
            Some(Saved {
                end: Some(end),
                counts: false,
            }) => used.min(end.unsigned_abs()),
            _ => used,
        }
    }
}

impl Verifier<'_> {
    /// The running instruction touches a function's stack from `low` on.
    pub fn fastcall_contract(&mut self, function: usize, low: i32) {
        let pair = self.fastcalls.pairs.get(self.pc).copied();
        if let Some(f) = self.fastcalls.functions.get_mut(function)
            && f.end.is_some_and(|end| low < end)
            && pair != Some(true)
        {
            f.counts = true;
        }
    }
}

fn is_spill(i: &Insn) -> bool {
    i.opcode == op::STX | op::MEM | op::DW && i.dst == 10
}

fn is_fill(i: &Insn) -> bool {
    i.opcode == op::LDX | op::MEM | op::DW && i.src == 10
}
