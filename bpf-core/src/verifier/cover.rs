//! Whether one state covers another: all that may happen from the new one was
//! followed from the old one.
use super::engine::Verifier;
use super::prune::Checkpoint;
use super::reg::{Kind, Reg};
use super::state::{Byte, Frame, Slot, State};
use alloc::rc::Rc;
use alloc::vec::Vec;

/// How two states are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The old one was followed to its end: what no proof rested on may differ.
    Explored,
    /// Equality, to find loops without progress.
    Exact,
    /// Inclusion of everything, for loops that are still being followed.
    Within,
}

/// Which old ids stand for which new ones in one comparison.
#[derive(Default)]
struct IdMap {
    pairs: Vec<(u32, u32)>,
    fresh: u32,
}

impl IdMap {
    fn pointers(&mut self, old: u32, new: u32) -> bool {
        if (old == 0) != (new == 0) {
            return false;
        }
        old == 0 || self.pair(old, new)
    }

    fn scalars(&mut self, old: u32, new: u32) -> bool {
        if old == 0 && new == 0 {
            return true;
        }
        let mut own = |id: u32| {
            if id != 0 {
                return id;
            }
            self.fresh += 1;
            u32::MAX - self.fresh
        };
        let (old, new) = (own(old), own(new));
        self.pair(old, new)
    }

    fn pair(&mut self, old: u32, new: u32) -> bool {
        for &(o, n) in &self.pairs {
            if o == old {
                return n == new;
            }
            if n == new {
                return false;
            }
        }
        self.pairs.push((old, new));
        true
    }
}

