//! `bpf_map_lookup_elem` on array maps without a call.

use super::compiler::Compiler;
use super::effect::{RegSet, bit};
use super::pool::Pool;
use super::value::{Addr, Base, Value, Values};
use super::x86::{Cond, Mem, Reg, Size, forms};
use crate::insn::{Insn, op};
use crate::program::{Fact, MapDesc, MapTable, Program};
use crate::uapi::MapType;

/// Helper number of `bpf_map_lookup_elem`.
const LOOKUP: i32 = 1;

/// Where the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Known.
    Const(u32),
    /// The lower half of a BPF register.
    Reg(u8),
    /// In memory.
    Memory(Addr),
}

/// A lookup that is done in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    key: Key,
    /// The whole key register is known to be below the capacity.
    in_bounds: bool,
    /// Address of element 0.
    values: u64,
    /// Where the pool has that address.
    pool: Option<u8>,
    entries: u32,
    stride: u32,
}

/// The array map that a call instruction looks up, if compiled code can do it.
pub fn plain_array(insn: Insn, fact: Fact, maps: &dyn MapTable) -> Option<MapDesc> {
    if insn.opcode != op::JMP | op::CALL || insn.src != 0 || insn.imm != LOOKUP {
        return None;
    }
    let map = maps.map(fact.map?)?;
    let usable = map.map_type == MapType::Array
        && map.values_addr != 0
        && map.value_stride != 0
        && i32::try_from(map.value_stride).is_ok();
    usable.then_some(map)
}

/// Address of element 0 of the array that a lookup with a variable key is for.
pub fn table_of(prog: &Program, maps: &dyn MapTable, at: usize) -> Option<u64> {
    let fact = prog.facts.get(at).copied()?;
    let map = plain_array(*prog.insns.get(at)?, fact, maps)?;
    fact.key.is_none().then_some(map.values_addr)
}

impl Lookup {
    /// The lookup that a call instruction is, if it is one on an array.
    pub fn of(
        insn: Insn,
        fact: Fact,
        maps: &dyn MapTable,
        pool: &Pool,
        values: &Values,
    ) -> Option<Self> {
        let map = plain_array(insn, fact, maps)?;
        let key = match (fact.key, values.get(2)) {
            (Some(k), _) => Key::Const(k),
            (None, Value::Sum(a)) => match values.in_slot(a.disp) {
                Some(r) if a == Addr::new(10, a.disp) => Key::Reg(r),
                _ => Key::Memory(a),
            },
            _ => Key::Memory(Addr::new(2, 0)),
        };
        let in_bounds = match key {
            Key::Reg(r) => values.bound(r) < u64::from(map.max_entries),
            _ => false,
        };
        Some(Self {
            key,
            in_bounds,
            values: map.values_addr,
            pool: pool.find(map.values_addr),
            entries: map.max_entries,
            stride: map.value_stride,
        })
    }

    /// The BPF registers that it reads.
    pub fn uses(self) -> RegSet {
        match self.key {
            Key::Const(_) => 0,
            Key::Reg(r) => bit(r),
            Key::Memory(a) => a.uses(),
        }
    }

    /// The constant result, where there is one.
    fn result(self) -> Option<u64> {
        match self.key {
            Key::Const(k) if k >= self.entries => Some(0),
            Key::Const(k) => {
                let off = u64::from(k) * u64::from(self.stride);
                Some(self.values.wrapping_add(off))
            }
            _ => None,
        }
    }

    /// Whether the answer can be a null pointer.
    fn may_miss(self) -> bool {
        !self.in_bounds
    }
}

/// A null check of a lookup's answer.
#[derive(Clone, Copy)]
struct NullCheck {
    /// Instruction that follows for null.
    absent: usize,
    /// Instruction that follows for an element.
    present: usize,
    /// R0 is read after the answer was null.
    wanted: bool,
}

