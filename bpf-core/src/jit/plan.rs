//! The forward pass: for each instruction, is there something better than its
//! literal translation?
//!
//! Addresses that straight code computes are folded into memory operands, copies
//! into three-operand instructions, pairs of shifts into rotations, lookups in
//! array maps into arithmetic. What becomes unused that way, the liveness pass
//! removes afterwards.

use super::analysis::{Analysis, Function, is_jump, jump_target};
use super::effect::{CALLER_SAVED, Effect, RegSet, bit};
use super::lookup::{Lookup, plain_array};
use super::pool::{Pool, wide_value};
use super::value::{Addr, Base, LOW, Value, Values};
use super::x86::Size;
use crate::insn::{Insn, op};
use crate::program::{MapTable, Program};
use alloc::vec::Vec;

/// How to compile an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Not at all.
    Skip,
    /// A load or store at this address.
    Access(Addr),
    /// `dst` = this sum.
    Lea(Addr),
    /// As it stands, but with the first operand from this register.
    From(u8),
    /// `dst` = the lower half of this register, zero-extended.
    Low(u8),
    /// `dst` = this register rotated left.
    Rotate { src: u8, left: u8, size: Size },
    /// `dst` = 1 or 0 as this jump would be taken (or, the other way round).
    Select { dst: u8, taken: bool },
    /// A lookup in an array map.
    Lookup(Lookup),
}

/// Plans in the order of the instructions that they are for.
pub type Plans = Vec<(u32, Plan)>;

/// What an instruction reads and writes when compiled by its plan.
pub fn effect(insn: Insn, plan: Option<Plan>) -> Effect {
    let e = Effect::of(insn);
    let uses = match plan {
        None => return e,
        Some(Plan::Select { dst, .. }) => {
            return Effect {
                defs: bit(dst),
                ..e
            };
        }
        Some(Plan::Skip) => return Effect::default(),
        Some(Plan::Access(a)) if insn.class() == op::STX => a.uses() | bit(insn.src),
        Some(Plan::Access(a) | Plan::Lea(a)) => a.uses(),
        Some(Plan::From(r)) if insn.opcode & op::X != 0 => bit(r) | bit(insn.src),
        Some(Plan::From(r) | Plan::Low(r)) => bit(r),
        Some(Plan::Rotate { src, .. }) => bit(src),
        Some(Plan::Lookup(l)) => l.uses(),
    };
    Effect { uses, ..e }
}

/// The pass over one function.
pub struct Planner<'a> {
    prog: &'a Program,
    maps: &'a dyn MapTable,
    info: &'a Analysis,
    pool: &'a Pool,
    bmi2: bool,
    values: Values,
    plans: &'a mut Plans,
    at: usize,
}

impl<'a> Planner<'a> {
    pub fn new(
        prog: &'a Program,
        maps: &'a dyn MapTable,
        info: &'a Analysis,
        pool: &'a Pool,
        bmi2: bool,
        plans: &'a mut Plans,
    ) -> Self {
        Self {
            prog,
            maps,
            info,
            pool,
            bmi2,
            values: Values::default(),
            plans,
            at: 0,
        }
    }

    pub fn run(mut self, f: &Function) {
        self.at = f.subprog.start as usize;
        while self.at < f.subprog.end as usize {
            if self.is_target(self.at) {
                self.values = Values::default();
            }
            let insn = self.insn(0);
            if !self.select(insn) && !self.narrowing(insn) {
                self.step(insn);
            }
            self.at += if insn.is_wide() { 2 } else { 1 };
        }
    }

    fn insn(&self, ahead: usize) -> Insn {
        let i = self.at + ahead;
        self.prog.insns.get(i).copied().unwrap_or_default()
    }

    fn is_target(&self, i: usize) -> bool {
        self.info.targets.get(i) == Some(&true)
    }

    fn plan(&mut self, plan: Plan) {
        self.plans.push((self.at as u32, plan));
    }

    fn step(&mut self, insn: Insn) {
        match insn.class() {
            op::ALU | op::ALU64 => self.alu(insn),
            op::LD if insn.is_wide() => self.load_wide(insn),
            op::LDX => self.load(insn),
            op::ST | op::STX => self.store(insn),
            op::JMP if insn.opcode == op::JMP | op::CALL => self.call(insn),
            _ => self.values.forget(Effect::of(insn).defs),
        }
    }

