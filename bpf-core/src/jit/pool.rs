//! Constants that loops load again and again, kept in registers that the function
//! does not use otherwise.

use super::analysis::{Function, is_jump, jump_target};
use super::compiler::x86_reg;
use super::effect::{CALLEE_SAVED, RegSet, bit};
use super::plan::mentioned;
use super::value::{Addr, Base};
use super::x86::Reg;
use crate::insn::{Insn, op};
use crate::program::{MapTable, Program};
use alloc::vec;
use alloc::vec::Vec;

/// Constants that are counted at most.
const CANDIDATES: usize = 32;

/// The constants of one function that have registers.
#[derive(Debug, Default)]
pub struct Pool {
    entries: Vec<(u64, Reg)>,
    /// Those of R6 to R9 whose machine registers hold constants.
    pub saved: RegSet,
}

impl Pool {
    /// Chooses the constants of a function. `scratch` are machine registers that
    /// nothing else in the function uses.
    pub fn of(prog: &Program, maps: &dyn MapTable, f: &Function, scratch: &[Reg]) -> Self {
        let (start, end) = (f.subprog.start as usize, f.subprog.end as usize);
        let insns = prog.insns.get(start..end).unwrap_or(&[]);
        let mut pool = Pool::default();
        let counted = count(prog, maps, insns, start);
        if counted.is_empty() {
            return pool;
        }
        let used = mentioned(insns);
        let free = (0..10).filter(|&r| used & bit(r) == 0);
        let registers = free
            .filter_map(|r| Some((x86_reg(r)?, bit(r) & CALLEE_SAVED)))
            .chain(scratch.iter().map(|&r| (r, 0)));
        for ((value, _), (reg, saved)) in counted.into_iter().zip(registers) {
            pool.entries.push((value, reg));
            pool.saved |= saved;
        }
        pool
    }

    /// The constants and their registers.
    pub fn entries(&self) -> &[(u64, Reg)] {
        &self.entries
    }

    /// The register of an entry.
    pub fn reg(&self, entry: u8) -> Option<Reg> {
        self.entries.get(usize::from(entry)).map(|e| e.1)
    }

    /// The entry that has this value.
    pub fn find(&self, value: u64) -> Option<u8> {
        let at = self.entries.iter().position(|e| e.0 == value)?;
        Some(at as u8)
    }

    /// An entry from which a value is a displacement away.
    fn near(&self, value: u64) -> Option<(Base, i32)> {
        self.entries.iter().enumerate().find_map(|(k, e)| {
            let disp = i32::try_from(value.wrapping_sub(e.0) as i64).ok()?;
            Some((Base::Pool(k as u8), disp))
        })
    }

    /// The address of a constant plus a register.
    pub fn address(&self, value: u64, reg: u8) -> Option<Addr> {
        if let Ok(disp) = i32::try_from(value as i64) {
            return Some(Addr::new(reg, disp));
        }
        let (base, disp) = self.near(value)?;
        Some(Addr {
            base,
            index: Some(reg),
            disp,
        })
    }

    /// The address that is a constant.
    pub fn absolute(&self, value: u64) -> Option<Addr> {
        let (base, disp) = self.near(value)?;
        Some(Addr {
            base,
            index: None,
            disp,
        })
    }
}

/// The value that a wide load gives, unless it is a function's address.
pub fn wide_value(maps: &dyn MapTable, insn: Insn, next: Insn) -> Option<u64> {
    let high = u64::from(next.imm as u32);
    Some(match insn.src {
        0 => high << 32 | u64::from(insn.imm as u32),
        op::PSEUDO_MAP_FD => maps.map(insn.imm as u32)?.object_addr,
        op::PSEUDO_MAP_VALUE => maps.map(insn.imm as u32)?.values_addr.wrapping_add(high),
        _ => return None,
    })
}

/// Wide constants loaded within loops, the most often executed first.
fn count(prog: &Program, maps: &dyn MapTable, insns: &[Insn], start: usize) -> Vec<(u64, u32)> {
    let mut counted: Vec<(u64, u32)> = Vec::new();
    let Some(depths) = loop_depths(insns) else {
        return counted;
    };
    for (i, (&insn, &depth)) in insns.iter().zip(&depths).enumerate() {
        if depth <= 0 {
            continue;
        }
        let next = insns.get(i + 1).copied().unwrap_or_default();
        let wide = insn.is_wide() && insn.src != op::PSEUDO_MAP_FD;
        let value = if wide {
            wide_value(maps, insn, next)
        } else {
            super::lookup::table_of(prog, maps, start + i)
        };
        let Some(value) = value.filter(|&v| i32::try_from(v as i64).is_err()) else {
            continue;
        };
        let weight = 1 << (3 * depth.min(8));
        if let Some(c) = counted.iter_mut().find(|c| c.0 == value) {
            c.1 = c.1.saturating_add(weight);
        } else if counted.len() < CANDIDATES {
            counted.push((value, weight));
        }
    }
    counted.sort_by_key(|c| core::cmp::Reverse(c.1));
    counted
}

/// How many backward jumps span each instruction; `None` without any.
fn loop_depths(insns: &[Insn]) -> Option<Vec<i32>> {
    let mut depths = vec![0; insns.len() + 1];
    let mut any = false;
    for (i, &insn) in insns.iter().enumerate() {
        let target = is_jump(insn).then(|| jump_target(i, insn)).flatten();
        let Some(target) = target.filter(|&t| t <= i) else {
            continue;
        };
        any = true;
        if let Some(d) = depths.get_mut(target) {
            *d += 1;
        }
        if let Some(d) = depths.get_mut(i + 1) {
            *d -= 1;
        }
    }
    let mut depth = 0;
    for d in &mut depths {
        depth += *d;
        *d = depth;
    }
    any.then_some(depths)
}
