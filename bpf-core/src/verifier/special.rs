//! Single helpers: what they ask for beyond their prototypes, and what a call
//! leaves behind.
use super::args::Call;
use super::branch;
use super::call::{FOR_EACH_MAP_ELEM, LOOP};
use super::domain::Scalar;
use super::engine::Verifier;
use super::memory::Named;
use super::reg::{Kind, Reg, opaque};
use super::reject::{Res, bail, unsupported};
use super::state::{Lock, Ref};
use crate::helper::{Proto, Ret, TAIL_CALL};
use crate::uapi::errno::{EACCES, EFAULT, EINVAL, ENOTSUPP};
use crate::uapi::{MapType, ProgType, limits, map_flags};
use alloc::vec::Vec;

const MAP_LOOKUP: u32 = 1;
const GET_SMP_PROCESSOR_ID: u32 = 8;
const GET_FUNC_IP: u32 = 173;
const SNPRINTF: u32 = 165;
const MAX_ERRNO: i64 = 4095;
const GET_LISTENER_SOCK: u32 = 98;

/// Whether what a helper returns must be given back (`is_acquire_function`).
fn acquires(id: u32) -> bool {
    matches!(id, 84 | 85 | 99 | 131)
}

/// The numbers that a helper may return (`do_refine_retval_range`).
fn returned(id: u32, size: u64) -> Reg {
    match id {
        GET_SMP_PROCESSOR_ID => Reg::scalar(Scalar::from_urange(0, u64::from(limits::VCPUS) - 1)),
        45 | 67 | 114 | 115 | 141 => {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            Reg::scalar(Scalar::from_srange(-MAX_ERRNO, size))
        }
        _ => Reg::UNKNOWN,
    }
}

