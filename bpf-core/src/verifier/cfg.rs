//! Every instruction must be reachable.
use super::Reject;
use super::reject::Res;
use super::structure;
use crate::insn::Insn;
use crate::uapi::errno::EINVAL;

/// Follows jumps, calls and references to functions from the beginning.
pub(crate) fn all_reachable(insns: &[Insn]) -> Res<()> {
    let mut seen = alloc::vec![false; insns.len()];
    let mut todo = alloc::vec![0usize];
    while let Some(at) = todo.pop() {
        let Some(i) = insns.get(at) else { continue };
        if core::mem::replace(&mut seen[at], true) {
            continue;
        }
        let step = if i.is_wide() { 2 } else { 1 };
        if let (2, Some(s)) = (step, seen.get_mut(at + 1)) {
            *s = true;
        }
        if let Some(t) = structure::jump_target(at, i) {
            todo.push(t as usize);
        }
        if structure::names_function(i) {
            todo.push((at as i64 + i64::from(i.imm) + 1) as usize);
        }
        if !structure::ends_flow(i) {
            todo.push(at + step);
        }
    }
    match seen.iter().position(|s| !s) {
        Some(at) => Err(Reject::new(EINVAL, alloc::format!("unreachable insn {at}")).at(at)),
        None => Ok(()),
    }
}
