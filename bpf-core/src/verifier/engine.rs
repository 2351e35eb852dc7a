//! The exploration of all paths.
use super::domain::Scalar;
use super::fastcall::Fastcalls;
use super::live;
use super::log::Log;
use super::opcode;
use super::precision::Nodes;
use super::prune::{Checkpoint, Kept};
use super::reg::{Kind, Reg};
use super::reject::{Res, bail};
use super::state::{Frame, State};
use super::structure::{self, Shape};
use super::types::Types;
use super::{Observer, Options, Spent, Stats};
use crate::insn::{Insn, op};
use crate::program::{MapDesc, MapTable, ProgramDesc};
use crate::uapi::errno::{E2BIG, EACCES, EFAULT, EINVAL};
use crate::uapi::{ProgType, prog_flags};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// What is gathered about one instruction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aux {
    /// States are compared here.
    pub prune_point: bool,
    /// A path that comes by is longer by one jump.
    pub jump_point: bool,
    /// A checkpoint is made at each visit.
    pub force: bool,
    /// Some path came here.
    pub seen: bool,
    /// Conditional jumps: some path went on, some path jumped.
    pub fell: bool,
    pub jumped: bool,
    /// Wide loads of maps: index into `Verifier::maps`.
    pub map: Option<usize>,
    /// Calls: what all visits agreed on so far.
    pub fact_map: Agreed,
    pub fact_key: Agreed,
    /// Loads and stores: kind of pointer seen before.
    pub access: Option<super::memory::AccessClass>,
    /// Loads through a map pointer: the constant that they give.
    pub constant: Agreed,
}

/// A value that is the same on all visits, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Agreed {
    #[default]
    Unvisited,
    On(u32),
    Differs,
}

impl Agreed {
    pub fn see(&mut self, v: Option<u32>) {
        *self = match (*self, v) {
            (Self::Unvisited, Some(v)) => Self::On(v),
            (Self::On(old), Some(v)) if old == v => *self,
            _ => Self::Differs,
        };
    }

    pub fn get(self) -> Option<u32> {
        if let Self::On(v) = self {
            Some(v)
        } else {
            None
        }
    }
}

/// A path still to be followed.
pub(crate) struct Pending {
    pub state: State,
    pub pc: usize,
    pub from: usize,
    /// Length of the log when the path was put off: at level 1 the log tells
    /// of the path in question alone.
    pub log_len: usize,
}

/// Where a path goes after an instruction.
pub(crate) enum Next {
    To(usize),
    Done,
}

/// One verification in progress.
pub(crate) struct Verifier<'a> {
    pub desc: &'a ProgramDesc<'a>,
    pub table: &'a dyn MapTable,
    pub opts: &'a Options<'a>,
    pub observer: Option<&'a mut dyn Observer>,
    pub shape: Shape,
    pub types: Types<'a>,
    pub live: Vec<u16>,
    pub aux: Vec<Aux>,
    /// Maps that the program names, then templates of their inner maps.
    pub maps: Vec<MapDesc>,
    pub used_maps: Vec<u32>,
    pub nodes: Nodes,
    pub checkpoints: Vec<Checkpoint>,
    /// Checkpoints kept for pruning, on the shelf of their instruction and call
    /// (`Verifier::shelf`).
    pub explored: Vec<Vec<Kept>>,
    pub pending: Vec<Pending>,
    /// Room for the ids that a checkpoint looks through.
    pub scalar_ids: Vec<u32>,
    pub st: State,
    pub pc: usize,
    pub came_from: usize,
    pub ids: u32,
    /// Jumps on all paths, and counts when the last checkpoint was made.
    pub jumps: u32,
    pub jumps_at_checkpoint: u32,
    pub insns_at_checkpoint: u32,
    pub stats: Stats,
    /// Steps of work done (`Verifier::spend`).
    steps: u32,
    pub log: Log,
    /// Per function: bytes of stack used.
    pub stack_depth: Vec<u32>,
    pub fastcalls: Fastcalls,
    pub callbacks: Vec<bool>,
    /// Global functions that some path calls.
    pub called: Vec<bool>,
    /// Functions after which packet pointers are stale.
    pub changes_packet: Vec<bool>,
    pub has_tail_call: Vec<bool>,
    pub strict: bool,
}

