//! What is known of the types and lines of a program as it runs: the verifier took
//! code away, and with it functions and lines.

use super::ProgramCore;
use crate::error::{Error, Result};
use bpf_core::program::{FuncInfo, LineInfo};

/// Functions and lines, by instructions as they run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    pub funcs: Vec<FuncInfo>,
    pub lines: Vec<LineInfo>,
    /// Address of each line's code; empty where the program is interpreted.
    pub addresses: Vec<u64>,
}

impl ProgramCore {
    /// Functions and lines that are left.
    pub fn placed_types(&self) -> Result<Placed> {
        let (types, load) = (&self.info.types, &self.info.load);
        if types.funcs.is_empty() && types.lines.is_empty() {
            return Ok(Placed::default());
        }
        let len = u64::from(load.xlated_insns) * 4;
        let bytes = self.dump(3, "dump origins", len)?;
        let (words, _) = bytes.as_chunks::<4>();
        let origin: Vec<u32> = words.iter().map(|w| u32::from_le_bytes(*w)).collect();
        if origin.len() as u64 * 4 != len || !origin.is_sorted() {
            return Err(Error::protocol("the origins of instructions make no sense"));
        }
        let mut out = left(&types.funcs, &types.lines, &origin);
        let offsets = self.jited_offsets()?;
        let address = |l: &LineInfo| {
            let at = offsets.get(l.insn as usize)?;
            load.jited_addr.checked_add(u64::from(*at))
        };
        out.addresses = out.lines.iter().filter_map(address).collect();
        Ok(out)
    }
}

/// What has an instruction left, given where instructions came from.
fn left(funcs: &[FuncInfo], lines: &[LineInfo], origin: &[u32]) -> Placed {
    let place = |insn: u32| origin.partition_point(|&o| o < insn) as u32;
    let end = origin.len() as u32;
    let mut out = Placed::default();
    for f in funcs {
        let insn = place(f.insn);
        out.funcs.retain(|g| g.insn != insn);
        out.funcs.push(FuncInfo { insn, ..*f });
    }
    for l in lines {
        let insn = place(l.insn);
        if out.lines.last().is_some_and(|m| m.insn == insn) {
            out.lines.pop();
        }
        out.lines.push(LineInfo { insn, ..*l });
    }
    out.funcs.retain(|f| f.insn < end);
    out.lines.retain(|l| l.insn < end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_instruction_left_is_gone() {
        let func = |insn| FuncInfo {
            insn,
            type_id: insn,
        };
        let line = |insn, line_col| LineInfo {
            insn,
            line_col,
            ..LineInfo::default()
        };
        let funcs = [func(0), func(4), func(8)];
        let lines = [line(0, 1), line(1, 2), line(2, 3), line(4, 4), line(8, 5)];
        // 1, and the second function, are gone.
        let out = left(&funcs, &lines, &[0, 2, 3, 8, 9]);
        let starts: Vec<_> = out.funcs.iter().map(|f| (f.insn, f.type_id)).collect();
        assert_eq!(starts, [(0, 0), (3, 8)]);
        let starts: Vec<_> = out.lines.iter().map(|l| (l.insn, l.line_col)).collect();
        assert_eq!(starts, [(0, 1), (1, 3), (3, 5)]);
    }
}
