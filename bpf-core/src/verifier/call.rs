//! Jumps without a condition, calls and returns.
use super::engine::{Next, Verifier};
use super::memory::{Named, check_unmodified};
use super::precision::Weight;
use super::reg::{Kind, Reg};
use super::reject::{Res, bail};
use super::state::{Callback, Frame, State};
use super::{branch, context};
use crate::helper::TAIL_CALL;
use crate::insn::{Insn, op};
use crate::program::ProgramDesc;
use crate::uapi::errno::{E2BIG, EACCES, EINVAL, ENOMEM};
use crate::uapi::{ProgType, attach_type, limits};
use alloc::rc::Rc;
use alloc::string::String;

/// `bpf_for_each_map_elem`.
pub(crate) const FOR_EACH_MAP_ELEM: u32 = 164;
/// `bpf_loop`.
pub(crate) const LOOP: u32 = 181;

/// Whether a helper calls a function of the program.
pub(crate) fn takes_callback(helper: u32) -> bool {
    matches!(helper, FOR_EACH_MAP_ELEM | LOOP)
}

impl Verifier<'_> {
    /// JMP and JMP32.
    pub fn jump_class(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        self.jumps += 1;
        match i.opcode & 0xf0 {
            op::JA => {
                let to = super::structure::jump_target(pc, i).unwrap_or(0);
                Ok(Next::To(to as usize))
            }
            op::CALL if i.src == op::PSEUDO_CALL => self.call_function(pc, i),
            op::CALL => {
                if self.st.lock.is_some() && i.imm as u32 != super::args::SPIN_UNLOCK {
                    bail!(
                        EINVAL,
                        "function calls are not allowed while holding a lock"
                    );
                }
                self.call_helper(pc, i.imm as u32)?;
                match i.imm as u32 {
                    // What the other program returns, the function returns.
                    TAIL_CALL => self.left_early(pc, Reg::UNKNOWN),
                    _ => Ok(Next::To(pc + 1)),
                }
            }
            op::EXIT => self.exit(pc),
            op::JCOND => self.may_goto(pc, i),
            _ => self.conditional(pc, i),
        }
    }

    fn may_goto(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        let mut again = self.st.clone();
        again.may_goto_depth += 1;
        let here = self
            .checkpoints
            .get(self.st.parent as usize)
            .map_or(u32::MAX, |c| c.parent);
        if let Some(old) = self.previous_visit(pc, here) {
            self.widen(&old, &mut again);
        }
        (self.aux[pc].fell, self.aux[pc].jumped) = (true, true);
        // The kernel keeps the way into the loop for later and leaves first.
        let target = (pc as i64 + 1 + i64::from(i.off)) as usize;
        self.push(again, pc + 1, pc, ENOMEM)?;
        Ok(Next::To(target))
    }

    fn call_function(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        let target = (pc as i64 + 1 + i64::from(i.imm)) as usize;
        let subprog = self.shape.starting_at(target).unwrap_or(0);
        if self.types.is_global(subprog) {
            self.call_global(subprog)?;
            return Ok(Next::To(pc + 1));
        }
        self.own_nodes(pc + 1);
        let mut st = self.st.clone();
        enter(&mut st, pc, subprog, None)?;
        let top = st.frames.len() - 1;
        let caller = self.top().regs;
        let callee = Rc::make_mut(&mut st.frames[top]);
        callee.regs[1..6].copy_from_slice(&caller[1..6]);
        self.st = st;
        Ok(Next::To(target))
    }

    /// Queues a run of a callback from the helper call at `pc`.
    pub fn push_callback(&mut self, pc: usize, helper: u32, args: [Reg; 5], func: &Reg) -> Res<()> {
        let subprog = func.extra as usize;
        let Some(&start) = self.shape.starts.get(subprog) else {
            bail!(EINVAL, "callback function not found");
        };
        self.callbacks[subprog] = true;
        self.own_nodes(pc);
        let mut st = self.st.clone();
        let top = st.frames.len() - 1;
        Rc::make_mut(&mut st.frames[top]).callback_depth += 1;
        enter(&mut st, pc, subprog, Some(Callback { helper }))?;
        let callee = Rc::make_mut(&mut st.frames[top + 1]);
        callee.regs[1..6].copy_from_slice(&args);
        self.push(st, start, pc, ENOMEM)?;
        self.frame().callback_depth = 0;
        Ok(())
    }

    fn exit(&mut self, pc: usize) -> Res<Next> {
        if self.st.frames.len() == 1 {
            self.no_resources("BPF_EXIT instruction in main prog")?;
            if self.top().subprog != 0 {
                self.check_global_result()?;
                return Ok(Next::Done);
            }
            let r0 = self.read(0)?;
            self.check_verdict(&r0)?;
            return Ok(Next::Done);
        }
        let callee = self.top().clone();
        let r0 = callee.regs[0];
        if r0.kind == Kind::Stack {
            bail!(EINVAL, "cannot return stack pointer to the caller");
        }
        if callee.callback.is_some() {
            self.check_callback_result(&r0)?;
        }
        let _ = pc;
        self.st.frames.pop();
        let depth = self.st.frames.len();
        self.st.written[depth] = u64::MAX;
        if callee.callback.is_none() {
            self.set(0, r0);
            return Ok(Next::To(callee.callsite + 1));
        }
        let mut st = self.st.clone();
        if let Some(old) = self.previous_visit(callee.callsite, self.st.parent) {
            self.widen(&old, &mut st);
        }
        self.st = st;
        Ok(Next::To(callee.callsite))
    }

    /// What the main program may return (`check_return_code`). Most types return
    /// what they like.
    fn check_verdict(&mut self, r0: &Reg) -> Res<()> {
        let Some((least, most)) = verdicts(self.desc) else {
            return Ok(());
        };
        if !r0.is_scalar() {
            let kind = r0.type_name();
            bail!(
                EINVAL,
                "At program exit the register R0 is not a known value ({kind})"
            );
        }
        self.nodes.mark(r0.node);
        let (smin, smax) = (r0.num.smin(), r0.num.smax());
        if smin < least || smax > most {
            bail!(
                EINVAL,
                "At program exit the register R0 has smin={smin} smax={smax} should have been in \
                 [{least}, {most}]"
            );
        }
        Ok(())
    }

    fn check_callback_result(&mut self, r0: &Reg) -> Res<()> {
        if r0.kind == Kind::NotInit {
            bail!(EACCES, "R0 !read_ok");
        }
        if !r0.is_scalar() {
            bail!(EACCES, "R0 not a scalar value");
        }
        self.nodes.mark(r0.node);
        if r0.num.smin() < 0 || r0.num.smax() > 1 {
            bail!(
                EINVAL,
                "At callback return the register R0 has smin={} smax={} should have been in [0, 1]",
                r0.num.smin(),
                r0.num.smax()
            );
        }
        Ok(())
    }

    /// The last checkpoint on this path at the same instruction and calls.
    fn previous_visit(&self, pc: usize, from: u32) -> Option<State> {
        let mut at = from;
        while let Some(c) = self.checkpoints.get(at as usize) {
            if c.pc == pc
                && let Some(old) = c.state.as_deref()
                && old.frames.len() == self.st.frames.len()
            {
                return Some(old.clone());
            }
            at = c.parent;
        }
        None
    }

    /// Numbers that changed since the last round, and that no proof rested on,
    /// can be anything: so that rounds of a loop come to look alike.
    fn widen(&mut self, old: &State, new: &mut State) {
        for (o, n) in old.frames.iter().zip(&mut new.frames) {
            let n = Rc::make_mut(n);
            for (a, b) in o.regs.iter().zip(n.regs.iter_mut()) {
                self.widen_reg(a, b);
            }
            for (s, b) in n.stack.iter_mut().enumerate() {
                let a = o.slot(s);
                if a.is_full_spill() && b.is_full_spill() {
                    self.widen_reg(&a.reg, &mut b.reg);
                }
            }
        }
    }

    fn widen_reg(&self, old: &Reg, new: &mut Reg) {
        if !old.is_scalar() || !new.is_scalar() || self.nodes.weight(old.node) == Weight::Proof {
            return;
        }
        if old.num != new.num || (old.id == 0) != (new.id == 0) {
            *new = Reg {
                node: new.node,
                ..Reg::UNKNOWN
            };
        }
    }

    /// Nothing may be held where the program ends.
    pub fn no_resources(&self, what: &str) -> Res<()> {
        if !self.st.refs.is_empty() {
            let each = self.st.refs.iter().map(|r| {
                alloc::format!("Unreleased reference id={} alloc_insn={}\n", r.id, r.insn)
            });
            let each: String = each.collect();
            bail!(EINVAL, "{each}{what} would lead to reference leak");
        }
        if self.st.lock.is_some() {
            bail!(
                EINVAL,
                "{what} cannot be used inside bpf_spin_lock-ed region"
            );
        }
        Ok(())
    }

    /// Besides going on, the instruction may end the function with this result.
    /// Where another program took over, the packet may be another one, too.
    fn left_early(&mut self, pc: usize, r0: Reg) -> Res<Next> {
        if self.st.frames.len() == 1 {
            return Ok(Next::To(pc + 1));
        }
        self.push(self.st.clone(), pc + 1, pc, ENOMEM)?;
        if r0.as_const().is_none() {
            branch::for_each_reg(&mut self.st, Reg::is_any_packet, |r| *r = Reg::UNKNOWN);
        }
        self.set(0, r0);
        self.exit(pc)
    }

    /// `BPF_ABS` and `BPF_IND`, which end the function with 0 where they fail.
    pub fn legacy_packet_load(&mut self, pc: usize, i: &Insn) -> Res<Next> {
        if !context::legacy_loads(self.desc.prog_type) {
            bail!(
                EINVAL,
                "BPF_LD_[ABS|IND] instructions not allowed for this program type"
            );
        }
        let r6 = self.read(6)?;
        self.no_resources("BPF_LD_[ABS|IND]")?;
        if r6.kind != Kind::Ctx {
            bail!(EINVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb");
        }
        if i.opcode & 0xe0 == op::IND {
            self.read(i.src)?;
        }
        check_unmodified(Named { nr: 6, reg: &r6 })?;
        let frame = self.frame();
        frame.regs[..6].fill(Reg::NOT_INIT);
        frame.regs[0] = Reg::UNKNOWN;
        self.left_early(pc, Reg::constant(0))
    }
}

