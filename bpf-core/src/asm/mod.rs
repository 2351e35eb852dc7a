//! Instructions from text: what [`disasm`](crate::disasm) writes, plus labels
//! and comments.
//!
//! One instruction per line. A comment starts with `;`, `//` or `#` (but for the
//! `#` right behind the name in `call bpf_ktime_get_ns#5`). A label is a name
//! with a colon, alone or before an instruction; jumps, calls and function loads
//! take a label or a distance (`goto out`, `goto pc+3`, `goto +3`). The index and
//! opcode of a listing (`12: (b7)`) may stand at the start of a line and mean
//! nothing.
//!
//! ```
//! let prog = bpf_core::asm::assemble("
//!         r0 = 0
//!     again:
//!         r0 += 3                 ; decimal, or 0x3
//!         if r0 < 0xa goto again
//!         call bpf_ktime_get_ns   // the number is optional
//!         exit
//! ").unwrap();
//! assert_eq!(prog.len(), 5);
//! ```
//!
//! A number that follows `rN =` in hexadecimal, or with `ll` behind it, is a
//! 16-byte load, as in the kernel's log; in decimal it is a `mov`. Either way the
//! register gets that number.
mod cursor;
mod error;
mod expr;
mod lexer;
mod parser;

use crate::insn::{Insn, Op, Wide};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
pub use error::AsmError;
use error::Pos;

/// An instruction whose jump may still want its distance.
struct Statement<'t> {
    op: Op,
    pos: Pos,
    label: Option<&'t str>,
}

/// Assembles a program.
///
/// # Errors
/// The first thing that is wrong, with its line and column.
pub fn assemble(text: &str) -> Result<Vec<Insn>, AsmError> {
    let mut statements = Vec::new();
    let mut labels = BTreeMap::new();
    let mut slots = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let parsed = parser::line(line, text)?;
        if let Some((name, pos)) = parsed.label
            && labels.insert(name, slots).is_some()
        {
            return Err(pos.error(format!("label '{name}' is defined twice")));
        }
        if let Some(statement) = parsed.statement {
            slots += statement.op.slots() as i64;
            statements.push(statement);
        }
    }
    emit(&statements, &labels)
}

fn emit(statements: &[Statement<'_>], labels: &BTreeMap<&str, i64>) -> Result<Vec<Insn>, AsmError> {
    let mut insns = Vec::new();
    for statement in statements {
        let op = match statement.label {
            None => statement.op,
            Some(name) => {
                let missing = || statement.pos.error(format!("no label '{name}'"));
                let target = labels.get(name).ok_or_else(missing)?;
                let distance = target - insns.len() as i64 - 1;
                let far = || statement.pos.error(too_far(distance));
                with_distance(statement.op, distance).ok_or_else(far)?
            }
        };
        let (first, second) = op.encode();
        let checked = first.decode(second.as_ref());
        checked.map_err(|e| statement.pos.error(format!("{e}")))?;
        insns.push(first);
        insns.extend(second);
    }
    Ok(insns)
}

fn too_far(distance: i64) -> String {
    format!("distance {distance:+} does not fit the instruction (gotol reaches further)")
}

/// The same instruction with another distance, if it has room for that.
fn with_distance(op: Op, distance: i64) -> Option<Op> {
    let near = i16::try_from(distance).ok();
    let far = i32::try_from(distance).ok();
    Some(match op {
        Op::Jump { long: true, .. } => Op::Jump {
            off: far?,
            long: true,
        },
        Op::Jump { long: false, .. } => Op::Jump {
            off: near?.into(),
            long: false,
        },
        Op::JumpIf {
            width,
            cond,
            dst,
            src,
            ..
        } => Op::JumpIf {
            width,
            cond,
            dst,
            src,
            off: near?,
        },
        Op::MayGoto { .. } => Op::MayGoto { off: near? },
        Op::CallLocal { .. } => Op::CallLocal { off: far? },
        Op::LoadWide { dst, .. } => Op::LoadWide {
            dst,
            value: Wide::Func { rel: far? },
        },
        other => other,
    })
}

#[cfg(test)]
mod tests;
