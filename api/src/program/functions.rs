//! The functions of a loaded program.

use super::{ProgramCore, tag};
use crate::error::Result;
use bpf_core::insn::{Insn, op};
use std::collections::BTreeSet;

/// One function, as it was compiled.
pub(crate) struct Function {
    /// Where its code lies in the VM; 0 where the program is interpreted.
    pub address: u64,
    /// Bytes of machine code.
    pub len: u32,
    pub tag: [u8; 8],
}

impl ProgramCore {
    /// All functions, the program's own first.
    pub fn functions(&self) -> Result<Vec<Function>> {
        let bytes = self.xlated()?;
        let (slots, _) = bytes.as_chunks::<8>();
        let insns: Vec<Insn> = slots.iter().map(|s| Insn::from_bytes(*s)).collect();
        let starts = starts(&insns);
        if let [_] = starts[..] {
            return Ok(vec![Function {
                address: self.info.load.jited_addr,
                len: self.info.load.jited_len,
                tag: self.info.tag,
            }]);
        }
        let offsets = self.jited_offsets()?;
        let offset = |insn: usize| offsets.get(insn).copied().unwrap_or(0);
        let ends = starts.iter().skip(1).copied().chain([insns.len()]);
        let function = |(&start, end): (&usize, usize)| Function {
            address: self.info.load.jited_addr + u64::from(offset(start)),
            len: offset(end).saturating_sub(offset(start)),
            tag: match start {
                0 => self.info.tag,
                _ => tag::tag(insns.get(start..end).unwrap_or_default()),
            },
        };
        Ok(starts.iter().zip(ends).map(function).collect())
    }
}

/// Where functions begin: what is called or referred to.
fn starts(insns: &[Insn]) -> Vec<usize> {
    let mut starts = BTreeSet::from([0]);
    for (at, insn) in insns.iter().enumerate() {
        let calls = insn.opcode == op::JMP | op::CALL && insn.src == op::PSEUDO_CALL;
        let refers = insn.is_wide() && insn.src == op::PSEUDO_FUNC;
        let target = at as i64 + 1 + i64::from(insn.imm);
        if (calls || refers) && (0..insns.len() as i64).contains(&target) {
            starts.insert(target as usize);
        }
    }
    starts.into_iter().collect()
}
