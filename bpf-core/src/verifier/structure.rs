//! The shape of a program, before any path is followed: opcodes, wide
//! instructions, functions and their limits, jump targets.
use super::opcode;
use super::reject::{Res, bail, unsupported};
use crate::helper::TAIL_CALL;
use crate::insn::{Insn, op};
use crate::uapi::errno::{E2BIG, EINVAL};
use crate::uapi::limits;
use alloc::vec::Vec;

/// Where each function starts, in rising order, beginning with 0.
pub(crate) struct Shape {
    pub starts: Vec<usize>,
    len: usize,
}

impl Shape {
    /// The function that an instruction belongs to.
    pub fn subprog_of(&self, insn: usize) -> usize {
        self.starts
            .partition_point(|&s| s <= insn)
            .saturating_sub(1)
    }

    /// One past the last instruction of a function.
    pub fn end(&self, subprog: usize) -> usize {
        self.starts.get(subprog + 1).copied().unwrap_or(self.len)
    }

    /// The function that starts at an instruction.
    pub fn starting_at(&self, insn: usize) -> Option<usize> {
        self.starts.binary_search(&insn).ok()
    }
}

/// Where a jump at `at` leads, if the instruction is a jump.
pub(crate) fn jump_target(at: usize, i: &Insn) -> Option<i64> {
    if !matches!(i.class(), op::JMP | op::JMP32) {
        return None;
    }
    match i.opcode & 0xf0 {
        op::CALL | op::EXIT => None,
        op::JA if i.class() == op::JMP32 => Some(at as i64 + i64::from(i.imm) + 1),
        _ => Some(at as i64 + i64::from(i.off) + 1),
    }
}

/// Whether this is a call of, or a reference to, one of the program's functions.
pub(crate) fn names_function(i: &Insn) -> bool {
    (i.opcode == op::JMP | op::CALL && i.src == op::PSEUDO_CALL)
        || (i.is_wide() && i.src == op::PSEUDO_FUNC)
}

/// Whether this is a call of `bpf_tail_call`.
pub(crate) fn is_tail_call(i: &Insn) -> bool {
    i.opcode == op::JMP | op::CALL && i.src == 0 && i.imm == TAIL_CALL as i32
}

/// Whether this is a legacy packet load, which ends the program where it fails.
pub(crate) fn is_packet_load(i: &Insn) -> bool {
    i.class() == op::LD && matches!(i.opcode & 0xe0, op::ABS | op::IND)
}

/// Whether control never goes on to the next instruction.
pub(crate) fn ends_flow(i: &Insn) -> bool {
    matches!(i.opcode, x if x == op::JMP | op::EXIT || x == op::JMP | op::JA || x == op::JMP32 | op::JA)
}

/// Discovers functions and checks that jumps stay within them.
pub(crate) fn shape(insns: &[Insn]) -> Res<Shape> {
    let len = insns.len();
    if len == 0 || len > limits::COMPLEXITY_INSNS as usize {
        bail!(
            E2BIG,
            "program has {len} instructions, expected 1 to {}",
            limits::COMPLEXITY_INSNS
        );
    }
    let mut starts = alloc::vec![0usize];
    for (at, i) in insns.iter().enumerate().filter(|(_, i)| names_function(i)) {
        let target = at as i64 + i64::from(i.imm) + 1;
        if target < 0 || target >= len as i64 {
            return Err(super::Reject::new(EINVAL, "call to invalid destination".into()).at(at));
        }
        starts.push(target as usize);
    }
    starts.sort_unstable();
    starts.dedup();
    if starts.len() > limits::SUBPROGS {
        bail!(E2BIG, "too many subprograms");
    }
    let shape = Shape { starts, len };
    check_functions(insns, &shape)?;
    Ok(shape)
}

