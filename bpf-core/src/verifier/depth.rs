//! How much stack calls need together.
use super::reject::{Res, bail};
use super::structure::{self, Shape};
use crate::insn::Insn;
use crate::uapi::errno::{E2BIG, EACCES};
use crate::uapi::{ProgType, limits};
use alloc::vec::Vec;

/// The call graph: for each function the functions that it names.
pub(crate) fn call_graph(insns: &[Insn], shape: &Shape) -> Vec<Vec<usize>> {
    let mut calls = alloc::vec![Vec::new(); shape.starts.len()];
    for (at, i) in insns
        .iter()
        .enumerate()
        .filter(|(_, i)| structure::names_function(i))
    {
        let target = (at as i64 + i64::from(i.imm) + 1) as usize;
        if let Some(to) = shape.starting_at(target)
            && let Some(list) = calls.get_mut(shape.subprog_of(at))
            && !list.contains(&to)
        {
            list.push(to);
        }
    }
    calls
}

/// Functions with a tail call of their own.
pub(crate) fn with_tail_call(insns: &[Insn], shape: &Shape) -> Vec<bool> {
    let mut has = alloc::vec![false; shape.starts.len()];
    for (at, i) in insns.iter().enumerate() {
        if let (true, Some(h)) = (
            structure::is_tail_call(i),
            has.get_mut(shape.subprog_of(at)),
        ) {
            *h = true;
        }
    }
    has
}

/// Spreads a property of functions to their callers.
pub(crate) fn reaching(calls: &[Vec<usize>], own: &[bool]) -> Vec<bool> {
    let mut has = own.to_vec();
    loop {
        let before = has.clone();
        for (from, to) in calls.iter().enumerate() {
            let any = to.iter().any(|&t| has.get(t).copied().unwrap_or(false));
            if let (true, Some(h)) = (any, has.get_mut(from)) {
                *h = true;
            }
        }
        if has == before {
            return has;
        }
    }
}

/// Walks the call graph.
pub(crate) struct Walk<'a> {
    pub calls: &'a [Vec<usize>],
    pub tail_calls: &'a [bool],
    /// Bytes of stack per function.
    pub stack: &'a [u32],
    /// Functions that need much stack have one of their own.
    pub apart: bool,
}

/// From here on a function gets a stack of its own (`BPF_PRIV_STACK_MIN_SIZE`).
const MUCH: u32 = 64;

/// Whether Linux gives functions of this program type stacks of their own
/// (`bpf_enable_priv_stack`): types that may interrupt each other.
pub(crate) fn stacks_apart(t: ProgType) -> bool {
    use ProgType::*;
    matches!(t, Kprobe | Tracepoint | PerfEvent | RawTracepoint)
}

impl Walk<'_> {
    /// The limits on calls from the main function down.
    pub fn check(&self) -> Res<()> {
        let mut seen = alloc::vec![(0u32, 0usize); self.calls.len()];
        self.visit(0, 0, 1, &mut seen)
    }

    fn visit(&self, nr: usize, before: u32, frames: usize, seen: &mut [(u32, usize)]) -> Res<()> {
        if frames > limits::CALL_FRAMES {
            bail!(
                E2BIG,
                "the call stack of {} frames is too deep !",
                frames - 1
            );
        }
        if nr != 0 && self.tail_calls.get(nr).copied().unwrap_or(false) && before >= 256 {
            bail!(
                EACCES,
                "tail_calls are not allowed when call stack of previous frames is {before} bytes. Too large"
            );
        }
        let own = self.stack.get(nr).copied().unwrap_or(0);
        let own = own.next_multiple_of(16);
        let apart = self.apart && (MUCH..=limits::STACK).contains(&own);
        let depth = if apart { before } else { before + own };
        if depth > limits::STACK {
            bail!(
                EACCES,
                "combined stack size of {frames} calls is {depth}. Too large"
            );
        }
        if let Some(s) = seen.get_mut(nr) {
            if depth <= s.0 && frames <= s.1 {
                return Ok(());
            }
            *s = (s.0.max(depth), s.1.max(frames));
        }
        for &to in self.calls.get(nr).map_or(&[][..], |c| c) {
            self.visit(to, depth, frames + 1, seen)?;
        }
        Ok(())
    }
}
