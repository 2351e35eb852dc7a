//! What the compiler wants to know before it emits anything: where jumps lead,
//! what each function needs, and which registers are still wanted after each
//! instruction.

use super::JitError;
use super::effect::{ALL, CALLEE_SAVED, Effect, RegSet, bit};
use crate::helper::TAIL_CALL;
use crate::insn::{Insn, op};
use crate::program::{Program, Subprog};
use alloc::vec;
use alloc::vec::Vec;

/// Facts about one function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Function {
    /// The function's place and stack.
    pub subprog: Subprog,
    /// Those of R6 to R9 that it writes.
    pub saved: RegSet,
    /// It reads R10.
    pub frame: bool,
    /// It calls something.
    pub calls: bool,
    /// Its instructions need the compiler's scratch registers.
    pub scratch: bool,
    /// It counts `may_goto` rounds.
    pub may_goto: bool,
    /// It makes tail calls.
    pub tail_calls: bool,
    /// It is entered by the trampoline or a tail call only, which preserve R6 to R9.
    pub outermost: bool,
}

impl Function {
    /// Decides what the function saves once it is known whether others call it.
    fn settle(&mut self, called: bool) {
        self.outermost = !called;
        self.saved = match (called, self.tail_calls) {
            (false, _) => 0,
            (true, false) => self.saved,
            (true, true) => CALLEE_SAVED,
        };
    }
}

/// True for instructions whose code uses R9 to R11.
pub fn needs_scratch(insn: Insn) -> bool {
    let code = insn.opcode & 0xf0;
    match insn.class() {
        op::ALU | op::ALU64 => {
            matches!(code, op::DIV | op::MOD)
                || insn.opcode & op::X != 0 && matches!(code, op::LSH | op::RSH | op::ARSH)
        }
        op::JMP => code == op::CALL,
        op::LD => !insn.is_wide(),
        op::STX => insn.opcode & 0xe0 == op::ATOMIC,
        _ => false,
    }
}

/// What is known about a program.
#[derive(Debug, Default)]
pub struct Analysis {
    /// One per subprogram.
    pub functions: Vec<Function>,
    /// For each instruction: a jump leads here.
    pub targets: Vec<bool>,
    /// For each instruction: a backward jump leads here.
    pub loop_heads: Vec<bool>,
    /// Registers wanted after each instruction.
    pub live: Vec<RegSet>,
    /// For each target: registers wanted before it.
    pub live_in: Vec<RegSet>,
    /// For each instruction: a call leads here.
    called: Vec<bool>,
}

/// Index of the instruction that a jump leads to.
pub fn jump_target(i: usize, insn: Insn) -> Option<usize> {
    let off = match insn.opcode {
        o if o == op::JMP32 | op::JA => i64::from(insn.imm),
        _ => i64::from(insn.off),
    };
    usize::try_from(i as i64 + 1 + off).ok()
}

/// True for instructions that may continue at [`jump_target`].
pub fn is_jump(insn: Insn) -> bool {
    matches!(insn.class(), op::JMP | op::JMP32)
        && !matches!(insn.opcode & 0xf0, op::CALL | op::EXIT)
}

/// True for instructions that never continue at the next one.
pub fn ends_flow(insn: Insn) -> bool {
    match insn.class() {
        op::JMP => matches!(insn.opcode & 0xf0, op::JA | op::EXIT),
        op::JMP32 => insn.opcode & 0xf0 == op::JA,
        _ => false,
    }
}

impl Analysis {
    /// Analyses a program, whose structure it checks.
    pub fn of(prog: &Program) -> Result<Self, JitError> {
        let n = prog.insns.len();
        let mut a = Analysis {
            targets: vec![false; n],
            loop_heads: vec![false; n],
            live: vec![ALL; n],
            live_in: vec![0; n],
            called: vec![false; n],
            functions: Vec::with_capacity(prog.subprogs.len()),
        };
        let mut next = 0;
        for s in &prog.subprogs {
            let in_range = s.start == next && s.end > s.start && s.end as usize <= n;
            if !in_range || s.stack_depth > 1 << 20 {
                return Err(JitError::Unsupported(s.start));
            }
            next = s.end;
            let function = a.scan(&prog.insns, *s)?;
            a.functions.push(function);
        }
        if next as usize != n || n == 0 {
            return Err(JitError::Unsupported(next));
        }
        for f in &mut a.functions {
            f.settle(a.called.get(f.subprog.start as usize) == Some(&true));
        }
        Ok(a)
    }

    /// One pass over a function: jump targets and needs.
    fn scan(&mut self, insns: &[Insn], s: Subprog) -> Result<Function, JitError> {
        let mut f = Function {
            subprog: s,
            ..Function::default()
        };
        let mut wide: Option<usize> = None;
        for i in s.start as usize..s.end as usize {
            let Some(&insn) = insns.get(i) else { break };
            if wide == i.checked_sub(1) && wide.is_some() {
                continue;
            }
            let unsupported = JitError::Unsupported(i as u32);
            if insn.is_wide() {
                if i + 1 >= s.end as usize {
                    return Err(unsupported);
                }
                wide = Some(i);
            }
            if is_jump(insn) {
                let t = jump_target(i, insn).ok_or(unsupported.clone())?;
                if t < s.start as usize || t >= s.end as usize {
                    return Err(unsupported);
                }
                self.mark_target(t, i);
            }
            if insn.opcode == op::JMP | op::CALL {
                self.note_call(i, insn, &mut f);
            }
            let effect = Effect::of(insn);
            f.saved |= effect.defs & CALLEE_SAVED;
            f.frame |= effect.uses & bit(10) != 0;
            f.may_goto |= insn.opcode == op::JMP | op::JCOND;
            f.scratch |= needs_scratch(insn);
            f.calls |=
                insn.opcode == op::JMP | op::CALL || (insn.class() == op::LD && !insn.is_wide());
        }
        Ok(f)
    }

    fn note_call(&mut self, i: usize, insn: Insn, f: &mut Function) {
        let callee = usize::try_from(i as i64 + 1 + i64::from(insn.imm)).ok();
        match insn.src {
            op::PSEUDO_CALL => {
                if let Some(c) = callee.and_then(|c| self.called.get_mut(c)) {
                    *c = true;
                }
            }
            0 => f.tail_calls |= insn.imm == TAIL_CALL as i32,
            _ => {}
        }
    }

    fn mark_target(&mut self, target: usize, from: usize) {
        if let Some(t) = self.targets.get_mut(target) {
            *t = true;
        }
        if let Some(h) = self.loop_heads.get_mut(target) {
            *h |= target <= from;
        }
    }
}
