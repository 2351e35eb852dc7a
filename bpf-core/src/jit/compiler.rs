//! The compiler's state and its loop over functions and instructions.

use super::analysis::{Analysis, Function, ends_flow};
use super::buffer::{Buffer, Label};
use super::effect::{RegSet, bit};
use super::frame::Frame;
use super::layout::Layout;
use super::liveness::is_dead;
use super::plan::{Plan, Planner, Plans};
use super::pool::Pool;
use super::x86::{Reg, Size, forms};
use super::{Code, Features, JitError, Target};
use crate::insn::{Insn, op};
use crate::program::{MapTable, Program};
use alloc::vec::Vec;

/// Machine registers of R0 to R10. R0 to R5 are where the C calling convention
/// has the result and the arguments, R6 to R9 are among those that it preserves.
const REGS: [Reg; 11] = [
    Reg::RAX,
    Reg::RDI,
    Reg::RSI,
    Reg::RDX,
    Reg::RCX,
    Reg::R8,
    Reg::RBX,
    Reg::R13,
    Reg::R14,
    Reg::R15,
    Reg::RBP,
];

/// The machine register of a BPF register.
pub fn x86_reg(n: u8) -> Option<Reg> {
    REGS.get(usize::from(n)).copied()
}

/// A compilation.
pub struct Compiler<'a> {
    pub(super) prog: &'a Program,
    pub(super) maps: &'a dyn MapTable,
    pub(super) target: &'a dyn Target,
    pub(super) base: u64,
    pub(super) features: Features,
    pub(super) info: Analysis,
    pub(super) buf: Buffer,
    /// The function being compiled.
    pub(super) function: Function,
    pub(super) frame: Frame,
    /// Index of the instruction being compiled.
    pub(super) at: usize,
    /// The function's constants in registers.
    pub(super) pool: Pool,
    /// Plans for all functions so far.
    plans: Plans,
    /// How many of them are used up.
    planned: usize,
    /// The next instruction's work is already done.
    pub(super) skip_next: bool,
    /// Code out of line: where it begins, and where it goes on after R0 = 0.
    pub(super) cold: Vec<(Label, Label)>,
}

impl<'a> Compiler<'a> {
    pub fn new(
        prog: &'a Program,
        maps: &'a dyn MapTable,
        target: &'a dyn Target,
        base: u64,
    ) -> Result<Self, JitError> {
        let info = Analysis::of(prog)?;
        let labels = prog.insns.len() + 1 + info.functions.len();
        Ok(Self {
            prog,
            maps,
            target,
            base,
            features: target.features(),
            info,
            buf: Buffer::new(labels),
            function: Function::default(),
            frame: Frame::default(),
            at: 0,
            pool: Pool::default(),
            plans: Plans::new(),
            planned: 0,
            skip_next: false,
            cold: Vec::new(),
        })
    }

    pub fn run(mut self) -> Result<Code, JitError> {
        for k in 0..self.info.functions.len() {
            self.function(k)?;
        }
        self.buf.bind(Label(self.prog.insns.len() as u32));
        let layout = Layout::of(&mut self.buf)?;
        let offset = |l: Label| layout.offset(&self.buf, l);
        let entries: Vec<u32> = (0..self.info.functions.len())
            .map(|k| offset(self.entry_label(k)))
            .collect();
        let count = self.prog.insns.len() as u32;
        Ok(Code {
            bytes: layout.write(&self.buf, self.base)?,
            tail_call_entry: entries.first().copied().unwrap_or(0),
            entries,
            insn_offsets: (0..=count).map(|i| offset(Label(i))).collect(),
        })
    }

    fn function(&mut self, k: usize) -> Result<(), JitError> {
        let Some(&function) = self.info.functions.get(k) else {
            return Ok(());
        };
        self.function = function;
        self.prepare();
        self.buf.align(4);
        self.buf.bind(self.entry_label(k));
        self.prologue();
        for &(value, reg) in self.pool.entries() {
            self.buf.load_imm(reg, value);
        }
        let (start, end) = (
            function.subprog.start as usize,
            function.subprog.end as usize,
        );
        let mut last = Insn::default();
        self.at = start;
        while self.at < end {
            last = self.insn_at(self.at);
            self.align_loop();
            self.buf.bind(self.insn_label(self.at));
            self.planned_instruction(last)?;
            if last.is_wide() {
                self.at += 1;
                if self.info.targets.get(self.at) == Some(&true) {
                    return Err(self.unsupported());
                }
                self.buf.bind(self.insn_label(self.at));
            }
            self.at += 1;
        }
        if !ends_flow(last) {
            self.buf.op0(&forms::UD2, Size::D);
        }
        self.flush_cold();
        Ok(())
    }