impl Verifier<'_> {
    pub fn const_str(&mut self, r: Named<'_>) -> Res<Vec<u8>> {
        let nr = r.nr;
        let m = self.map_of(r.reg).clone();
        if !(m.frozen && m.flags & map_flags::RDONLY_PROG != 0) {
            bail!(EACCES, "R{nr} does not point to a readonly map'");
        }
        let Some(var) = r.reg.num.as_const() else {
            bail!(EACCES, "R{nr} is not a constant address'");
        };
        if m.map_type != MapType::Array || m.max_entries != 1 {
            bail!(EACCES, "no direct value access support for this map type");
        }
        let start = i64::from(r.reg.off) + var as i64;
        self.map_region(r, r.reg.off, m.value_size as i32 - start as i32, false)?;
        let mut text = Vec::new();
        for at in start as u32..m.value_size {
            match self.table.read_constant(m.handle, at, 1) {
                Some(0) => return Ok(text),
                b => text.push(b.unwrap_or(0) as u8),
            }
        }
        bail!(EINVAL, "string is not zero-terminated")
    }

    pub fn spin_lock(&mut self, r: Named<'_>, take: bool) -> Res<()> {
        let nr = r.nr;
        let Some(var) = r.reg.num.as_const() else {
            bail!(
                EINVAL,
                "R{nr} doesn't have constant offset. bpf_spin_lock has to be at the constant offset"
            );
        };
        let Some(at) = self.map_of(r.reg).spin_lock_off else {
            bail!(EINVAL, "map has no valid bpf_spin_lock");
        };
        let off = i64::from(r.reg.off) + var as i64;
        if off != i64::from(at) {
            bail!(
                EINVAL,
                "off {off} doesn't point to 'struct bpf_spin_lock' that is at {at}"
            );
        }
        let this = Lock {
            map: r.reg.extra,
            uid: r.reg.uid,
            id: r.reg.id,
        };
        match (self.st.lock, take) {
            (None, true) => self.st.lock = Some(this),
            (Some(_), true) => bail!(EINVAL, "Locking two bpf_spin_locks are not allowed"),
            (None, false) => bail!(EINVAL, "bpf_spin_unlock without taking a lock"),
            (Some(held), false) if held != this => {
                bail!(EINVAL, "bpf_spin_unlock of different lock")
            }
            (Some(_), false) => self.st.lock = None,
        }
        Ok(())
    }

    /// What single helpers ask for beyond their prototypes.
    pub fn special(&mut self, pc: usize, id: u32, call: &mut Call) -> Res<()> {
        let mut key = call.key;
        match id {
            TAIL_CALL => {
                self.no_resources("tail_call")?;
                let subprog = self.top().subprog;
                self.has_tail_call[subprog] = true;
                let index = *self.reg(3);
                key = index.as_const().and_then(|v| u32::try_from(v).ok());
                if key.is_some() {
                    self.nodes.mark(index.node);
                }
            }
            FOR_EACH_MAP_ELEM => {
                let (Some(f), Some(m)) = (call.func, call.map) else {
                    bail!(EFAULT, "callback without function or map");
                };
                let of = |kind| Reg {
                    extra: m.extra,
                    uid: m.uid,
                    ..Reg::pointer(kind)
                };
                let args = [
                    m,
                    self.key_pointer(&m),
                    of(Kind::MapValue),
                    *self.reg(3),
                    Reg::NOT_INIT,
                ];
                self.push_callback(pc, id, args, &f)?;
            }
            SNPRINTF => {
                let data = self.reg(5).num.tnum();
                let (Some(text), 0) = (&call.text, data.value % 8) else {
                    bail!(EINVAL, "R5 is not the size of an array of u64")
                };
                if !super::format::fits(text, data.value / 8) {
                    bail!(EINVAL, "Invalid format string");
                }
            }
            GET_FUNC_IP if self.desc.prog_type != ProgType::Kprobe => {
                let of = self.desc.prog_type as u32;
                bail!(
                    ENOTSUPP,
                    "func bpf_get_func_ip#{id} not supported for program type {of}"
                );
            }
            LOOP => {
                let Some(f) = call.func else {
                    bail!(EFAULT, "callback without function")
                };
                let rounds = *self.reg(1);
                if rounds.is_pointer() {
                    bail!(EFAULT, "R1 is not a number of rounds");
                }
                self.mark_precise(1);
                let flags = *self.reg(4);
                if flags.as_const().is_some() {
                    self.mark_precise(4);
                }
                let limit = if rounds.is_scalar() {
                    rounds.num.umax()
                } else {
                    u64::MAX
                };
                if u64::from(self.top().callback_depth) < limit {
                    let none = Reg::NOT_INIT;
                    let args = [Reg::UNKNOWN, *self.reg(3), none, none, none];
                    self.push_callback(pc, id, args, &f)?;
                } else {
                    self.frame().callback_depth = 0;
                }
            }
            _ => {}
        }
        let map = call
            .map
            .filter(|m| m.uid == 0)
            .map(|m| self.map_of(&m).handle);
        self.aux[pc].fact_map.see(map);
        self.aux[pc].fact_key.see(key);
        Ok(())
    }

    fn key_pointer(&self, m: &Reg) -> Reg {
        Reg {
            extra: m.extra,
            uid: m.uid,
            ..Reg::pointer(Kind::MapKey)
        }
    }

    /// The registers after the call.
    pub fn after(&mut self, pc: usize, id: u32, proto: &Proto, call: &Call) -> Res<()> {
        if call.released != 0 {
            self.release(call.released)?;
        }
        self.frame().regs[..6].fill(Reg::NOT_INIT);
        let r0 = match proto.ret {
            Ret::Void => Reg::NOT_INIT,
            Ret::Int => returned(id, call.size),
            Ret::MapValueOrNull => self.looked_up(id, call)?,
            Ret::MapValue => unsupported!("values of control group storage"),
            Ret::AllocMemOrNull => {
                let size = i32::try_from(call.size).unwrap_or(i32::MAX);
                Reg {
                    alloc: true,
                    ..self.acquired(pc, Reg::pointer_to(Kind::Mem, size))
                }
            }
            Ret::SocketOrNull if acquires(id) => self.acquired(pc, Reg::pointer(Kind::Socket)),
            Ret::SockCommonOrNull => self.acquired(pc, Reg::pointer(Kind::SockCommon)),
            Ret::SocketOrNull => self.derived(id, Reg::pointer(Kind::Socket), call),
            Ret::TcpSockOrNull => self.derived(id, Reg::pointer(Kind::TcpSock), call),
            Ret::BtfSockOrNull => {
                self.derived(id, Reg::pointer_to(Kind::Opaque, opaque::SOCK), call)
            }
            Ret::Task => Reg::pointer_to(Kind::Opaque, opaque::TASK),
        };
        self.set(0, r0);
        if proto.changes_packet {
            branch::for_each_reg(&mut self.st, Reg::is_any_packet, |r| *r = Reg::UNKNOWN);
        }
        Ok(())
    }

    /// Something that the program must give back, or null.
    fn acquired(&mut self, pc: usize, r: Reg) -> Reg {
        let id = self.new_id();
        self.st.refs.push(Ref {
            id,
            insn: pc as u32,
        });
        Reg {
            or_null: true,
            id,
            ref_id: id,
            ..r
        }
    }

    /// The argument as something else, or null: it lives as long.
    fn derived(&mut self, helper: u32, r: Reg, call: &Call) -> Reg {
        let same = helper != GET_LISTENER_SOCK;
        Reg {
            or_null: true,
            id: self.new_id(),
            ref_id: if same { call.ref_id } else { 0 },
            ..r
        }
    }

    fn looked_up(&mut self, id: u32, call: &Call) -> Res<Reg> {
        let Some(m) = call.map else {
            bail!(EFAULT, "lookup without map")
        };
        let desc = self.map_of(&m).clone();
        let array = matches!(desc.map_type, MapType::Array | MapType::PercpuArray);
        let sure = id == MAP_LOOKUP && array && call.key.is_some_and(|k| k < desc.max_entries);
        let id = self.new_id();
        let mut r = Reg {
            or_null: !sure,
            id: if sure && desc.spin_lock_off.is_none() {
                0
            } else {
                id
            },
            uid: m.uid,
            ..Reg::pointer_to(Kind::MapValue, m.extra)
        };
        if matches!(desc.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            let Some(inner) = self.template(desc.inner) else {
                bail!(EINVAL, "map of maps has no template");
            };
            r = Reg {
                or_null: true,
                id,
                uid: id,
                ..Reg::pointer_to(Kind::MapPtr, inner as i32)
            };
        }
        Ok(r)
    }

    /// Index of an inner map's template.
    fn template(&mut self, handle: Option<u32>) -> Option<usize> {
        let handle = handle?;
        if let Some(n) = self.maps.iter().position(|m| m.handle == handle) {
            return Some(n);
        }
        self.maps.push(self.table.map(handle)?);
        Some(self.maps.len() - 1)
    }

    fn release(&mut self, ref_id: u32) -> Res<()> {
        let before = self.st.refs.len();
        self.st.refs.retain(|r| r.id != ref_id);
        if self.st.refs.len() == before {
            bail!(EINVAL, "release of a reference that is not held");
        }
        branch::for_each_reg(&mut self.st, |r| r.ref_id == ref_id, |r| *r = Reg::UNKNOWN);
        Ok(())
    }
}
