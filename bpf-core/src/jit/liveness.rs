//! The backward pass: which registers are still wanted, and which instructions
//! nothing wants.

use super::analysis::{Analysis, Function, ends_flow, is_jump, jump_target};
use super::effect::{ALL, Effect, RegSet, bit};
use super::plan::{Plan, Plans, effect};
use crate::insn::{Insn, op};
use crate::program::Program;

/// Sweeps over a function before giving up on exactness.
const SWEEPS: usize = 16;

impl Analysis {
    /// Computes `live` for a function whose plans are `plans`, and adds plans to
    /// leave out what is dead.
    pub fn find_live(&mut self, prog: &Program, f: &Function, plans: &Plans) {
        for sweep in 0.. {
            if sweep == SWEEPS {
                self.assume_all(f);
                return;
            }
            if !self.sweep(prog, f, plans) {
                return;
            }
        }
    }

    fn assume_all(&mut self, f: &Function) {
        let range = f.subprog.start as usize..f.subprog.end as usize;
        for live in self.live.get_mut(range.clone()).unwrap_or(&mut []) {
            *live = ALL;
        }
        for live in self.live_in.get_mut(range).unwrap_or(&mut []) {
            *live = ALL;
        }
    }

    /// One sweep; true if another is needed.
    fn sweep(&mut self, prog: &Program, f: &Function, plans: &Plans) -> bool {
        let mut again = false;
        let mut live: RegSet = 0;
        let mut rest = plans.as_slice();
        for i in (f.subprog.start as usize..f.subprog.end as usize).rev() {
            let insn = prog.insns.get(i).copied().unwrap_or_default();
            let plan = take_plan(&mut rest, i);
            if plan.is_none() {
                live = self.flow(i, insn, live);
            }
            if let Some(l) = self.live.get_mut(i) {
                *l = live;
            }
            if !is_dead(insn, live) {
                let e = effect(insn, plan);
                live = live & !e.defs | e.uses;
            }
            if self.targets.get(i) == Some(&true)
                && let Some(l) = self.live_in.get_mut(i)
                && *l != live
            {
                *l = live;
                again |= self.loop_heads.get(i) == Some(&true);
            }
        }
        again
    }

    /// What is wanted after an instruction, given what is wanted at the next.
    fn flow(&self, i: usize, insn: Insn, next: RegSet) -> RegSet {
        let next = if ends_flow(insn) { 0 } else { next };
        let target = is_jump(insn).then(|| jump_target(i, insn)).flatten();
        next | target.map_or(0, |t| self.live_in.get(t).copied().unwrap_or(ALL))
    }

    /// What is wanted before an instruction.
    pub fn live_before(&self, prog: &Program, i: usize) -> RegSet {
        if self.targets.get(i) == Some(&true) {
            return self.live_in.get(i).copied().unwrap_or(ALL);
        }
        match (prog.insns.get(i), self.live.get(i)) {
            (Some(&insn), Some(&live)) => {
                let e = Effect::of(insn);
                live & !e.defs | e.uses
            }
            _ => ALL,
        }
    }
}

/// True for instructions that do nothing but compute what nothing wants. (Loads are
/// kept: one that faults has to fault.)
pub fn is_dead(insn: Insn, live: RegSet) -> bool {
    let pure = matches!(insn.class(), op::ALU | op::ALU64) || insn.is_wide();
    pure && insn.dst < 10 && live & bit(insn.dst) == 0
}

/// The plan for an instruction, going backwards.
fn take_plan(rest: &mut &[(u32, Plan)], i: usize) -> Option<Plan> {
    while let Some((&(at, plan), before)) = rest.split_last() {
        if (at as usize) < i {
            break;
        }
        *rest = before;
        if at as usize == i {
            return Some(plan);
        }
    }
    None
}
