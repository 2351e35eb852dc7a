//! The proof that a program is safe.
//!
//! Every path is followed with an abstract state in place of registers and
//! stack. A path stops where a state that was followed to its end covers it.
//!
//! | file | is |
//! |---|---|
//! | `structure`, `cfg`, `opcode`, `maps` | what needs no path: shape, reachability, fields, map references |
//! | `domain` | numbers |
//! | `reg`, `state` | the abstract machine |
//! | `engine` | the exploration |
//! | `alu`, `branch`, `memory`, `region`, `stack` | instructions: what they require and do |
//! | `context`, `fields`, `struct_map` | structures whose fields have rules of their own |
//! | `call`, `args`, `special`, `compat`, `format` | functions, callbacks, helper calls |
//! | `types`, `signature`, `global` | what BTF says: source lines, global functions |
//! | `prune`, `cover`, `precision`, `live` | when one state covers another |
//! | `depth`, `fastcall`, `rewrite` | stack use of calls; the program without dead code |
//! | `log` | the kernel's log |
//!
//! Differences from Linux, on purpose: callbacks need no BTF; pointers to the kernel's
//! own structures may be held and compared, not followed.
pub mod domain;

use crate::program::{MapTable, Program, ProgramDesc};
use alloc::string::String;
use alloc::vec::Vec;

mod alu;
mod args;
mod branch;
mod call;
mod cfg;
mod compat;
mod context;
mod cover;
mod depth;
mod engine;
mod fastcall;
mod fields;
mod format;
mod global;
mod live;
mod log;
mod maps;
mod memory;
mod opcode;
mod precision;
mod prune;
mod reg;
mod region;
mod reject;
mod rewrite;
mod signature;
mod special;
mod stack;
mod state;
mod struct_map;
mod structure;
#[cfg(test)]
mod tests;
mod types;
mod unverified;

pub use unverified::unverified;

/// `log_level` bits of `BPF_PROG_LOAD`.
pub mod log_level {
    /// Branch states (`BPF_LOG_LEVEL1`).
    pub const LEVEL1: u32 = 1;
    /// Every instruction (`BPF_LOG_LEVEL2`).
    pub const LEVEL2: u32 = 2;
    /// Final statistics (`BPF_LOG_STATS`).
    pub const STATS: u32 = 4;
}

/// How to verify.
pub struct Options<'a> {
    /// Bits of [`log_level`].
    pub log_level: u32,
    /// Most instructions to process before giving up with E2BIG.
    pub insn_budget: u32,
    /// Called every [`LOOK`] steps of work: whether something is used up. Then the
    /// program is refused with E2BIG, as one that takes too many instructions to
    /// verify. (The kernel lets a verification last, but for a signal: EAGAIN.)
    pub spent: &'a dyn Fn() -> Option<Spent>,
}

/// How many instructions are processed, or states compared, between two looks at
/// [`Options::spent`].
pub const LOOK: u32 = 64;

/// What a verification may have used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The time that it may take.
    Time,
    /// The memory for its states.
    Memory,
}

/// Figures of one verification, as in the last line of the kernel's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Instructions processed, on all paths.
    pub insns_processed: u32,
    /// States kept for pruning.
    pub total_states: u32,
    /// The most states kept at one instruction.
    pub max_states_per_insn: u32,
    /// The longest list of pending branches.
    pub peak_states: u32,
}

/// Why a program was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Positive errno, as the kernel would answer.
    pub errno: i32,
    /// Index of the instruction at fault, in the program as loaded.
    pub insn: Option<u32>,
    /// One line: what was expected and what was found. The log ends with it
    /// (in two lines where Linux has two), but for the statistics.
    pub reason: String,
    /// The program asks for something outside what bpfvisor means to do
    /// (program type, map type, helper, BTF), rather than being wrong.
    pub unsupported: bool,
}

/// The verdict on a program, with the figures of getting there.
pub struct Outcome {
    /// The program in executable form, or why not.
    pub verdict: Result<Program, Reject>,
    /// Figures, also for a rejected program.
    pub stats: Stats,
    /// The log, at the level asked for (empty at level 0).
    pub log: String,
}

/// What the verifier believes when it comes to an instruction, for tests that
/// compare it with what a run has there.
#[derive(Clone, Debug)]
pub struct View {
    /// Functions in progress, without the main one.
    pub depth: usize,
    /// R0 to R10.
    pub regs: [RegView; 11],
    /// Spilled numbers of the running function, by offset from R10.
    pub spilled: Vec<(i32, domain::Scalar)>,
}

/// One register, as far as it can be compared with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegView {
    /// Not readable (or never read again).
    Nothing,
    /// A number from this set.
    Number(domain::Scalar),
    /// A pointer; its distance from the start of its object is `off` plus a
    /// number from the set.
    Pointer {
        /// The kernel's name of the pointer's type.
        kind: &'static str,
        /// Fixed part of the offset.
        off: i32,
        /// Variable part of the offset.
        var: domain::Scalar,
        /// It may be null instead.
        or_null: bool,
    },
}