    fn load_wide(&mut self, insn: Insn) {
        // A lookup in place has no use for the map's address; without this load, R1
        // still holds what it did, which often is the key.
        let fact = self.prog.facts.get(self.at + 2).copied();
        let lookup = plain_array(self.insn(2), fact.unwrap_or_default(), self.maps).is_some();
        if insn.dst == 1 && lookup && !self.is_target(self.at + 2) {
            self.plan(Plan::Skip);
            return;
        }
        match wide_value(self.maps, insn, self.insn(1)) {
            Some(c) => self.values.set(insn.dst, Value::Const(c), c),
            None => self.values.forget(bit(insn.dst)),
        }
    }

    /// The address that a register and an offset make up, if it is worth more than
    /// the register itself.
    fn address(&self, reg: u8, off: i16) -> Option<Addr> {
        match self.values.get(reg) {
            Value::Sum(a) => a.plus(i64::from(off)),
            Value::ConstPlus(c, r) => self.pool.address(c.wrapping_add(off as i64 as u64), r),
            Value::Const(c) => self.pool.absolute(c.wrapping_add(off as i64 as u64)),
            _ => None,
        }
    }

    fn load(&mut self, insn: Insn) {
        if let Some(a) = self.address(insn.src, insn.off) {
            self.plan(Plan::Access(a));
        }
        let signed = insn.opcode & 0xe0 == op::MEMSX;
        let bound = match insn.opcode & 0x18 {
            _ if signed => u64::MAX,
            op::B => 0xff,
            op::H => 0xffff,
            op::W => LOW,
            _ => u64::MAX,
        };
        self.values.set(insn.dst, Value::Unknown, bound);
    }

    fn store(&mut self, insn: Insn) {
        if insn.opcode & 0xe0 != op::MEM {
            self.values.stored(None);
            self.values.forget(Effect::of(insn).defs);
            return;
        }
        let address = self.address(insn.dst, insn.off);
        if let Some(a) = address {
            self.plan(Plan::Access(a));
        }
        let whole = insn.opcode == op::STX | op::MEM | op::W;
        let place = address.unwrap_or(Addr::new(insn.dst, i32::from(insn.off)));
        let slot = (whole && place == Addr::new(10, place.disp)).then_some((place.disp, insn.src));
        self.values.stored(slot);
    }

    fn call(&mut self, insn: Insn) {
        let fact = self.prog.facts.get(self.at).copied().unwrap_or_default();
        let found = Lookup::of(insn, fact, self.maps, self.pool, &self.values);
        if let Some(l) = found {
            self.plan(Plan::Lookup(l));
        } else {
            self.values.stored(None);
        }
        self.values.forget(CALLER_SAVED);
    }

    /// `d = 1; if … goto +1; d = 0` and its inverse, where nothing else jumps to
    /// the last of them and the condition does not read `d`.
    fn select(&mut self, first: Insn) -> bool {
        let (jump, last) = (self.insn(1), self.insn(2));
        let constant =
            |i: Insn| matches!(i.opcode, 0xb7 | 0xb4) && i.off == 0 && matches!(i.imm, 0 | 1);
        let matches = constant(first)
            && constant(last)
            && first.dst == last.dst
            && first.imm != last.imm
            && is_jump(jump)
            && !matches!(jump.opcode & 0xf0, op::JA | op::JCOND)
            && jump_target(self.at + 1, jump) == Some(self.at + 3)
            && Effect::of(jump).uses & bit(first.dst) == 0
            && !self.is_target(self.at + 1)
            && !self.is_target(self.at + 2)
            && first.dst < 10;
        if matches {
            let (at, dst, taken) = (self.at as u32, first.dst, first.imm == 1);
            self.plans.push((at, Plan::Skip));
            self.plans.push((at + 1, Plan::Select { dst, taken }));
            self.plans.push((at + 2, Plan::Skip));
            self.values.set(first.dst, Value::Unknown, 1);
            self.at += 2;
        }
        matches
    }

    /// `d <<= 32; d >>= 32`: the way of clearing the upper half without 32-bit
    /// instructions.
    fn narrowing(&mut self, first: Insn) -> bool {
        let last = self.insn(1);
        let matches = first.opcode == op::ALU64 | op::LSH
            && last.opcode == op::ALU64 | op::RSH
            && (first.imm, last.imm) == (32, 32)
            && first.dst == last.dst
            && self.copied(first.dst, Size::D).is_none()
            && !self.is_target(self.at + 1);
        if matches {
            self.plan(Plan::Skip);
            self.at += 1;
            self.plan(Plan::Low(first.dst));
            self.values.set(first.dst, Value::Unknown, LOW);
        }
        matches
    }