/// The verdicts that a program type may give, where not all are allowed.
fn verdicts(desc: &ProgramDesc<'_>) -> Option<(i64, i64)> {
    use ProgType::*;
    use attach_type::*;
    match (desc.prog_type, desc.attach_type) {
        (CgroupSkb, CGROUP_INET_EGRESS) => Some((0, 3)),
        (CgroupSockAddr, INET4_BIND | INET6_BIND) => Some((0, 3)),
        (CgroupSockAddr, UDP4_RECVMSG | UDP6_RECVMSG) => Some((1, 1)),
        (CgroupSockAddr, INET4_GETPEERNAME..=INET6_GETSOCKNAME) => Some((1, 1)),
        (CgroupSkb | CgroupSock | CgroupSockAddr | CgroupSockopt, _) => Some((0, 1)),
        (CgroupDevice | CgroupSysctl | SockOps | SkLookup | Netfilter, _) => Some((0, 1)),
        _ => None,
    }
}

/// Adds a frame and clears what the call clobbers in the caller.
fn enter(st: &mut State, callsite: usize, subprog: usize, callback: Option<Callback>) -> Res<()> {
    let depth = st.frames.len();
    if depth >= limits::CALL_FRAMES {
        bail!(E2BIG, "the call stack of {depth} frames is too deep");
    }
    let mut frame = Frame::new(callsite, subprog, depth);
    frame.callback = callback;
    if callback.is_none() {
        // A callback returns to the very call, which needs its arguments again.
        Rc::make_mut(&mut st.frames[depth - 1]).regs[..6].fill(Reg::NOT_INIT);
    }
    st.frames.push(Rc::new(frame));
    st.written[depth] = u64::MAX;
    Ok(())
}
