//! Global functions: called without being followed, verified on their own.
use super::args::Call;
use super::branch;
use super::engine::Verifier;
use super::memory::{Named, check_unmodified};
use super::reg::{Kind, Reg};
use super::reject::{Res, bail};
use super::signature::Param;
use super::state::{Frame, State};
use super::{Reject, depth, structure};
use crate::helper;
use crate::insn::op;
use crate::uapi::errno::{EFAULT, EINVAL};
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

impl State {
    /// Before the first instruction of a function that nothing calls.
    pub fn at_entry(subprog: usize) -> Self {
        Self {
            frames: alloc::vec![Rc::new(Frame::new(0, subprog, 0))],
            refs: Vec::new(),
            lock: None,
            parent: u32::MAX,
            written: [u64::MAX; 8],
            may_goto_depth: 0,
            jumps: 0,
        }
    }
}

impl Verifier<'_> {
    /// Verifies the global functions that were called, and those that these call.
    pub fn explore_globals(&mut self) -> Res<()> {
        let mut verified = alloc::vec![false; self.called.len()];
        let mut more = true;
        while core::mem::take(&mut more) {
            for (nr, done) in verified.iter_mut().enumerate().skip(1) {
                if self.called[nr] && !*done {
                    (*done, more) = (true, true);
                    self.explore_global(nr)?;
                }
            }
        }
        Ok(())
    }

    fn explore_global(&mut self, subprog: usize) -> Res<()> {
        let name = String::from(self.types.name(subprog));
        if self.log.insns() {
            let text = alloc::format!("Validating {name}() func#{subprog}...");
            self.log.line(&text);
        }
        self.log.begin();
        self.enter_global(subprog)?;
        self.explore()?;
        if self.log.insns() {
            let text = alloc::format!(
                "Func#{subprog} ('{name}') is safe for any args that match its prototype"
            );
            self.log.line(&text);
        }
        Ok(())
    }

    fn enter_global(&mut self, subprog: usize) -> Res<()> {
        let signature = self.types.signature(subprog, self.desc)?;
        // States of other functions stay where they are: none covers one of this.
        self.st = State::at_entry(subprog);
        self.pc = self.shape.starts[subprog];
        self.came_from = self.pc;
        for (nr, param) in signature.params.iter().enumerate() {
            let reg = match *param {
                Param::Scalar => Reg::UNKNOWN,
                Param::Ctx => Reg::pointer(Kind::Ctx),
                Param::Mem { size, or_null } => Reg {
                    or_null,
                    id: if or_null { self.new_id() } else { 0 },
                    ..Reg::pointer_to(Kind::Mem, size)
                },
            };
            self.set(nr as u8 + 1, reg);
        }
        Ok(())
    }

    /// A call of a global function: only its arguments are looked at.
    pub fn call_global(&mut self, subprog: usize) -> Res<()> {
        let checked = self.global_arguments(subprog);
        if self.st.lock.is_some() {
            bail!(
                EINVAL,
                "global function calls are not allowed while holding a lock,\n\
                 use static function instead"
            );
        }
        let name = String::from(self.types.name(subprog));
        checked.map_err(|r| caller(r, subprog, &name))?;
        if self.log.insns() {
            let text = alloc::format!("Func#{subprog} ('{name}') is global and assumed valid.");
            self.log.line(&text);
        }
        if self.changes_packet[subprog] {
            branch::for_each_reg(&mut self.st, Reg::is_any_packet, |r| *r = Reg::UNKNOWN);
        }
        self.called[subprog] = true;
        self.frame().regs[..6].fill(Reg::NOT_INIT);
        self.set(0, Reg::UNKNOWN);
        Ok(())
    }

    fn global_arguments(&mut self, subprog: usize) -> Res<()> {
        let signature = self.types.signature(subprog, self.desc)?;
        for (nr, param) in signature.params.iter().enumerate() {
            let reg = *self.reg(nr as u8 + 1);
            let named = Named {
                nr: nr as u8 + 1,
                reg: &reg,
            };
            match *param {
                Param::Scalar if reg.is_scalar() => {}
                Param::Scalar => bail!(EINVAL, "R{} is not a scalar", named.nr),
                Param::Ctx if reg.kind == Kind::Ctx => check_unmodified(named)?,
                Param::Ctx => bail!(EINVAL, "arg#{nr} expects pointer to ctx"),
                Param::Mem { size, or_null } => self.memory_argument(named, size, or_null)?,
            }
        }
        Ok(())
    }

    /// Memory that the function may read and write.
    fn memory_argument(&mut self, r: Named<'_>, size: i32, or_null: bool) -> Res<()> {
        let at = r.nr - 1;
        if r.reg.is_null() {
            return match or_null {
                true => Ok(()),
                false => bail!(EINVAL, "arg#{at} is expected to be non-NULL"),
            };
        }
        use Kind::{MapKey, MapValue, Mem, NotInit, Packet, PacketMeta, Scalar, Stack};
        let moves = matches!(
            r.reg.kind,
            NotInit | Scalar | Stack | Packet | PacketMeta | MapKey | MapValue | Mem
        );
        if r.reg.or_null || !moves {
            check_unmodified(r)?;
        }
        let sure = Reg {
            or_null: false,
            ..*r.reg
        };
        let sure = Named {
            nr: r.nr,
            reg: &sure,
        };
        for write in [false, true] {
            self.helper_memory(sure, size, true, write, false, &mut Call::default())
                .map_err(|r| Reject { errno: EINVAL, ..r })?;
        }
        if r.reg.or_null && !or_null {
            bail!(EINVAL, "arg#{at} is expected to be non-NULL");
        }
        Ok(())
    }

    /// What a global function leaves in R0.
    pub fn check_global_result(&mut self) -> Res<()> {
        let r0 = self.read(0)?;
        if !r0.is_scalar() {
            let kind = r0.type_name();
            bail!(
                EINVAL,
                "At subprogram exit the register R0 is not a scalar value ({kind})"
            );
        }
        Ok(())
    }

    /// Which functions may change the packet, themselves or by what they call.
    pub fn packet_changers(&self) -> Vec<bool> {
        let mut own = alloc::vec![false; self.shape.starts.len()];
        for (at, i) in self.desc.insns.iter().enumerate() {
            let call = i.opcode == op::JMP | op::CALL && i.src == 0;
            let proto = helper::proto(i.imm as u32, self.desc.prog_type);
            let changes = call && proto.is_some_and(|p| p.changes_packet);
            if (changes || structure::is_tail_call(i))
                && let Some(o) = own.get_mut(self.shape.subprog_of(at))
            {
                *o = true;
            }
        }
        let calls = depth::call_graph(self.desc.insns, &self.shape);
        depth::reaching(&calls, &own)
    }
}

/// What is wrong with an argument, and whose.
fn caller(mut r: Reject, subprog: usize, name: &str) -> Reject {
    if r.errno != EFAULT && !r.unsupported {
        r.reason += &alloc::format!("\nCaller passes invalid args into func#{subprog} ('{name}')");
    }
    r
}