    fn alu(&mut self, insn: Insn) {
        let size = if insn.class() == op::ALU64 {
            Size::D
        } else {
            Size::W
        };
        let bound = self.alu_bound(insn, size);
        let value = self.alu_value(insn, size);
        match value {
            Some(v) => self.values.set(insn.dst, v, bound),
            None => self.values.set(insn.dst, Value::Unknown, bound),
        }
    }

    /// An upper bound of the result.
    fn alu_bound(&self, insn: Insn, size: Size) -> u64 {
        let whole = if size == Size::W { LOW } else { u64::MAX };
        let dst = self.values.bound(insn.dst);
        let by_reg = insn.opcode & op::X != 0;
        let src = self.values.bound(insn.src);
        let bound = match insn.opcode & 0xf0 {
            op::MOV if by_reg && insn.off == 0 => src,
            op::MOV if !by_reg && insn.imm >= 0 => insn.imm as u64,
            op::AND if by_reg => dst.min(src),
            op::AND if insn.imm >= 0 => dst.min(insn.imm as u64),
            op::RSH if !by_reg => {
                dst.min(whole) >> (insn.imm & if size == Size::W { 31 } else { 63 })
            }
            op::MOD if !by_reg && insn.imm > 0 && insn.off == 0 => insn.imm as u64 - 1,
            op::END if insn.imm == 16 => 0xffff,
            op::END if insn.imm == 32 => LOW,
            // `le64` and `be64` are in the 32-bit class, but keep all 64 bits.
            op::END => return u64::MAX,
            _ => whole,
        };
        bound.min(whole)
    }

    /// The result's value; plans the instruction where that helps.
    fn alu_value(&mut self, insn: Insn, size: Size) -> Option<Value> {
        let by_reg = insn.opcode & op::X != 0;
        match (insn.opcode & 0xf0, by_reg, size) {
            (op::MOV, true, _) if insn.off == 0 => self.copy(insn, size),
            (op::MOV, false, Size::D) => Some(Value::Const(insn.imm as i64 as u64)),
            (op::MOV, false, _) => Some(Value::Const(u64::from(insn.imm as u32))),
            (op::ADD, _, Size::D) => self.add(insn, by_reg),
            (op::ADD, _, _) => self.add32(insn, by_reg),
            (op::SUB, false, Size::D) if insn.imm != i32::MIN => {
                self.add_imm(insn, -i64::from(insn.imm))
            }
            (op::LSH | op::RSH, false, _) => self.shift(insn, size),
            (op::LSH | op::RSH | op::ARSH, true, _) if self.bmi2 => self.on_copy(insn, size),
            (op::MUL, false, _) => self.on_copy(insn, size),
            (op::AND, false, _) if matches!(insn.imm, 0xff | 0xffff) => self.on_copy(insn, size),
            (op::OR | op::XOR, true, _) => {
                self.rotation(insn, size);
                None
            }
            _ => None,
        }
    }

    fn copy(&mut self, insn: Insn, size: Size) -> Option<Value> {
        let value = self.values.get(insn.src);
        let narrow = size == Size::W && self.values.bound(insn.src) > LOW;
        if !narrow {
            if insn.dst == insn.src {
                self.plan(Plan::Skip);
                return Some(value);
            }
            return match value {
                Value::Unknown | Value::Shifted { .. } | Value::Low(_) => {
                    Some(Value::Sum(Addr::new(insn.src, 0)))
                }
                v => {
                    self.plan_sum(v);
                    Some(v)
                }
            };
        }
        match value {
            Value::Sum(a) if a.index.is_none() && a.disp == 0 => self.low_of(a),
            _ => Some(Value::Low(insn.src)),
        }
    }

    fn low_of(&mut self, a: Addr) -> Option<Value> {
        let Base::Bpf(r) = a.base else {
            return None;
        };
        self.plan(Plan::Low(r));
        Some(Value::Low(r))
    }

    /// Computes a sum from its parts, not from the registers that hold it so far.
    fn plan_sum(&mut self, value: Value) {
        let address = match value {
            Value::Sum(a) => Some(a),
            Value::ConstPlus(c, r) => self.pool.address(c, r),
            _ => None,
        };
        if let Some(a) = address {
            self.plan(Plan::Lea(a));
        }
    }