impl Compiler<'_> {
    /// Emits a lookup together with the null check that follows it.
    pub(super) fn lookup(&mut self, l: Lookup) {
        if let Some(result) = l.result() {
            self.buf.load_imm(Reg::RAX, result);
            return;
        }
        let check = self.null_check();
        let miss = match check {
            Some(c) if !c.wanted => self.insn_label(c.absent),
            Some(c) if l.may_miss() => self.cold_null(c.absent),
            _ => self.buf.new_label(),
        };
        let index = self.lookup_index(l);
        if l.may_miss() {
            let entries = l.entries as i32;
            self.buf.alu_imm(&forms::CMP, Size::W, index, entries);
            self.buf.jcc(Cond::AboveEqual, miss);
        }
        self.lookup_address(l, index);
        if let Some(c) = check {
            self.skip_next = true;
            if c.present != self.at + 2 {
                let label = self.insn_label(c.present);
                self.buf.jmp(label);
            }
        } else if l.may_miss() {
            let done = self.buf.new_label();
            self.buf.jmp(done);
            self.buf.bind(miss);
            self.buf.load_imm(Reg::RAX, 0);
            self.buf.bind(done);
        }
    }

    /// Where the next instruction leads, if it is a null check of R0.
    fn null_check(&self) -> Option<NullCheck> {
        let next = self.at + 1;
        let insn = self.insn_at(next);
        let target = super::analysis::jump_target(next, insn)?;
        let zero = insn.dst == 0 && insn.imm == 0;
        if !zero || self.info.targets.get(next) != Some(&false) {
            return None;
        }
        let (absent, present) = match insn.opcode {
            o if o == op::JMP | op::JEQ => (target, next + 1),
            o if o == op::JMP | op::JNE => (next + 1, target),
            _ => return None,
        };
        Some(NullCheck {
            absent,
            present,
            wanted: self.info.live_before(self.prog, absent) & bit(0) != 0,
        })
    }

    /// Code out of line that sets R0 to 0 and goes on at an instruction.
    fn cold_null(&mut self, target: usize) -> super::buffer::Label {
        let label = self.buf.new_label();
        self.cold.push((label, self.insn_label(target)));
        label
    }

    /// Emits what was put out of line.
    pub(super) fn flush_cold(&mut self) {
        for (label, target) in core::mem::take(&mut self.cold) {
            self.buf.bind(label);
            self.buf.load_imm(Reg::RAX, 0);
            self.buf.jmp(target);
        }
    }

    /// The register with the zero-extended key.
    fn lookup_index(&mut self, l: Lookup) -> Reg {
        match l.key {
            Key::Reg(r) => {
                let reg = super::compiler::x86_reg(r).unwrap_or(Reg::RAX);
                if l.in_bounds {
                    return reg;
                }
                self.buf.mov(Size::W, Reg::RAX, reg);
            }
            Key::Memory(a) => {
                let mem = self.mem(a);
                self.buf.op(&forms::MOV_RM, Size::W, Reg::RAX, mem);
            }
            Key::Const(k) => self.buf.load_imm(Reg::RAX, u64::from(k)),
        }
        Reg::RAX
    }

    /// RAX = values + index * stride.
    fn lookup_address(&mut self, l: Lookup, index: Reg) {
        let (index, scale) = self.scaled(index, l.stride);
        let fits = i32::try_from(l.values as i64);
        let table = match (l.pool.and_then(|p| self.pool.reg(p)), fits) {
            (Some(reg), _) => reg,
            (None, Ok(disp)) => {
                let mem = match scale {
                    0 => Mem::new(index, disp),
                    _ => Mem::table(index, scale, disp),
                };
                self.buf.lea(Size::D, Reg::RAX, mem);
                return;
            }
            _ => {
                self.buf.load_imm(Reg::R11, l.values);
                Reg::R11
            }
        };
        let mem = Mem::indexed(table, index, scale, 0);
        self.buf.lea(Size::D, Reg::RAX, mem);
    }

    /// `index * stride` as a register and the logarithm of a factor.
    fn scaled(&mut self, index: Reg, stride: u32) -> (Reg, u8) {
        let log2 = stride.trailing_zeros();
        if !stride.is_power_of_two() {
            let imm = i64::from(stride);
            let form = match i8::try_from(imm) {
                Ok(_) => &forms::IMUL_I8,
                Err(_) => &forms::IMUL_I32,
            };
            self.buf
                .emit(form, Size::D, Reg::RAX, index.into(), Reg::RAX, imm);
            return (Reg::RAX, 0);
        }
        if log2 <= 3 {
            return (index, log2 as u8);
        }
        self.buf.mov(Size::D, Reg::RAX, index);
        let by = i64::from(log2);
        self.buf.op_imm(&forms::SHL.i8, Size::D, Reg::RAX, by);
        (Reg::RAX, 0)
    }

    /// The machine's memory operand for an address.
    pub(super) fn mem(&self, a: Addr) -> Mem {
        let bpf = |r| super::compiler::x86_reg(r).unwrap_or(Reg::RBP);
        let base = match a.base {
            Base::Bpf(r) => bpf(r),
            Base::Pool(k) => self.pool.reg(k).unwrap_or(Reg::RBP),
        };
        Mem {
            base,
            index: a.index.map(|r| (bpf(r), 0)),
            disp: a.disp,
        }
    }
}
