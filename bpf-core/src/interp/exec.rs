//! The loop that executes instructions.
use super::{Atomic, Callbacks, Observer, Options, Runtime, Trap, TrapKind, alu};
use crate::env::runtime_fn::PACKET_LOAD;
use crate::helper::TAIL_CALL;
use crate::insn::{AtomicOp, Op, Operand, Reg, Size, Wide, Width};
use crate::program::Program;
use crate::uapi::limits;
use alloc::sync::Arc;

/// What all functions of one run share.
pub(super) struct Machine<'o> {
    fuel: Option<u64>,
    observer: Option<&'o mut dyn Observer>,
    tail_calls: u32,
}

/// One function while it runs.
struct Frame<'p> {
    prog: &'p Program,
    depth: u32,
    regs: [u64; Reg::COUNT],
    /// The next instruction.
    pc: u32,
    /// Iterations that `may_goto` still grants.
    iterations: u32,
}

/// What comes after an instruction.
enum Next {
    /// The instruction after it.
    Step,
    /// The instruction at this distance from it.
    Jump(i32),
    /// The function is over.
    Return,
    /// Another program takes the function's place.
    TailCall(Arc<Program>),
}

impl<'o> Machine<'o> {
    pub(super) fn new(options: Options<'o>) -> Self {
        Machine {
            fuel: options.fuel,
            observer: options.observer,
            tail_calls: 0,
        }
    }

    /// Runs the function that starts at `entry` until it returns R0.
    pub(super) fn function(
        &mut self,
        rt: &mut dyn Runtime,
        prog: &Program,
        entry: u32,
        args: [u64; 5],
        depth: u32,
    ) -> Result<u64, Trap> {
        if depth as usize >= rt.frames() {
            return Err(TrapKind::CallDepth.into());
        }
        let fp = rt
            .stack_top()
            .wrapping_sub(u64::from(depth * limits::STACK));
        let mut taken_over;
        let mut frame = Frame::new(prog, entry, args, depth, fp);
        loop {
            match self.run_frame(rt, &mut frame)? {
                Ok(r0) => return Ok(r0),
                Err(next) => {
                    let ctx = [frame.get(Reg::R1), 0, 0, 0, 0];
                    taken_over = next;
                    frame = Frame::new(&taken_over, 0, ctx, depth, fp);
                }
            }
        }
    }

    /// Runs a frame to its end (R0) or to a tail call.
    fn run_frame(
        &mut self,
        rt: &mut dyn Runtime,
        frame: &mut Frame<'_>,
    ) -> Result<Result<u64, Arc<Program>>, Trap> {
        loop {
            let at = frame.pc;
            let next = self.step(rt, frame).map_err(|trap| trap.at(at))?;
            match next {
                Next::Step => {}
                Next::Jump(off) => frame.pc = frame.pc.wrapping_add_signed(off),
                Next::Return => return Ok(Ok(frame.get(Reg::R0))),
                Next::TailCall(prog) => return Ok(Err(prog)),
            }
        }
    }

    /// Executes one instruction; `pc` already points behind it afterwards.
    fn step(&mut self, rt: &mut dyn Runtime, frame: &mut Frame<'_>) -> Result<Next, Trap> {
        let insns = &frame.prog.insns;
        let at = frame.pc as usize;
        let insn = insns.get(at).ok_or(TrapKind::OutOfProgram)?;
        let op = insn.decode(insns.get(at + 1)).map_err(TrapKind::Decode)?;
        if let Some(fuel) = &mut self.fuel {
            *fuel = fuel.checked_sub(1).ok_or(TrapKind::OutOfFuel)?;
        }
        if let Some(observer) = &mut self.observer {
            observer.before(frame.prog, frame.pc, frame.depth, &frame.regs, rt);
        }
        frame.pc += op.slots() as u32;
        self.execute(rt, frame, op)
    }