    fn add(&mut self, insn: Insn, by_reg: bool) -> Option<Value> {
        if !by_reg {
            return self.add_imm(insn, i64::from(insn.imm));
        }
        let (a, b) = (self.values.get(insn.dst), self.values.get(insn.src));
        let sum = match (a, b) {
            (Value::Const(x), Value::Const(y)) => return Some(Value::Const(x.wrapping_add(y))),
            (Value::Const(x), _) if insn.src != insn.dst => Value::ConstPlus(x, insn.src),
            (Value::Sum(s), _) if s.index.is_none() && insn.src != 10 => Value::Sum(Addr {
                index: Some(insn.src),
                ..s
            }),
            _ => {
                self.rotation(insn, Size::D);
                return None;
            }
        };
        if insn.src == insn.dst {
            return None;
        }
        self.plan_sum(sum);
        Some(sum)
    }

    fn add_imm(&mut self, insn: Insn, by: i64) -> Option<Value> {
        let sum = match self.values.get(insn.dst) {
            Value::Const(c) => return Some(Value::Const(c.wrapping_add(by as u64))),
            Value::ConstPlus(c, r) => Value::ConstPlus(c.wrapping_add(by as u64), r),
            Value::Sum(a) => Value::Sum(a.plus(by)?),
            _ => return None,
        };
        self.plan_sum(sum);
        Some(sum)
    }

    /// The register of which `reg` is a copy, for an operation in this width.
    fn copied(&self, reg: u8, size: Size) -> Option<u8> {
        match self.values.get(reg) {
            Value::Low(r) if size == Size::W => Some(r),
            Value::Sum(Addr {
                base: Base::Bpf(r),
                index: None,
                disp: 0,
            }) => Some(r),
            _ => None,
        }
    }

    fn add32(&mut self, insn: Insn, by_reg: bool) -> Option<Value> {
        if by_reg && self.rotation(insn, Size::W) {
            return None;
        }
        let src = self.copied(insn.dst, Size::W)?;
        if by_reg && (insn.src == insn.dst || insn.src == 10) {
            return None;
        }
        self.plan(Plan::Lea(Addr {
            base: Base::Bpf(src),
            index: by_reg.then_some(insn.src),
            disp: if by_reg { 0 } else { insn.imm },
        }));
        None
    }

    /// An operation whose machine form has a separate destination.
    fn on_copy(&mut self, insn: Insn, size: Size) -> Option<Value> {
        let src = self.copied(insn.dst, size)?;
        if insn.opcode & op::X == 0 || insn.src != insn.dst {
            self.plan(Plan::From(src));
        }
        None
    }

    fn shift(&mut self, insn: Insn, size: Size) -> Option<Value> {
        let left = insn.opcode & 0xf0 == op::LSH;
        let by = insn.imm as u8 & if size == Size::W { 31 } else { 63 };
        if let (
            Value::Shifted {
                src,
                left: true,
                by: 32,
                size: Size::D,
            },
            false,
            32,
        ) = (self.values.get(insn.dst), left, by)
        {
            self.plan(Plan::Low(src));
            return Some(Value::Low(src));
        }
        if by == 0 {
            return None;
        }
        let src = self.copied(insn.dst, size)?;
        Some(Value::Shifted {
            src,
            left,
            by,
            size,
        })
    }

    /// `x << k` combined with `x >> (width - k)`.
    fn rotation(&mut self, insn: Insn, width: Size) -> bool {
        let (
            Value::Shifted {
                src,
                left,
                by,
                size,
            },
            Value::Shifted {
                src: src2,
                left: left2,
                by: by2,
                size: size2,
            },
        ) = (self.values.get(insn.dst), self.values.get(insn.src))
        else {
            return false;
        };
        let bits = if width == Size::W { 32 } else { 64 };
        if src != src2 || left == left2 || by + by2 != bits || size != width || size2 != width {
            return false;
        }
        self.plan(Plan::Rotate {
            src,
            left: if left { by } else { by2 },
            size,
        });
        true
    }
}

/// Registers that a stretch of code mentions.
pub fn mentioned(insns: &[Insn]) -> RegSet {
    insns.iter().fold(0, |all, &i| {
        let e = Effect::of(i);
        all | e.uses | e.defs
    })
}
