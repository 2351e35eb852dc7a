//! Checkpoints: when a path may stop because an explored state covers it.
use super::cover::{Mode, same_calls};
use super::engine::Verifier;
use super::precision::Weight;
use super::reg::Reg;
use super::reject::{Res, bail};
use super::state::State;
use crate::insn::op;
use crate::uapi::errno::EINVAL;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// A remembered state.
pub(crate) struct Checkpoint {
    /// Dropped when it serves no more.
    pub state: Option<Box<State>>,
    pub pc: usize,
    pub parent: u32,
    /// Paths that pass it and are not yet followed to their end.
    pub branches: u32,
    /// Per frame: stack slots read later on some path.
    pub read: [u64; 8],
    /// Per frame: stack slots written between the parent and here.
    pub written: [u64; 8],
    hits: u32,
    misses: u32,
}

/// A checkpoint on its shelf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pc: u32,
    /// Index into `Verifier::checkpoints`.
    nr: u32,
}

impl Verifier<'_> {
    /// Where checkpoints of an instruction are kept, apart by the calling one:
    /// states of different calls never stand for each other.
    fn shelf(&self, pc: usize) -> usize {
        (pc ^ self.top().callsite) % self.explored.len()
    }

    /// At a prune point: `true` if the path need not be followed further.
    pub fn checkpoint(&mut self, pc: usize) -> Res<bool> {
        let jumps = self.jumps - self.jumps_at_checkpoint;
        let insns = self.stats.insns_processed - self.insns_at_checkpoint;
        let force = self.aux[pc].force || self.st.jumps > 40;
        let mut add = force || (jumps >= 2 && insns >= 8);
        self.drop_single_ids();
        let shelf = self.shelf(pc);
        // The newest first, as Linux: a loop's states on this very path come last,
        // and what came before them counts as a miss.
        let (mut at, mut here) = (self.explored[shelf].len(), 0);
        while let Some(&kept) = at.checked_sub(1).and_then(|n| self.explored[shelf].get(n)) {
            at -= 1;
            if kept.pc as usize != pc {
                continue;
            }
            here += 1;
            self.spend()?;
            let nr = kept.nr;
            match self.consider(pc, nr)? {
                Verdict::Covered(mode) => {
                    self.checkpoints[nr as usize].hits += 1;
                    self.adopt(nr, mode);
                    return Ok(true);
                }
                Verdict::InLoop if !force && jumps < 20 && insns < 100 => add = false,
                Verdict::InLoop | Verdict::Other => {}
                Verdict::Skip => continue,
            }
            if add && self.missed(pc, nr) {
                self.explored[shelf].remove(at);
            }
        }
        self.stats.max_states_per_insn = self.stats.max_states_per_insn.max(here);
        if add {
            self.remember(pc, shelf);
        }
        Ok(false)
    }

    /// Forgets the ids of numbers that have no copy.
    fn drop_single_ids(&mut self) {
        let mut ids = core::mem::take(&mut self.scalar_ids);
        ids.clear();
        for f in &self.st.frames {
            let spilled = f.stack.iter().filter(|s| s.is_spill()).map(|s| &s.reg);
            let numbers = f.regs.iter().chain(spilled);
            ids.extend(numbers.filter(|r| r.is_scalar() && r.id != 0).map(|r| r.id));
        }
        ids.sort_unstable();
        keep_single(&mut ids);
        if !ids.is_empty() {
            let single = |r: &Reg| r.is_scalar() && ids.binary_search(&r.id).is_ok();
            super::branch::for_each_reg(&mut self.st, single, Reg::unlink);
        }
        self.scalar_ids = ids;
    }

    fn consider(&mut self, pc: usize, nr: u32) -> Res<Verdict> {
        let c = &self.checkpoints[nr as usize];
        let Some(old) = c.state.as_deref() else {
            return Ok(Verdict::Skip);
        };
        if !same_calls(old, &self.st) {
            return Ok(Verdict::Skip);
        }
        if c.branches == 0 {
            let covered = self.covers(c, old, Mode::Explored);
            return Ok(if covered {
                Verdict::Covered(Mode::Explored)
            } else {
                Verdict::Other
            });
        }
        let insn = &self.desc.insns[pc];
        if insn.opcode == op::JMP | op::CALL && self.aux[pc].force {
            let covered = self.covers(c, old, Mode::Within);
            return Ok(if covered {
                Verdict::Covered(Mode::Within)
            } else {
                Verdict::Other
            });
        }
        if insn.opcode == op::JMP | op::JCOND
            && old.may_goto_depth != self.st.may_goto_depth
            && self.covers(c, old, Mode::Within)
        {
            return Ok(Verdict::Covered(Mode::Within));
        }
        if insn.opcode == op::JMP | op::JCOND {
            return Ok(Verdict::Other);
        }
        let same_loop = old.may_goto_depth == self.st.may_goto_depth
            && old
                .frames
                .iter()
                .zip(&self.st.frames)
                .all(|(a, b)| a.callback_depth == b.callback_depth);
        if same_loop && maybe_looping(old, &self.st) && self.covers(c, old, Mode::Exact) {
            bail!(EINVAL, "infinite loop detected at insn {pc}");
        }
        Ok(Verdict::InLoop)
    }

    /// Counts a comparison in vain; `true` if the checkpoint is to be dropped.
    fn missed(&mut self, pc: usize, nr: u32) -> bool {
        let c = &mut self.checkpoints[nr as usize];
        c.misses += 1;
        let patience = if self.aux[pc].force && c.branches > 0 {
            64
        } else {
            3
        };
        if c.misses <= c.hits * patience + patience {
            return false;
        }
        if c.branches == 0 {
            c.state = None;
        }
        true
    }

    /// The root of all paths, which stands for nothing.
    pub fn begin(&mut self, pc: usize) {
        self.add_checkpoint(pc);
    }

    fn remember(&mut self, pc: usize, shelf: usize) {
        let nr = self.add_checkpoint(pc);
        self.stats.total_states += 1;
        self.explored[shelf].push(Kept { pc: pc as u32, nr });
        self.insns_at_checkpoint = self.stats.insns_processed;
        self.jumps_at_checkpoint = self.jumps;
        self.st.jumps = 0;
    }

    fn add_checkpoint(&mut self, pc: usize) -> u32 {
        let nr = self.checkpoints.len() as u32;
        self.own_nodes(pc);
        self.checkpoints.push(Checkpoint {
            state: Some(Box::new(self.st.clone())),
            pc,
            parent: self.st.parent,
            branches: 1,
            read: [0; 8],
            written: self.st.written,
            hits: 0,
            misses: 0,
        });
        self.st.parent = nr;
        self.st.written = [0; 8];
        for w in self.st.written.iter_mut().skip(self.st.frames.len()) {
            *w = u64::MAX;
        }
        nr
    }

    /// Gives every live number of the running frame a node of its own.
    pub(super) fn own_nodes(&mut self, pc: usize) {
        let live = self.live.get(pc).copied().unwrap_or(u16::MAX);
        let top = self.st.frames.len() - 1;
        let frame = Rc::make_mut(&mut self.st.frames[top]);
        for (nr, r) in frame
            .regs
            .iter_mut()
            .enumerate()
            .filter(|(_, r)| r.is_scalar())
        {
            if live & 1 << nr != 0 {
                r.node = self.nodes.child(r.node);
            }
        }
        for s in frame.stack.iter_mut().filter(|s| s.is_scalar_spill()) {
            s.reg.node = self.nodes.child(s.reg.node);
        }
    }

    /// The path joins an explored one: what that one rested on, this one does.
    fn adopt(&mut self, nr: u32, mode: Mode) {
        let Some(old) = self.checkpoints[nr as usize].state.take() else {
            return;
        };
        let read = self.checkpoints[nr as usize].read;
        for (depth, &seen) in read.iter().enumerate().take(self.st.frames.len()) {
            let live = self.live_at(self.checkpoints[nr as usize].pc, depth);
            let mask = if mode == Mode::Within { u64::MAX } else { seen };
            let (o, n) = (&old.frames[depth], self.st.frames[depth].clone());
            for (r, (a, b)) in o.regs.iter().zip(&n.regs).enumerate() {
                if live & 1 << r != 0 {
                    self.inherit(a, b, mode);
                }
            }
            for (s, b) in n.stack.iter().enumerate() {
                let a = o.slot(s);
                let both = a.is_spill() || mode == Mode::Within;
                if mask & 1 << s != 0 && b.is_spill() && both {
                    self.inherit(&a.reg, &b.reg, mode);
                }
            }
            self.mark_slots_read(depth, mask);
        }
        self.checkpoints[nr as usize].state = Some(old);
    }

    /// A number that stands where an explored state has one matters as much.
    fn inherit(&mut self, old: &Reg, new: &Reg, mode: Mode) {
        if !new.is_scalar() {
            return;
        }
        if mode == Mode::Within {
            self.nodes.mark_as(new.node, Weight::Maybe);
        } else if old.is_scalar() {
            self.nodes.mark_as(new.node, self.nodes.weight(old.node));
        }
    }

    /// A path came to its end.
    pub fn path_ended(&mut self, parent: u32) {
        let mut at = parent;
        while let Some(c) = self.checkpoints.get_mut(at as usize) {
            c.branches -= 1;
            if c.branches > 0 {
                return;
            }
            at = c.parent;
        }
    }
}

/// Leaves what a sorted list has just once.
fn keep_single(ids: &mut Vec<u32>) {
    let mut kept = 0;
    let mut at = 0;
    while let Some(&id) = ids.get(at) {
        let same = ids
            .iter()
            .skip(at)
            .take_while(|&&other| other == id)
            .count();
        if same == 1 {
            ids[kept] = id;
            kept += 1;
        }
        at += same;
    }
    ids.truncate(kept);
}

/// Whether a loop may have made no progress: the running frame's registers are the
/// same to the last, also those that are never read again, and with the same ids
/// (`states_maybe_looping`). Where an id is new on each round, Linux goes on.
fn maybe_looping(old: &State, new: &State) -> bool {
    let same = |a: &Reg, b: &Reg| Reg { node: 0, ..*a } == Reg { node: 0, ..*b };
    let (Some(a), Some(b)) = (old.frames.last(), new.frames.last()) else {
        return false;
    };
    a.regs.iter().zip(&b.regs).all(|(a, b)| same(a, b))
}

/// What came of looking at one checkpoint.
enum Verdict {
    Covered(Mode),
    /// It is on this very path.
    InLoop,
    Other,
    Skip,
}