impl<'a> Verifier<'a> {
    pub fn new(
        desc: &'a ProgramDesc<'a>,
        table: &'a dyn MapTable,
        opts: &'a Options<'a>,
        observer: Option<&'a mut dyn Observer>,
        (shape, types): (Shape, Types<'a>),
    ) -> Self {
        let functions = shape.starts.len();
        let mut v = Self {
            desc,
            table,
            opts,
            observer,
            live: live::registers(desc.insns),
            aux: alloc::vec![Aux::default(); desc.insns.len()],
            maps: Vec::new(),
            used_maps: Vec::new(),
            nodes: Nodes::new(),
            checkpoints: Vec::new(),
            explored: alloc::vec![Vec::new(); desc.insns.len()],
            pending: Vec::new(),
            scalar_ids: Vec::new(),
            st: State::at_entry(0),
            pc: 0,
            came_from: 0,
            ids: 0,
            jumps: 0,
            jumps_at_checkpoint: 0,
            insns_at_checkpoint: 0,
            stats: Stats::default(),
            steps: 0,
            log: Log::new(opts.log_level),
            stack_depth: alloc::vec![0; functions],
            fastcalls: Fastcalls::find(desc.insns, &shape),
            callbacks: alloc::vec![false; functions],
            called: alloc::vec![false; functions],
            changes_packet: Vec::new(),
            has_tail_call: alloc::vec![false; functions],
            strict: desc.flags & prog_flags::STRICT_ALIGNMENT != 0
                && desc.flags & prog_flags::ANY_ALIGNMENT == 0,
            shape,
            types,
        };
        v.changes_packet = v.packet_changers();
        if v.observer.is_some() {
            v.nodes.all_precise();
        }
        v.find_prune_points();
        v.enter_main();
        v
    }

    fn enter_main(&mut self) {
        let flat = self.desc.flat;
        let of_flat = self.desc.prog_type == ProgType::Flat;
        let frame = self.frame();
        frame.regs[1] = Reg::pointer(Kind::Ctx);
        if of_flat {
            let bytes = i32::try_from(flat.min).unwrap_or(i32::MAX);
            frame.regs[1] = Reg::pointer_to(Kind::Mem, bytes);
            frame.regs[2] = Reg::scalar(Scalar::from_urange(
                u64::from(flat.min),
                u64::from(flat.max),
            ));
        }
    }

    /// Where Linux compares states and where it notes that a path came by
    /// (`visit_insn`): both decide which states are kept, and so what is pruned.
    fn find_prune_points(&mut self) {
        let mut at = 0;
        while let Some(i) = self.desc.insns.get(at) {
            let step = if i.is_wide() { 2 } else { 1 };
            if let Some(t) = structure::jump_target(at, i) {
                self.point(t as usize, true);
                if !structure::ends_flow(i) {
                    self.point(at, false);
                }
                if i.opcode == op::JMP | op::JCOND {
                    self.aux[at].force = true;
                }
            }
            let call = i.opcode == op::JMP | op::CALL;
            if structure::names_function(i) {
                self.point((at as i64 + i64::from(i.imm) + 1) as usize, true);
                self.point(at, false);
            } else if call && i.src == 0 && super::call::takes_callback(i.imm as u32) {
                self.point(at, true);
                self.aux[at].force = true;
            }
            if call || structure::names_function(i) {
                self.point(at + step, true);
            }
            at += step;
        }
    }

    fn point(&mut self, at: usize, jump: bool) {
        if let Some(a) = self.aux.get_mut(at) {
            a.prune_point = true;
            a.jump_point |= jump;
        }
    }

    /// Follows every path.
    pub fn explore(&mut self) -> Res<()> {
        loop {
            if self.stats.insns_processed >= self.opts.insn_budget {
                let n = self.stats.insns_processed + 1;
                bail!(E2BIG, "BPF program is too large. Processed {n} insn");
            }
            self.stats.insns_processed += 1;
            self.spend()?;
            let pc = self.pc;
            let Some(&insn) = self.desc.insns.get(pc) else {
                bail!(
                    EFAULT,
                    "invalid insn idx {pc} insn_cnt {}",
                    self.desc.insns.len()
                );
            };
            let next = self.visit(pc, &insn).map_err(|r| r.at(pc))?;
            match next {
                Next::To(to) => {
                    self.came_from = pc;
                    self.pc = to;
                }
                Next::Done => {
                    self.path_ended(self.st.parent);
                    let Some(p) = self.pending.pop() else {
                        self.log.rewind(0);
                        return Ok(());
                    };
                    self.log_resume(&p);
                    self.st = p.state;
                    self.pc = p.pc;
                    self.came_from = p.from;
                }
            }
        }
    }

    /// One step of work, an instruction or a comparison of states; looks at time and
    /// memory now and then.
    pub fn spend(&mut self) -> Res<()> {
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(super::LOOK) {
            return Ok(());
        }
        let what = match (self.opts.spent)() {
            None => return Ok(()),
            Some(Spent::Time) => "time",
            Some(Spent::Memory) => "memory",
        };
        let n = self.stats.insns_processed;
        bail!(
            E2BIG,
            "the {what} for the verification is used up. Processed {n} insn"
        )
    }

    fn visit(&mut self, pc: usize, insn: &Insn) -> Res<Next> {
        if self.checkpoints.is_empty() {
            self.begin(pc);
        }
        if self.aux[pc].prune_point && self.checkpoint(pc)? {
            self.log_safe(pc);
            return Ok(Next::Done);
        }
        self.st.jumps += u32::from(self.aux[pc].jump_point);
        self.log_insn(pc, insn);
        if !self.aux[pc].seen {
            opcode::check_reached(insn, self.desc.insns.get(pc + 1))?;
            self.aux[pc].seen = true;
        }
        if let Some(o) = self.observer.as_deref_mut() {
            super::observe(o, pc, &self.st, self.live[pc]);
        }
        let next = self.step(pc, insn)?;
        if let Next::To(to) = next {
            self.log_effect(insn, to);
        }
        Ok(next)
    }

    fn step(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        match i.class() {
            op::ALU | op::ALU64 => self.alu(pc, i)?,
            op::LDX => self.load(pc, i)?,
            op::ST | op::STX => self.store(pc, i)?,
            op::LD if i.is_wide() => {
                self.load_imm(pc, i)?;
                self.aux[pc + 1].seen = true;
                return Ok(Next::To(pc + 2));
            }
            op::LD => return self.legacy_packet_load(pc, i),
            _ => return self.jump_class(pc, i),
        }
        Ok(Next::To(pc + 1))
    }

    /// The running frame, to be changed.
    pub fn frame(&mut self) -> &mut Frame {
        let top = self.st.frames.len() - 1;
        Rc::make_mut(&mut self.st.frames[top])
    }

    /// The running frame.
    pub fn top(&self) -> &Frame {
        &self.st.frames[self.st.frames.len() - 1]
    }

    /// A register as it is.
    pub fn reg(&self, nr: u8) -> &Reg {
        &self.top().regs[usize::from(nr)]
    }

    /// A register that is about to be used.
    pub fn read(&self, nr: u8) -> Res<Reg> {
        let r = self.reg(nr);
        if r.kind == Kind::NotInit {
            bail!(EACCES, "R{nr} !read_ok");
        }
        Ok(*r)
    }

    /// Refuses to change the frame pointer.
    pub fn check_writable(&self, nr: u8) -> Res<()> {
        if nr == 10 {
            bail!(EACCES, "frame pointer is read only");
        }
        Ok(())
    }

    /// Sets a register (after [`Verifier::check_writable`]).
    pub fn set(&mut self, nr: u8, r: Reg) {
        self.frame().regs[usize::from(nr)] = r;
    }

    pub fn new_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    /// Records that a proof rests on the number in a register.
    pub fn mark_precise(&mut self, nr: u8) {
        let r = self.reg(nr);
        if r.is_scalar() {
            let node = r.node;
            self.nodes.mark(node);
        }
    }

    /// Keeps a path for later. `errno` is the answer where there are too many
    /// (it differs between the kernel's callers).
    pub fn push(&mut self, state: State, pc: usize, from: usize, errno: i32) -> Res<()> {
        if let Some(c) = self.checkpoints.get_mut(state.parent as usize) {
            c.branches += 1;
        }
        let log_len = self.log.text.len();
        self.pending.push(Pending {
            state,
            pc,
            from,
            log_len,
        });
        self.stats.peak_states = self.stats.peak_states.max(self.pending.len() as u32);
        if self.pending.len() > 8192 {
            bail!(
                errno,
                "The sequence of {} jumps is too complex.",
                self.pending.len()
            );
        }
        Ok(())
    }

    fn load_imm(&mut self, pc: usize, i: &Insn) -> Res<()> {
        self.check_writable(i.dst)?;
        let high = self.desc.insns[pc + 1].imm as u32;
        let reg = match i.src {
            0 => Reg::constant(u64::from(i.imm as u32) | (u64::from(high) << 32)),
            op::PSEUDO_FUNC => {
                let entry = (pc as i64 + i64::from(i.imm) + 1) as usize;
                let nr = self.shape.starting_at(entry).unwrap_or(0);
                if !self.types.may_be_callback(nr) {
                    bail!(EINVAL, "callback function not static");
                }
                Reg::pointer_to(Kind::Func, nr as i32)
            }
            kind => {
                let Some(map) = self.aux[pc].map else {
                    bail!(EFAULT, "map not resolved")
                };
                if kind == op::PSEUDO_MAP_VALUE {
                    Reg {
                        off: high as i32,
                        ..Reg::pointer_to(Kind::MapValue, map as i32)
                    }
                } else {
                    Reg::pointer_to(Kind::MapPtr, map as i32)
                }
            }
        };
        self.set(i.dst, reg);
        Ok(())
    }
}
