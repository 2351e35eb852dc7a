//! Conditional jumps: which ways are possible, and what each teaches.
use super::domain::{CmpOp, Scalar, Width};
use super::engine::{Next, Verifier};
use super::reg::{AT_PKT_END, BEYOND_PKT_END, Kind, MAX_PACKET_OFF, Reg};
use super::reject::Res;
use super::state::{Slot, State};
use crate::insn::{Insn, op};
use crate::uapi::MapType;
use crate::uapi::errno::EFAULT;
use alloc::rc::Rc;

fn comparison(code: u8) -> CmpOp {
    match code & 0xf0 {
        op::JEQ => CmpOp::Eq,
        op::JNE => CmpOp::Ne,
        op::JGT => CmpOp::Gt,
        op::JGE => CmpOp::Ge,
        op::JLT => CmpOp::Lt,
        op::JLE => CmpOp::Le,
        op::JSET => CmpOp::Set,
        op::JSGT => CmpOp::Sgt,
        op::JSGE => CmpOp::Sge,
        op::JSLT => CmpOp::Slt,
        _ => CmpOp::Sle,
    }
}

/// The comparison that says the same with its sides exchanged.
fn flipped(c: CmpOp) -> CmpOp {
    match c {
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Ge => CmpOp::Le,
        CmpOp::Le => CmpOp::Ge,
        other => other,
    }
}