    /// The passes over a function before its code is emitted.
    fn prepare(&mut self) {
        let f = self.function;
        let scratch: &[Reg] = match f.scratch {
            false => &[Reg::R9, Reg::R10, Reg::R11],
            true => &[],
        };
        self.pool = Pool::of(self.prog, self.maps, &f, scratch);
        if !f.outermost {
            self.function.saved |= self.pool.saved;
        }
        self.plans.clear();
        self.planned = 0;
        let bmi2 = self.features.bmi2;
        let plans = &mut self.plans;
        Planner::new(self.prog, self.maps, &self.info, &self.pool, bmi2, plans).run(&f);
        self.info.find_live(self.prog, &f, &self.plans);
        self.frame = Frame::of(&self.function);
    }

    /// The plan for the present instruction.
    fn take_plan(&mut self) -> Option<Plan> {
        while let Some(&(at, plan)) = self.plans.get(self.planned) {
            if at as usize > self.at {
                break;
            }
            self.planned += 1;
            if at as usize == self.at {
                return Some(plan);
            }
        }
        None
    }

    /// Whether an instruction has one.
    pub(super) fn has_plan(&self, at: usize) -> bool {
        let found = self.plans.binary_search_by_key(&at, |&(at, _)| at as usize);
        found.is_ok()
    }

    /// Whether nothing wants what the present instruction computes.
    pub(super) fn is_dead(&self, insn: Insn) -> bool {
        is_dead(insn, self.info.live.get(self.at).copied().unwrap_or(!0))
    }

    fn planned_instruction(&mut self, insn: Insn) -> Result<(), JitError> {
        let plan = self.take_plan();
        let skip = core::mem::take(&mut self.skip_next);
        if skip || self.is_dead(insn) {
            return Ok(());
        }
        match plan {
            Some(plan) => self.special(insn, plan),
            None => self.instruction(insn),
        }
    }

    fn align_loop(&mut self) {
        if self.info.loop_heads.get(self.at) == Some(&true) {
            self.buf.align(4);
        }
    }

    pub(super) fn instruction(&mut self, insn: Insn) -> Result<(), JitError> {
        match insn.class() {
            op::ALU => self.alu(insn, Size::W),
            op::ALU64 => self.alu(insn, Size::D),
            op::JMP => self.jump(insn, Size::D),
            op::JMP32 => self.jump(insn, Size::W),
            op::LD => self.load_special(insn),
            op::LDX => self.load(insn),
            op::ST => self.store_imm(insn),
            _ => self.store(insn),
        }
    }

    pub(super) fn insn_at(&self, i: usize) -> Insn {
        self.prog.insns.get(i).copied().unwrap_or_default()
    }

    pub(super) fn unsupported(&self) -> JitError {
        JitError::Unsupported(self.at as u32)
    }

    /// The machine register of an operand.
    pub(super) fn reg(&self, n: u8) -> Result<Reg, JitError> {
        x86_reg(n).ok_or(self.unsupported())
    }

    /// The machine register of a destination, which R10 cannot be.
    pub(super) fn dst(&self, n: u8) -> Result<Reg, JitError> {
        if n == 10 {
            return Err(self.unsupported());
        }
        self.reg(n)
    }

    /// Whether a BPF register is wanted after the present instruction.
    pub(super) fn live(&self, reg: u8) -> bool {
        let live: RegSet = self.info.live.get(self.at).copied().unwrap_or(!0);
        live & bit(reg) != 0
    }

    pub(super) fn insn_label(&self, i: usize) -> Label {
        Label(i as u32)
    }

    pub(super) fn entry_label(&self, function: usize) -> Label {
        Label((self.prog.insns.len() + 1 + function) as u32)
    }

    /// The entry of the function that begins at an instruction.
    pub(super) fn entry_at(&self, start: Option<usize>) -> Result<Label, JitError> {
        let start = start.ok_or(self.unsupported())?;
        self.info
            .functions
            .binary_search_by_key(&start, |f| f.subprog.start as usize)
            .map(|k| self.entry_label(k))
            .map_err(|_| self.unsupported())
    }
}