    fn execute(&mut self, rt: &mut dyn Runtime, f: &mut Frame<'_>, op: Op) -> Result<Next, Trap> {
        match op {
            Op::Alu {
                width,
                op,
                dst,
                src,
            } => {
                f.set(dst, alu::alu(width, op, f.get(dst), f.operand(src)));
            }
            Op::Movsx {
                width,
                from,
                dst,
                src,
            } => {
                let value = alu::sign_extend(from, f.get(src));
                f.set(dst, truncate(width, value));
            }
            Op::Neg { width, dst } => f.set(dst, alu::neg(width, f.get(dst))),
            Op::Swap { swap, size, dst } => f.set(dst, alu::swap(swap, size, f.get(dst))),
            Op::LoadWide { dst, value } => f.set(dst, f.wide(rt, value)?),
            Op::Load {
                size,
                signed,
                dst,
                src,
                off,
            } => {
                let value = rt.load(f.address(src, off), size)?;
                f.set(
                    dst,
                    if signed {
                        alu::sign_extend(size, value)
                    } else {
                        value
                    },
                );
            }
            Op::LoadAcquire {
                size,
                dst,
                src,
                off,
            } => {
                f.set(dst, rt.load(f.address(src, off), size)?);
            }
            Op::Store {
                size,
                dst,
                off,
                src,
            } => {
                rt.store(f.address(dst, off), size, f.operand(src))?;
            }
            Op::StoreRelease {
                size,
                dst,
                off,
                src,
            } => {
                rt.store(f.address(dst, off), size, f.get(src))?;
            }
            Op::Atomic {
                width,
                op,
                dst,
                off,
                src,
            } => f.atomic(rt, width, op, (dst, off), src)?,
            Op::LoadPacket { size, index, imm } => {
                return f.load_packet(self, rt, size, index, imm);
            }
            Op::Jump { off, .. } => return Ok(Next::Jump(off)),
            Op::JumpIf {
                width,
                cond,
                dst,
                src,
                off,
            } => {
                if alu::compare(width, cond, f.get(dst), f.operand(src)) {
                    return Ok(Next::Jump(off.into()));
                }
            }
            Op::MayGoto { off } => match f.iterations.checked_sub(1) {
                Some(left) => f.iterations = left,
                None => return Ok(Next::Jump(off.into())),
            },
            Op::CallHelper { id: TAIL_CALL } => return self.tail_call(rt, f),
            Op::CallHelper { .. } | Op::CallKfunc { .. } | Op::CallLocal { .. } => {
                let r0 = self.call(rt, f, op)?;
                f.returned(r0);
            }
            Op::Exit => return Ok(Next::Return),
        }
        Ok(Next::Step)
    }

    fn call(&mut self, rt: &mut dyn Runtime, f: &Frame<'_>, op: Op) -> Result<u64, Trap> {
        let args = f.args();
        let mut caller = Caller {
            machine: self,
            prog: f.prog,
            depth: f.depth,
        };
        match op {
            Op::CallHelper { id } => rt.helper(id, args, &mut caller),
            Op::CallKfunc { id, .. } => rt.kfunc(id, args, &mut caller),
            Op::CallLocal { off } => caller.function(rt, f.pc.wrapping_add_signed(off), args),
            _ => Err(TrapKind::OutOfProgram.into()),
        }
    }

    /// Where the slot is empty or too many were made, the program just goes on.
    fn tail_call(&mut self, rt: &mut dyn Runtime, f: &mut Frame<'_>) -> Result<Next, Trap> {
        let [_, map, index, ..] = f.args();
        // Asked only where it will be made: the runtime takes it as made.
        let target = match self.tail_calls < limits::TAIL_CALLS {
            true => rt.tail_call(map, index as u32)?,
            false => None,
        };
        Ok(match target {
            Some(prog) => {
                self.tail_calls += 1;
                Next::TailCall(prog)
            }
            None => {
                f.returned(0);
                Next::Step
            }
        })
    }
}

impl<'p> Frame<'p> {
    fn new(prog: &'p Program, pc: u32, args: [u64; 5], depth: u32, fp: u64) -> Self {
        let [a, b, c, d, e] = args;
        Frame {
            prog,
            depth,
            regs: [0, a, b, c, d, e, 0, 0, 0, 0, fp],
            pc,
            iterations: limits::LOOPS,
        }
    }