impl Verifier<'_> {
    /// A conditional jump other than `may_goto`.
    pub fn conditional(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        let by_reg = i.opcode & op::X != 0;
        let src = if by_reg {
            self.read(i.src)?
        } else {
            Reg::constant(i64::from(i.imm) as u64)
        };
        let dst = self.read(i.dst)?;
        let width = if i.class() == op::JMP {
            Width::W64
        } else {
            Width::W32
        };
        let cmp = comparison(i.opcode);
        let target = (pc as i64 + 1 + i64::from(i.off)) as usize;
        if let Some(taken) = self.outcome(cmp, width, &dst, &src) {
            self.nodes.mark(if dst.is_scalar() { dst.node } else { 0 });
            self.nodes.mark(if src.is_scalar() { src.node } else { 0 });
            return Ok(self.goes(pc, target, taken));
        }
        self.fork(pc, i, target, cmp, width, dst, src)
    }

    fn goes(&mut self, pc: usize, target: usize, taken: bool) -> Next {
        if taken {
            self.aux[pc].jumped = true;
            Next::To(target)
        } else {
            self.aux[pc].fell = true;
            Next::To(pc + 1)
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn fork(
        &mut self,
        pc: usize,
        i: &Insn,
        target: usize,
        cmp: CmpOp,
        width: Width,
        dst: Reg,
        src: Reg,
    ) -> Res<Next> {
        let numbers = dst.is_scalar() && src.is_scalar();
        (self.aux[pc].fell, self.aux[pc].jumped) = (true, true);
        let by_reg = i.opcode & op::X != 0;
        let mut other = self.st.clone();
        if numbers {
            let refine = |taken| Scalar::refine_branch(cmp, width, &dst.num, &src.num, taken);
            let (f, j) = (refine(false), refine(true));
            let node = if by_reg {
                self.nodes.join(dst.node, src.node)
            } else {
                dst.node
            };
            self.learn_numbers(None, i, f, node);
            self.learn_numbers(Some(&mut other), i, j, node);
        }
        if by_reg && width == Width::W64 {
            learn_not_null(&mut self.st, &mut other, cmp, i, &dst, &src);
            learn_packet(&mut self.st, &mut other, cmp, i, &dst, &src);
        }
        let null_test = !by_reg && i.imm == 0 && width == Width::W64 && dst.or_null;
        if null_test && matches!(cmp, CmpOp::Eq | CmpOp::Ne) {
            let jump_is_null = cmp == CmpOp::Eq;
            resolve_null(&mut other, &self.maps, &dst, jump_is_null);
            resolve_null(&mut self.st, &self.maps, &dst, !jump_is_null);
        }
        self.push(other, target, pc, EFAULT)?;
        Ok(Next::To(pc + 1))
    }

    /// Writes refined numbers into a state (the current one for `None`).
    fn learn_numbers(
        &mut self,
        other: Option<&mut State>,
        i: &Insn,
        (d, s): (Scalar, Scalar),
        node: u32,
    ) {
        let by_reg = i.opcode & op::X != 0;
        let st = match other {
            Some(o) => o,
            None => &mut self.st,
        };
        let top = st.frames.len() - 1;
        let frame = Rc::make_mut(&mut st.frames[top]);
        let dst = &mut frame.regs[usize::from(i.dst)];
        (dst.num, dst.node) = (d, node);
        if by_reg {
            let src = &mut frame.regs[usize::from(i.src)];
            (src.num, src.node) = (s, node);
            let src = *src;
            if src.id != 0 && i.src != i.dst {
                sync_linked(st, &mut self.nodes, &src);
            }
        }
        // Where both sides have the same id, the source's view has won.
        let dst = st.frames[top].regs[usize::from(i.dst)];
        if dst.id != 0 {
            sync_linked(st, &mut self.nodes, &dst);
        }
    }

    /// Whether the comparison always comes out the same way.
    fn outcome(&self, cmp: CmpOp, width: Width, dst: &Reg, src: &Reg) -> Option<bool> {
        if dst.is_scalar() && src.is_scalar() {
            return Scalar::branch_outcome(cmp, width, &dst.num, &src.num);
        }
        if width == Width::W64 && dst.is_any_packet() && src.is_any_packet() {
            return packet_outcome(cmp, dst, src);
        }
        let (ptr, num) = if dst.is_pointer() {
            (dst, src)
        } else {
            (src, dst)
        };
        // In 32 bits this is Linux's belief, not a fact: it holds because the
        // jump is then compiled as decided.
        let zero = num.is_scalar()
            && match width {
                Width::W64 => num.num.as_const() == Some(0),
                Width::W32 => num.num.as_const_low() == Some(0),
            };
        if !ptr.is_pointer() || !zero || !ptr.is_known_not_null() {
            return None;
        }
        match cmp {
            CmpOp::Eq => Some(false),
            CmpOp::Ne => Some(true),
            _ => None,
        }
    }
}

fn packet_outcome(cmp: CmpOp, dst: &Reg, src: &Reg) -> Option<bool> {
    let (pkt, cmp) = if src.kind == Kind::PacketEnd {
        (dst, cmp)
    } else if dst.kind == Kind::PacketEnd {
        (src, flipped(cmp))
    } else {
        return None;
    };
    match cmp {
        CmpOp::Le | CmpOp::Gt if pkt.extra == BEYOND_PKT_END && pkt.is_packet() => {
            Some(cmp == CmpOp::Gt)
        }
        CmpOp::Lt | CmpOp::Ge if pkt.extra < 0 && pkt.is_packet() => Some(cmp == CmpOp::Ge),
        _ => None,
    }
}

/// Gives every copy of a number what was learnt about one of them.
fn sync_linked(st: &mut State, nodes: &mut super::precision::Nodes, known: &Reg) {
    let mut update = |r: &mut Reg| {
        if r.kind != Kind::Scalar || r.id != known.id {
            return;
        }
        let width = match (r.linked, known.linked) {
            // The differences are of different widths: together they say nothing.
            (Some(a), Some(b)) if a != b => return,
            (a, b) => a.or(b).unwrap_or(Width::W64),
        };
        let node = nodes.join(r.node, known.node);
        let delta = |r: &Reg| r.linked.map_or(0, |_| i64::from(r.off));
        let diff = delta(r) - delta(known);
        let num = if diff == 0 {
            known.num
        } else {
            let d = Scalar::constant(diff as u64);
            Scalar::alu(super::domain::AluOp::Add, width, &known.num, &d)
        };
        (r.num, r.node) = (num, node);
    };
    let same = |r: &Reg| r.kind == Kind::Scalar && r.id == known.id;
    for f in &mut st.frames {
        let spilled = |s: &Slot| s.is_spill() && same(&s.reg);
        if !f.regs.iter().any(same) && !f.stack.iter().any(spilled) {
            continue;
        }
        let f = Rc::make_mut(f);
        f.regs.iter_mut().for_each(&mut update);
        f.stack
            .iter_mut()
            .filter(|s| s.is_spill())
            .for_each(|s| update(&mut s.reg));
    }
}

/// Applies a change to all registers and spilled registers for which `want` holds.
pub(crate) fn for_each_reg(
    st: &mut State,
    want: impl Fn(&Reg) -> bool,
    mut change: impl FnMut(&mut Reg),
) {
    for f in &mut st.frames {
        let spilled = |s: &Slot| s.is_spill() && want(&s.reg);
        if !f.regs.iter().any(&want) && !f.stack.iter().any(spilled) {
            continue;
        }
        let f = Rc::make_mut(f);
        f.regs.iter_mut().filter(|r| want(r)).for_each(&mut change);
        for s in f.stack.iter_mut().filter(|s| s.is_spill()) {
            if want(&s.reg) {
                change(&mut s.reg);
            }
        }
    }
}

/// A pointer that equals one that is not null is not null either.
fn learn_not_null(fall: &mut State, jump: &mut State, cmp: CmpOp, _i: &Insn, dst: &Reg, src: &Reg) {
    if !dst.is_pointer() || !src.is_pointer() || dst.or_null == src.or_null {
        return;
    }
    let (maybe, sure) = if dst.or_null { (dst, src) } else { (src, dst) };
    if !sure.is_not_null() || matches!(maybe.kind, Kind::MapPtr | Kind::Opaque) {
        return;
    }
    let equal = match cmp {
        CmpOp::Eq => jump,
        CmpOp::Ne => fall,
        _ => return,
    };
    let id = maybe.id;
    for_each_reg(equal, |r| r.or_null && r.id == id, |r| r.or_null = false);
}

/// Splits "pointer or null" into the one or the other, in all copies.
fn resolve_null(st: &mut State, maps: &[crate::program::MapDesc], ptr: &Reg, null: bool) {
    let (id, ref_id) = (ptr.id, ptr.ref_id);
    if null && ref_id != 0 && ref_id == id {
        st.refs.retain(|r| r.id != ref_id);
    }
    for_each_reg(
        st,
        |r| r.or_null && r.id == id,
        |r| {
            if null {
                *r = Reg::constant(0);
                return;
            }
            r.or_null = false;
            let map = maps.get(r.extra as usize);
            if r.kind == Kind::MapValue && map.is_some_and(|m| m.map_type == MapType::Xskmap) {
                *r = Reg::pointer(Kind::XdpSock);
                return;
            }
            let has_lock = matches!(r.kind, Kind::MapValue)
                && maps
                    .get(r.extra as usize)
                    .is_some_and(|m| m.spin_lock_off.is_some());
            if !has_lock {
                r.id = 0;
            }
        },
    );
}

/// Comparing a packet pointer with the packet's end shows how many bytes there
/// are; `data_meta` has the start of the packet as its end.
fn learn_packet(fall: &mut State, jump: &mut State, cmp: CmpOp, i: &Insn, dst: &Reg, src: &Reg) {
    let start =
        |r: &Reg| r.kind == Kind::Packet && r.off == 0 && r.id == 0 && r.num.as_const() == Some(0);
    let pair = |a: &Reg, b: &Reg| {
        (a.kind == Kind::Packet && b.kind == Kind::PacketEnd)
            || (a.kind == Kind::PacketMeta && start(b))
    };
    let (ptr, nr, cmp) = if pair(dst, src) {
        (dst, i.dst, cmp)
    } else if pair(src, dst) {
        (src, i.src, flipped(cmp))
    } else {
        return;
    };
    // Now the question is "ptr cmp end".
    let (inside, beyond, open) = match cmp {
        CmpOp::Gt => (fall, jump, false),
        CmpOp::Lt => (jump, fall, true),
        CmpOp::Ge => (fall, jump, true),
        CmpOp::Le => (jump, fall, false),
        _ => return,
    };
    prove_bytes(inside, ptr, open);
    let top = beyond.frames.len() - 1;
    let r = &mut Rc::make_mut(&mut beyond.frames[top]).regs[usize::from(nr)];
    if r.kind == Kind::Packet {
        // "not inside": beyond the end if equality counts as inside.
        r.extra = if open { AT_PKT_END } else { BEYOND_PKT_END };
    }
}

fn prove_bytes(st: &mut State, ptr: &Reg, open: bool) {
    if ptr.off < 0 || (ptr.off == 0 && open) {
        return;
    }
    let max = ptr.num.umax();
    if max > MAX_PACKET_OFF || max + ptr.off as u64 > MAX_PACKET_OFF {
        return;
    }
    let range = ptr.off + i32::from(open);
    for_each_reg(
        st,
        |r| r.kind == ptr.kind && r.id == ptr.id,
        |r| r.extra = r.extra.max(range),
    );
}
