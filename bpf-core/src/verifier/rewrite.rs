//! From the program as loaded to the program as run: without what no path
//! reaches.
use super::depth;
use super::engine::Verifier;
use super::structure;
use crate::insn::{Insn, op};
use crate::program::{Fact, Program, Subprog};
use alloc::vec::Vec;

impl Verifier<'_> {
    /// The verified program.
    pub fn finish(&self) -> Program {
        let insns = self.desc.insns;
        let keep: Vec<bool> = (0..insns.len()).map(|at| self.kept(at)).collect();
        let mut new_index = Vec::with_capacity(insns.len() + 1);
        let mut count = 0u32;
        for k in &keep {
            new_index.push(count);
            count += u32::from(*k);
        }
        new_index.push(count);
        let mut p = Program {
            maps: self.used_maps.clone(),
            ..Program::default()
        };
        let mut second = false;
        for (at, i) in insns.iter().enumerate().filter(|&(at, _)| keep[at]) {
            let new = if second {
                *i
            } else {
                self.moved(at, i, &new_index)
            };
            second = i.is_wide() && !second;
            p.insns.push(new);
            let aux = &self.aux[at];
            p.facts.push(Fact {
                map: aux.fact_map.get(),
                key: aux.fact_key.get(),
            });
            p.origin.push(at as u32);
        }
        p.subprogs = self.functions(&new_index);
        p
    }

    fn kept(&self, at: usize) -> bool {
        let (aux, i) = (&self.aux[at], &self.desc.insns[at]);
        let second = at > 0 && self.desc.insns[at - 1].is_wide() && self.aux[at - 1].seen;
        aux.seen && (second || aux.jumped || !is_conditional(i))
    }

    fn moved(&self, at: usize, i: &Insn, new_index: &[u32]) -> Insn {
        let here = i64::from(new_index[at]) + 1;
        let place = |t: i64| i64::from(new_index.get(t as usize).copied().unwrap_or(0)) - here;
        let mut new = *i;
        if let Some(v) = self.aux[at].constant.get() {
            return Insn::new(op::ALU | op::MOV, i.dst, 0, 0, v as i32);
        }
        if structure::names_function(i) {
            let entry = at as i64 + i64::from(i.imm) + 1;
            new.imm = place(entry) as i32;
            // Nothing ever calls this function back: it is gone, its address 0.
            if i.is_wide() && !self.aux.get(entry as usize).is_some_and(|aux| aux.seen) {
                (new.src, new.imm) = (0, 0);
            }
        } else if let Some(t) = structure::jump_target(at, i) {
            if i.opcode == op::JMP32 | op::JA {
                new.imm = place(t) as i32;
            } else {
                new.off = place(t) as i16;
            }
            if is_conditional(i) && !self.aux[at].fell {
                new = Insn::new(op::JMP | op::JA, 0, 0, new.off, 0);
            }
        }
        new
    }

    fn functions(&self, new_index: &[u32]) -> Vec<Subprog> {
        let calls = depth::call_graph(self.desc.insns, &self.shape);
        let own = depth::with_tail_call(self.desc.insns, &self.shape);
        let reach = depth::reaching(&calls, &own);
        let at = |old: usize| new_index.get(old).copied().unwrap_or(0);
        (0..self.shape.starts.len())
            .map(|nr| Subprog {
                start: at(self.shape.starts[nr]),
                end: at(self.shape.end(nr)),
                stack_depth: self.stack_depth[nr].next_multiple_of(8),
                is_callback: self.callbacks[nr],
                tail_call_reachable: reach[nr],
            })
            .filter(|s| s.start < s.end)
            .collect()
    }
}

fn is_conditional(i: &Insn) -> bool {
    matches!(i.class(), op::JMP | op::JMP32)
        && !matches!(i.opcode & 0xf0, op::JA | op::CALL | op::EXIT | op::JCOND)
}