fn check_functions(insns: &[Insn], shape: &Shape) -> Res<()> {
    for (nr, &start) in shape.starts.iter().enumerate() {
        let end = shape.end(nr);
        for (at, i) in insns.iter().enumerate().take(end).skip(start) {
            if let Some(t) = jump_target(at, i)
                && (t < start as i64 || t >= end as i64)
            {
                let text = alloc::format!("jump out of range from insn {at} to {t}");
                return Err(super::Reject::new(EINVAL, text).at(at));
            }
        }
        if !insns.get(end - 1).is_some_and(ends_flow) {
            let text = "last insn is not an exit or jmp".into();
            return Err(super::Reject::new(EINVAL, text).at(end - 1));
        }
    }
    Ok(())
}

/// What may leave a function without its `exit` is not allowed outside the main
/// function, reached or not, unless BTF says what the function returns.
pub(crate) fn no_abnormal_returns(insns: &[Insn], shape: &Shape) -> Res<()> {
    for nr in 1..shape.starts.len() {
        let body = insns.get(shape.starts[nr]..shape.end(nr)).unwrap_or(&[]);
        if body.iter().any(is_packet_load) {
            bail!(EINVAL, "LD_ABS is not allowed in subprogs without BTF");
        }
        if body.iter().any(is_tail_call) {
            bail!(EINVAL, "tail_call is not allowed in subprogs without BTF");
        }
    }
    Ok(())
}

/// Opcodes and wide instructions: true of every instruction, reached or not.
pub(crate) fn opcodes(insns: &[Insn]) -> Res<()> {
    let mut at = 0;
    while let Some(i) = insns.get(at) {
        opcode_at(insns, at, i).map_err(|r| r.at(at))?;
        at += if i.is_wide() { 2 } else { 1 };
    }
    Ok(())
}

fn opcode_at(insns: &[Insn], at: usize, i: &Insn) -> Res<()> {
    let mode = i.opcode & 0xe0;
    if i.class() == op::LDX && (!matches!(mode, op::MEM | op::MEMSX) || i.imm != 0) {
        bail!(EINVAL, "BPF_LDX uses reserved fields");
    }
    if !i.is_wide() {
        if !opcode::exists(i) {
            bail!(EINVAL, "unknown opcode {:02x}", i.opcode);
        }
        if i.opcode == op::JMP | op::CALL && i.src == op::PSEUDO_KFUNC_CALL {
            unsupported!("kernel function calls (kfunc #{})", i.imm);
        }
        return Ok(());
    }
    let Some(second) = insns.get(at + 1) else {
        bail!(EINVAL, "invalid bpf_ld_imm64 insn")
    };
    if second.opcode != 0 || second.dst != 0 || second.src != 0 || second.off != 0 {
        bail!(EINVAL, "invalid bpf_ld_imm64 insn");
    }
    match i.src {
        0 | op::PSEUDO_FUNC | op::PSEUDO_MAP_VALUE | op::PSEUDO_MAP_IDX_VALUE => Ok(()),
        op::PSEUDO_MAP_FD | op::PSEUDO_MAP_IDX if second.imm == 0 => Ok(()),
        op::PSEUDO_BTF_ID => unsupported!("addresses of kernel variables (BPF_PSEUDO_BTF_ID)"),
        _ => bail!(EINVAL, "unrecognized bpf_ld_imm64 insn"),
    }
}

/// No jump or function start may lead between the halves of a wide instruction.
pub(crate) fn no_middle(insns: &[Insn], shape: &Shape) -> Res<()> {
    let mut middle = alloc::vec![false; insns.len()];
    let mut at = 0;
    while let Some(i) = insns.get(at) {
        at += if i.is_wide() { 2 } else { 1 };
        if i.is_wide()
            && let Some(m) = middle.get_mut(at - 1)
        {
            *m = true;
        }
    }
    let in_middle = |t: usize| middle.get(t).copied().unwrap_or(false);
    for (at, i) in insns.iter().enumerate().filter(|&(at, _)| !in_middle(at)) {
        if let Some(t) = jump_target(at, i)
            && in_middle(t as usize)
        {
            let text = alloc::format!("jump into the middle of ldimm64 insn {t}");
            return Err(super::Reject::new(EINVAL, text).at(at));
        }
    }
    if let Some(t) = shape.starts.iter().find(|&&t| in_middle(t)) {
        bail!(EINVAL, "jump into the middle of ldimm64 insn {t}");
    }
    Ok(())
}