impl Verifier<'_> {
    pub fn covers(&self, c: &Checkpoint, old: &State, mode: Mode) -> bool {
        let new = &self.st;
        let mut ids = IdMap::default();
        if old.lock != new.lock && !same_lock(old, new, &mut ids) {
            return false;
        }
        if old.refs.len() != new.refs.len()
            || !old
                .refs
                .iter()
                .zip(&new.refs)
                .all(|(a, b)| ids.pointers(a.id, b.id))
        {
            return false;
        }
        (0..new.frames.len()).all(|d| {
            let live = self.live_at(c.pc, d);
            let live = if mode == Mode::Exact || mode == Mode::Within {
                live | 0x400
            } else {
                live
            };
            let marked = mode == Mode::Explored && !self.nodes.are_all_precise();
            let read = if marked { c.read[d] } else { u64::MAX };
            self.frame_covers(&old.frames[d], &new.frames[d], live, read, mode, &mut ids)
        })
    }

    /// Registers of a frame that may still be read: at `pc` in the running one,
    /// after the call in the others.
    pub fn live_at(&self, pc: usize, depth: usize) -> u16 {
        let at = match self.st.frames.get(depth + 1) {
            Some(callee) => callee.callsite + usize::from(callee.callback.is_none()),
            None => pc,
        };
        self.live.get(at).copied().unwrap_or(u16::MAX)
    }

    fn frame_covers(
        &self,
        old: &Rc<Frame>,
        new: &Rc<Frame>,
        live: u16,
        read: u64,
        mode: Mode,
        ids: &mut IdMap,
    ) -> bool {
        if old.callback_depth > new.callback_depth {
            return false;
        }
        for (nr, (o, n)) in old.regs.iter().zip(&new.regs).enumerate() {
            if live & 1 << nr != 0 && !self.reg_covers(o, n, mode, ids) {
                return false;
            }
        }
        let slots = old.stack.len().max(if mode == Mode::Exact {
            new.stack.len()
        } else {
            0
        });
        (0..slots)
            .filter(|s| read & 1 << s != 0)
            .all(|s| self.slot_covers(old.slot(s), new.slot(s), mode, ids))
    }

    fn slot_covers(&self, old: &Slot, new: &Slot, mode: Mode, ids: &mut IdMap) -> bool {
        if mode == Mode::Exact && old.bytes != new.bytes {
            return false;
        }
        // Data of unknown contents, or a number: compare them as numbers.
        if mode != Mode::Exact
            && let (Some(o), Some(n)) = (as_number(old), as_number(new))
            && old.is_spill()
        {
            return self.reg_covers(&o, &n, mode, ids);
        }
        for (o, n) in old.bytes.iter().zip(&new.bytes) {
            let fine = match (o, n) {
                (Byte::Invalid | Byte::Misc, _) => true,
                (o, n) => o == n,
            };
            if !fine {
                return false;
            }
        }
        !old.is_spill() || self.reg_covers(&old.reg, &new.reg, mode, ids)
    }

    fn reg_covers(&self, old: &Reg, new: &Reg, mode: Mode, ids: &mut IdMap) -> bool {
        if old.kind == Kind::NotInit {
            return mode != Mode::Exact || new.kind == Kind::NotInit;
        }
        if mode == Mode::Exact {
            return same_but_ids(old, new)
                && if old.is_scalar() {
                    ids.scalars(old.id, new.id)
                } else {
                    ids.pointers(old.id, new.id)
                }
                && ids.pointers(old.ref_id, new.ref_id);
        }
        if old.kind != new.kind || old.or_null != new.or_null {
            return false;
        }
        if old.is_scalar() {
            if mode == Mode::Explored && !self.nodes.is_precise(old.node) {
                return true;
            }
            return old.linked == new.linked
                && (old.linked.is_none() || old.off == new.off)
                && new.num.is_subset_of(&old.num)
                && ids.scalars(old.id, new.id);
        }
        let shape = old.off == new.off
            && old.rdonly == new.rdonly
            && old.alloc == new.alloc
            && new.num.is_subset_of(&old.num)
            && ids.pointers(old.uid, new.uid)
            && ids.pointers(old.id, new.id)
            && ids.pointers(old.ref_id, new.ref_id);
        let extra = match old.kind {
            Kind::Packet | Kind::PacketMeta if old.extra < 0 || new.extra < 0 => {
                old.extra == new.extra
            }
            Kind::Packet | Kind::PacketMeta => old.extra <= new.extra,
            _ => old.extra == new.extra,
        };
        let exact_number = !matches!(
            old.kind,
            Kind::Packet | Kind::PacketMeta | Kind::MapValue | Kind::MapKey | Kind::Mem
        );
        shape && extra && (!exact_number || old.num == new.num)
    }
}

fn same_but_ids(a: &Reg, b: &Reg) -> bool {
    let plain = |r: &Reg| Reg {
        id: 0,
        ref_id: 0,
        node: 0,
        uid: 0,
        ..*r
    };
    plain(a) == plain(b)
}

pub(crate) fn same_calls(a: &State, b: &State) -> bool {
    a.frames.len() == b.frames.len()
        && a.frames.iter().zip(&b.frames).all(|(x, y)| {
            x.callsite == y.callsite && x.subprog == y.subprog && x.callback == y.callback
        })
}

fn same_lock(old: &State, new: &State, ids: &mut IdMap) -> bool {
    match (&old.lock, &new.lock) {
        (Some(a), Some(b)) => {
            a.map == b.map && ids.pointers(a.id, b.id) && ids.pointers(a.uid, b.uid)
        }
        (None, None) => true,
        _ => false,
    }
}

/// The slot's contents as one 64-bit number.
fn as_number(s: &Slot) -> Option<Reg> {
    if s.is_full_spill() {
        return if s.reg.is_scalar() { Some(s.reg) } else { None };
    }
    let data = |b: &Byte| matches!(b, Byte::Misc | Byte::Invalid | Byte::Zero);
    if s.bytes.iter().all(|b| *b == Byte::Zero) {
        return Some(Reg::constant(0));
    }
    s.bytes.iter().all(data).then_some(Reg::UNKNOWN)
}