    fn get(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    fn set(&mut self, reg: Reg, value: u64) {
        self.regs[reg.index()] = value;
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Imm(imm) => imm as u64,
            Operand::Reg(reg) => self.get(reg),
        }
    }

    fn address(&self, base: Reg, off: i16) -> u64 {
        self.get(base).wrapping_add_signed(off.into())
    }

    fn args(&self) -> [u64; 5] {
        let [_, a, b, c, d, e, ..] = self.regs;
        [a, b, c, d, e]
    }

    /// After a call R0 is its result and the arguments are gone.
    fn returned(&mut self, r0: u64) {
        self.set(Reg::R0, r0);
        for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            self.set(reg, 0);
        }
    }

    fn wide(&self, rt: &dyn Runtime, value: Wide) -> Result<u64, Trap> {
        let find = |handle| rt.maps().map(handle).ok_or(TrapKind::Map(handle));
        match value {
            Wide::Imm(n) => Ok(n),
            Wide::Map { map } => Ok(find(map)?.object_addr),
            Wide::MapValue { map, off } => Ok(find(map)?.values_addr.wrapping_add(u64::from(off))),
            // The token of a callback is the index of its first instruction. The
            // load has two slots, but the distance counts from after the first.
            Wide::Func { rel } => Ok(self.pc.wrapping_sub(1).wrapping_add_signed(rel).into()),
            Wide::BtfId { .. } | Wide::MapIdx { .. } | Wide::MapIdxValue { .. } => {
                Err(TrapKind::WideLoad.into())
            }
        }
    }

    fn atomic(
        &mut self,
        rt: &mut dyn Runtime,
        width: Width,
        op: AtomicOp,
        (base, off): (Reg, i16),
        src: Reg,
    ) -> Result<(), Trap> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        let request = Atomic {
            op,
            src: truncate(width, self.get(src)),
            expected: truncate(width, self.get(Reg::R0)),
        };
        let old = rt.atomic(self.address(base, off), size, request)?;
        match op {
            AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => {}
            AtomicOp::Cmpxchg => self.set(Reg::R0, old),
            _ => self.set(src, old),
        }
        Ok(())
    }

    /// A packet that is too short ends the function with R0 = 0.
    fn load_packet(
        &mut self,
        machine: &mut Machine<'_>,
        rt: &mut dyn Runtime,
        size: Size,
        index: Option<Reg>,
        imm: i32,
    ) -> Result<Next, Trap> {
        let base = index.map_or(0, |reg| self.get(reg) as i32);
        let args = [base.wrapping_add(imm) as u64, size.bytes().into(), 0, 0, 0];
        let mut caller = Caller {
            machine,
            prog: self.prog,
            depth: self.depth,
        };
        let value = rt.helper(PACKET_LOAD, args, &mut caller)?;
        if (value as i64) < 0 {
            self.returned(0);
            return Ok(Next::Return);
        }
        self.returned(value);
        Ok(Next::Step)
    }
}

fn truncate(width: Width, value: u64) -> u64 {
    match width {
        Width::W32 => alu::zero_extend(Size::W, value),
        Width::W64 => value,
    }
}

/// The function that called a helper, for the helper to call back.
struct Caller<'m, 'o, 'p> {
    machine: &'m mut Machine<'o>,
    prog: &'p Program,
    depth: u32,
}

impl Caller<'_, '_, '_> {
    fn function(&mut self, rt: &mut dyn Runtime, entry: u32, args: [u64; 5]) -> Result<u64, Trap> {
        self.machine
            .function(rt, self.prog, entry, args, self.depth + 1)
    }
}

impl Callbacks for Caller<'_, '_, '_> {
    fn call(&mut self, rt: &mut dyn Runtime, func: u64, args: [u64; 5]) -> Result<u64, Trap> {
        match u32::try_from(func) {
            Ok(entry) if (entry as usize) < self.prog.insns.len() => self.function(rt, entry, args),
            _ => Err(TrapKind::Callback(func).into()),
        }
    }
}
