//! The way around the verifier, for isolation tests: only what the compiler
//! needs in order not to be confused.
use super::reject::{Res, bail};
use super::{opcode, structure};
use crate::insn::{Insn, op};
use crate::program::{Fact, Program, Subprog};
use crate::uapi::errno::EINVAL;
use crate::uapi::limits;
use alloc::vec::Vec;

/// Takes a program as it is: decodable, jumps in range, functions known.
///
/// Nothing else is checked; a program that came this way may do anything that
/// its machine can do. Errors are `EINVAL` and `E2BIG` for a malformed program.
pub fn unverified(insns: &[Insn]) -> Res<Program> {
    let shape = structure::shape(insns)?;
    structure::opcodes(insns)?;
    structure::no_middle(insns, &shape)?;
    let mut maps = Vec::new();
    let mut at = 0;
    while let Some(i) = insns.get(at) {
        opcode::check_reached(i, insns.get(at + 1)).map_err(|r| r.at(at))?;
        let names_map = matches!(i.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE);
        if i.is_wide() && names_map && !maps.contains(&(i.imm as u32)) {
            maps.push(i.imm as u32);
        }
        at += if i.is_wide() { 2 } else { 1 };
    }
    if maps.len() > limits::USED_MAPS {
        bail!(
            EINVAL,
            "program uses {} maps, expected at most {}",
            maps.len(),
            limits::USED_MAPS
        );
    }
    let callbacks: Vec<usize> = insns
        .iter()
        .enumerate()
        .filter(|(_, i)| i.is_wide() && i.src == op::PSEUDO_FUNC)
        .map(|(at, i)| (at as i64 + i64::from(i.imm) + 1) as usize)
        .collect();
    let subprogs = (0..shape.starts.len())
        .map(|nr| Subprog {
            start: shape.starts.get(nr).copied().unwrap_or(0) as u32,
            end: shape.end(nr) as u32,
            stack_depth: limits::STACK,
            is_callback: shape.starts.get(nr).is_some_and(|s| callbacks.contains(s)),
            tail_call_reachable: true,
        })
        .collect();
    Ok(Program {
        insns: insns.to_vec(),
        facts: alloc::vec![Fact::default(); insns.len()],
        subprogs,
        maps,
        origin: (0..insns.len() as u32).collect(),
    })
}