/// Watches a verification. With an observer, states stand in for each other
/// only where all their numbers agree: so each run's numbers lie in one of the
/// views of each instruction that it executes.
pub trait Observer {
    /// An instruction is about to be followed in this state.
    fn visit(&mut self, insn: usize, view: &View);
}

fn observe(o: &mut dyn Observer, pc: usize, st: &state::State, live: u16) {
    let Some(top) = st.frames.last() else { return };
    let mut regs = [RegView::Nothing; 11];
    for (nr, (v, r)) in regs.iter_mut().zip(&top.regs).enumerate() {
        *v = match r.kind {
            _ if live & 1 << nr == 0 => RegView::Nothing,
            reg::Kind::NotInit => RegView::Nothing,
            reg::Kind::Scalar => RegView::Number(r.num),
            _ => RegView::Pointer {
                kind: r.type_name(),
                off: r.off,
                var: r.num,
                or_null: r.or_null,
            },
        };
    }
    let spilled = (top.stack.iter().enumerate())
        .filter(|(_, s)| s.is_full_spill() && s.is_scalar_spill())
        .map(|(nr, s)| (-8 * (nr as i32 + 1), s.reg.num))
        .collect();
    o.visit(
        pc,
        &View {
            depth: st.depth(),
            regs,
            spilled,
        },
    );
}

/// Judges a program.
pub fn verify(desc: &ProgramDesc<'_>, maps: &dyn MapTable, opts: &Options<'_>) -> Outcome {
    verify_observed(desc, maps, opts, None)
}

/// As [`verify`], with somebody watching.
pub fn verify_observed<'a>(
    desc: &'a ProgramDesc<'a>,
    maps: &'a dyn MapTable,
    opts: &'a Options<'a>,
    observer: Option<&'a mut dyn Observer>,
) -> Outcome {
    let early = |r: Reject| {
        let mut log = log::Log::new(opts.log_level);
        log.line(&r.reason);
        Outcome {
            verdict: Err(r),
            stats: Stats::default(),
            log: log.text,
        }
    };
    let prepared = match supported(desc).and_then(|()| prepare(desc)) {
        Ok(p) => p,
        Err(r) => return early(r),
    };
    let mut v = engine::Verifier::new(desc, maps, opts, observer, prepared);
    let mut verdict = judge(&mut v);
    if let Err(r) = &mut verdict {
        v.log.line(&r.reason);
        r.reason = r.reason.replace('\n', ": ");
    }
    let s = v.stats;
    let summary = alloc::format!(
        "processed {} insns (limit {}) max_states_per_insn {} total_states {} peak_states {} mark_read 0",
        s.insns_processed,
        opts.insn_budget,
        s.max_states_per_insn,
        s.total_states,
        s.peak_states,
    );
    v.log.line(&summary);
    Outcome {
        verdict,
        stats: s,
        log: core::mem::take(&mut v.log.text),
    }
}

/// What is known before any path is followed: functions and their types.
fn prepare<'a>(desc: &ProgramDesc<'a>) -> reject::Res<(structure::Shape, types::Types<'a>)> {
    let mut types = types::Types::read(desc.types)?;
    let shape = structure::shape(desc.insns)?;
    types.fit(desc.insns, &shape)?;
    Ok((shape, types))
}

fn supported(desc: &ProgramDesc<'_>) -> reject::Res<()> {
    use crate::uapi::ProgType as P;
    match desc.prog_type {
        P::LircMode2 | P::Tracing | P::StructOps | P::Ext | P::Lsm | P::Syscall => {
            reject::unsupported!("program type {}", desc.prog_type.name())
        }
        of if !fields::attach_type_fits(of, desc.attach_type) => reject::bail!(
            crate::uapi::errno::EINVAL,
            "expected_attach_type {} is not one of {} programs",
            desc.attach_type,
            of.name()
        ),
        _ => Ok(()),
    }
}

fn judge(v: &mut engine::Verifier<'_>) -> reject::Res<Program> {
    // Linux looks for both kinds of fault in one pass.
    match (structure::opcodes(v.desc.insns), v.resolve_maps()) {
        (Err(a), Err(b)) => return Err(if b.insn < a.insn { b } else { a }),
        (Err(r), _) | (_, Err(r)) => return Err(r),
        _ => {}
    }
    structure::no_middle(v.desc.insns, &v.shape)?;
    cfg::all_reachable(v.desc.insns)?;
    v.explore()?;
    v.explore_globals()?;
    let calls = depth::call_graph(v.desc.insns, &v.shape);
    let tail_calls = depth::with_tail_call(v.desc.insns, &v.shape);
    let used = v.stack_depth.iter().enumerate();
    let stack: Vec<u32> = used.map(|(nr, &n)| v.fastcalls.counted(nr, n)).collect();
    depth::Walk {
        calls: &calls,
        tail_calls: &tail_calls,
        stack: &stack,
        apart: depth::stacks_apart(v.desc.prog_type) && !tail_calls.contains(&true),
    }
    .check()?;
    Ok(v.finish())
}
