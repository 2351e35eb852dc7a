//! Detours of a program over numbers: functions and callbacks that work on a piece
//! of its stack, values of a map, pointers that were spilled. Afterwards every
//! register holds a number again.

use super::{Gen, Place};
use crate::generate::MAPS;
use crate::generate::code::{Label, Operand};
use bpf_core::insn::op;

/// Instructions that a function may have.
pub(super) const LENGTH: usize = 30;
/// Functions that a program may have.
const FUNCTIONS: usize = 2;
/// Bytes that a function gets.
const LENT: i64 = 16;

/// Below what else is in use: a key, and a pointer.
const KEY: i16 = -68;
const SPILLED: i16 = -80;
/// In a function's own stack.
const OWN_SPILLED: i16 = -8;

const MAP_LOOKUP: i32 = 1;
const LOOP: i32 = 181;
/// Handle of an array of numbers.
const ARRAY: i32 = 1;

/// What calls a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A call, with an address in R1 and numbers in R2 to R5.
    Function,
    /// `bpf_loop`, with a number in R1 and an address in R2.
    Callback,
}

impl Gen<'_> {
    /// One of the detours.
    pub(super) fn detour(&mut self) {
        match self.rng.below(4) {
            0 if self.functions.len() < FUNCTIONS => self.function(),
            1 if self.functions.len() < FUNCTIONS => self.callback(),
            2 => self.map_value(),
            _ => self.spilled_pointer(),
        }
    }

    /// R`reg` = the address of [`LENT`] bytes of the stack in use.
    fn lend(&mut self, reg: u8) {
        let start = self.place.low + 8 * self.rng.within(0, (self.place.room - LENT) / 8);
        self.code.mov(reg, Operand::Reg(10));
        self.code.add(reg, Operand::Imm(start as i32));
    }

    /// Numbers again in these registers.
    fn refill(&mut self, regs: std::ops::RangeInclusive<u8>) {
        for reg in regs {
            let at = self.place(8);
            self.code.load(op::MEM, op::DW, reg, self.place.base, at);
        }
    }

    fn entry(&mut self, role: Role) -> Label {
        let entry = self.code.label();
        self.functions.push((entry, role));
        entry
    }

    fn function(&mut self) {
        let entry = self.entry(Role::Function);
        self.lend(1);
        self.code.call_local(entry);
        self.refill(1..=5);
    }

    fn callback(&mut self) {
        let entry = self.entry(Role::Callback);
        // With no round Linux finds no code for the function.
        let rounds = self.rng.within(1, 5) as i32;
        self.code.mov(1, Operand::Imm(rounds));
        self.code.imm_function(2, entry);
        self.lend(3);
        self.code.mov(4, Operand::Imm(0));
        self.code.call(LOOP);
        self.refill(1..=5);
    }

    /// An element that may not be there.
    fn map_value(&mut self) {
        let spec = &MAPS[ARRAY as usize - 1];
        let key = self.rng.within(0, i64::from(spec.max_entries)) as i32;
        self.code.store(op::W, 10, KEY, Operand::Imm(key));
        self.code.imm64(1, op::PSEUDO_MAP_FD, ARRAY, 0);
        self.code.mov(2, Operand::Reg(10));
        self.code.add(2, Operand::Imm(KEY.into()));
        self.code.call(MAP_LOOKUP);
        let missing = self.code.label();
        self.code
            .jump_if(op::JMP, op::JEQ, 0, Operand::Imm(0), missing);
        let value = Place {
            base: 0,
            low: 0,
            room: i64::from(spec.value_size),
            regs: &[6, 7, 8],
        };
        self.work_on(value, 3);
        self.code.bind(missing);
        self.refill(0..=5);
    }

    /// An address that was on the stack in between.
    fn spilled_pointer(&mut self) {
        self.lend(3);
        self.code.store(op::DW, 10, SPILLED, Operand::Reg(3));
        self.refill(3..=3);
        self.arithmetic();
        self.code.load(op::MEM, op::DW, 3, 10, SPILLED);
        let lent = Place {
            base: 3,
            low: 0,
            room: LENT,
            regs: &[1, 2, 4, 5, 6, 7, 8],
        };
        self.work_on(lent, 3);
        self.refill(3..=3);
    }

    /// Loads, stores and atomics there.
    fn work_on(&mut self, place: Place, most: i64) {
        let before = std::mem::replace(&mut self.place, place);
        for _ in 0..self.rng.within(1, most) {
            match self.rng.below(3) {
                0 => self.some_atomic(),
                1 => self.arithmetic(),
                _ => self.memory(),
            }
        }
        self.place = before;
    }

    /// Exchanges use R0, which has to be a number for them.
    fn some_atomic(&mut self) {
        match self.place.regs.contains(&0) {
            true => self.atomic(),
            false => self.ordered(),
        }
    }

    /// All functions that were called, behind the main program.
    pub(super) fn write_functions(&mut self) {
        for (entry, role) in std::mem::take(&mut self.functions) {
            self.code.bind(entry);
            self.body(role);
        }
    }

    fn body(&mut self, role: Role) {
        let start = self.code.len();
        let (base, numbers): (u8, &[u8]) = match role {
            Role::Function => (1, &[0, 2, 3, 4, 5, 6]),
            Role::Callback => (2, &[0, 1, 6]),
        };
        let place = Place {
            base,
            low: 0,
            room: LENT,
            regs: numbers,
        };
        let before = std::mem::replace(&mut self.place, place);
        for reg in [0, 6] {
            let imm = self.rng.imm();
            self.code.mov(reg, Operand::Imm(imm));
        }
        if self.rng.one_in(2) {
            self.code.store(op::DW, 10, OWN_SPILLED, Operand::Reg(base));
            self.code.mov(base, Operand::Imm(1));
            self.arithmetic();
            self.code.load(op::MEM, op::DW, base, 10, OWN_SPILLED);
        }
        while self.code.len() < start + LENGTH - 12 {
            match self.rng.below(8) {
                0 | 1 => self.arithmetic(),
                2 => self.division(),
                3 => self.shift(),
                4 => self.atomic(),
                5 => self.sign_extension(),
                6 if self.rng.one_in(2) => break,
                _ => self.memory(),
            }
        }
        if role == Role::Callback {
            // Most go on.
            let stop = i32::from(self.rng.one_in(3));
            self.code.alu(op::ALU64, op::AND, 0, Operand::Imm(stop), 0);
        }
        self.code.exit();
        self.place = before;
    }
}
