//! Helper calls: arguments, compatibility with maps, results.
use super::call::{FOR_EACH_MAP_ELEM, LOOP};
use super::engine::Verifier;
use super::memory::{Named, check_unmodified};
use super::reg::{Kind, MAX_VAR_OFF, Reg};
use super::reject::{Res, bail, unsupported};
use super::state::{Lock, Ref};
use super::{branch, context};
use crate::helper::{self, Arg, Proto, Ret};
use crate::uapi::errno::{EACCES, EFAULT, EINVAL, ENOTSUPP};
use crate::uapi::{MapType, map_flags};
use alloc::vec::Vec;

pub(crate) const TAIL_CALL: u32 = 12;
const MAP_LOOKUP: u32 = 1;
const SPIN_LOCK: u32 = 93;
const SNPRINTF: u32 = 165;
pub(crate) const SPIN_UNLOCK: u32 = 94;

/// What the arguments of one call taught.
#[derive(Default)]
struct Call {
    map: Option<Reg>,
    /// The key, where it is a known 32-bit number.
    key: Option<u32>,
    size: u64,
    func: Option<Reg>,
    /// Stack memory that the helper initialises.
    written: Option<(u8, i32)>,
    released: u32,
    text: Option<Vec<u8>>,
}

impl Verifier<'_> {
    /// A call of helper `id`.
    pub fn call_helper(&mut self, pc: usize, id: u32) -> Res<()> {
        let proto = self.callable(id)?;
        let mut call = Call::default();
        for (n, arg) in proto.args.iter().enumerate() {
            let nr = n as u8 + 1;
            self.argument(id, &proto, *arg, n, nr, &mut call)?;
        }
        if let Some(m) = &call.map {
            let map = self.map_of(m);
            if changes_map(id) && map.flags & map_flags::RDONLY_PROG != 0 {
                bail!(EACCES, "write into map forbidden");
            }
            map_fits(map.map_type, id)?;
        } else {
            map_fits(MapType::Unspec, id)?;
        }
        self.special(pc, id, &mut call)?;
        self.after(pc, id, &proto, &call)
    }

    /// Whether a program of this type and license may call the helper.
    fn callable(&self, id: u32) -> Res<Proto> {
        let name = helper::name(id);
        if !helper::exists(id) {
            bail!(EINVAL, "invalid func unknown#{id}");
        }
        if !helper::offered(id, self.desc.prog_type) {
            bail!(EINVAL, "program of this type cannot use helper {name}#{id}");
        }
        if !self.desc.gpl && helper::gpl_only(id) {
            bail!(
                EINVAL,
                "cannot call GPL-restricted function from non-GPL compatible program"
            );
        }
        match helper::proto(id) {
            Some(p) => Ok(p),
            None => unsupported!("helper {name}#{id} is not available"),
        }
    }

    fn argument(
        &mut self,
        id: u32,
        proto: &Proto,
        arg: Arg,
        n: usize,
        nr: u8,
        call: &mut Call,
    ) -> Res<()> {
        let reg = self.read(nr)?;
        if arg == Arg::Anything {
            return Ok(());
        }
        let named = Named { nr, reg: &reg };
        if reg.is_any_packet()
            && (!proto.packet_args || !context::packet_writable(self.desc.prog_type))
        {
            bail!(EACCES, "helper access to the packet is not allowed");
        }
        let null_ok = matches!(
            arg,
            Arg::MemOrNull | Arg::UninitMemOrNull | Arg::StackOrNull
        );
        if null_ok && reg.is_null() {
            return Ok(());
        }
        check_kind(named, arg)?;
        match arg {
            Arg::Anything | Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::UninitMemOrNull => {
                Ok(())
            }
            Arg::StackOrNull => Ok(()),
            Arg::MapPtr => {
                call.map = Some(reg);
                Ok(())
            }
            Arg::Ctx => check_unmodified(named),
            Arg::MapKey => self.key_argument(named, call),
            Arg::MapValue | Arg::UninitMapValue => {
                let Some(m) = call.map else {
                    bail!(EACCES, "invalid map_ptr to access map->value")
                };
                let size = self.map_of(&m).value_size as i32;
                let out = arg == Arg::UninitMapValue;
                self.helper_memory(named, size, false, out, out, call)
            }
            Arg::Long => {
                self.helper_memory(named, 8, false, true, true, call)?;
                self.long_aligned(named)
            }
            Arg::Size | Arg::SizeOrZero => {
                let of = proto
                    .args
                    .get(n.wrapping_sub(1))
                    .copied()
                    .unwrap_or(Arg::Mem);
                let out = matches!(of, Arg::UninitMem | Arg::UninitMemOrNull);
                self.size_argument(nr, &reg, arg == Arg::SizeOrZero, out, call)
            }
            Arg::AllocSize => {
                let Some(size) = reg.as_const() else {
                    bail!(EACCES, "R{nr} is not a known constant'");
                };
                self.nodes.mark(reg.node);
                call.size = size;
                Ok(())
            }
            Arg::AllocMem => {
                if reg.off != 0 || reg.num.as_const() != Some(0) {
                    bail!(
                        EINVAL,
                        "R{nr} must have zero offset when passed to release func"
                    );
                }
                call.released = reg.ref_id;
                Ok(())
            }
            Arg::SpinLock => self.spin_lock(named, id == SPIN_LOCK),
            Arg::Func => {
                check_unmodified(named)?;
                call.func = Some(reg);
                Ok(())
            }
            Arg::ConstStr => {
                call.text = Some(self.const_str(named)?);
                Ok(())
            }
        }
    }

    fn key_argument(&mut self, r: Named<'_>, call: &mut Call) -> Res<()> {
        let Some(m) = call.map else {
            bail!(EACCES, "invalid map_ptr to access map->key")
        };
        let size = self.map_of(&m).key_size as i32;
        call.key = self.constant_key(r.reg, size);
        self.helper_memory(r, size, false, false, false, call)
    }

    /// The key on the stack, if it is one known number of 32 bits.
    fn constant_key(&mut self, r: &Reg, size: i32) -> Option<u32> {
        if r.kind != Kind::Stack || size != 4 {
            return None;
        }
        let off = i64::from(r.off) + r.num.as_const()? as i64;
        let off = i32::try_from(off)
            .ok()
            .filter(|o| (-512..=-4).contains(o))?;
        let frame = self.st.frames.get(r.extra as usize)?;
        let (nr, byte) = super::state::Frame::locate(off);
        let slot = *frame.slot(nr);
        let bytes = slot.bytes.get(byte..byte + 4)?;
        if bytes.iter().all(|b| *b == super::state::Byte::Zero) {
            return Some(0);
        }
        let spilled = bytes.iter().all(|b| *b == super::state::Byte::Spill);
        let low = byte == 0 && slot.bytes[4] != super::state::Byte::Spill;
        if !spilled || !(low || byte == 4) {
            return None;
        }
        let v = slot.reg.as_const()?;
        self.nodes.mark(slot.reg.node);
        Some(if low { v as u32 } else { (v >> 32) as u32 })
    }

    fn size_argument(
        &mut self,
        nr: u8,
        reg: &Reg,
        zero_ok: bool,
        out: bool,
        call: &mut Call,
    ) -> Res<()> {
        if reg.num.smin() < 0 {
            bail!(
                EACCES,
                "R{nr} min value is negative, either use unsigned or 'var &= const'"
            );
        }
        if reg.num.umin() == 0 && !zero_ok {
            bail!(
                EACCES,
                "R{nr} invalid zero-sized read: u64=[{},{}]",
                reg.num.umin(),
                reg.num.umax()
            );
        }
        if reg.num.umax() >= MAX_VAR_OFF as u64 {
            bail!(
                EACCES,
                "R{nr} unbounded memory access, use 'var &= const' or 'if (var < const)'"
            );
        }
        let raw = out && reg.as_const().is_some();
        let size = reg.num.umax() as i32;
        let memory = *self.reg(nr - 1);
        self.helper_memory(
            Named {
                nr: nr - 1,
                reg: &memory,
            },
            size,
            zero_ok,
            out,
            raw,
            call,
        )?;
        self.nodes.mark(reg.node);
        Ok(())
    }

    /// Memory of `size` bytes that the helper reads, or writes (`out`).
    fn helper_memory(
        &mut self,
        r: Named<'_>,
        size: i32,
        zero_ok: bool,
        out: bool,
        raw: bool,
        call: &mut Call,
    ) -> Res<()> {
        let (nr, reg) = (r.nr, r.reg);
        match reg.kind {
            Kind::Packet | Kind::PacketMeta => self.packet_region(r, reg.off, size, zero_ok),
            Kind::MapKey if out => bail!(EACCES, "R{nr} cannot write into map_key"),
            Kind::MapKey => {
                let key = self.map_of(reg).key_size as i32;
                self.region(r, reg.off, size, key, zero_ok)
            }
            Kind::MapValue => {
                self.map_may(r, reg.off, size, out)?;
                self.map_region(r, reg.off, size, zero_ok)
            }
            Kind::Mem if out && reg.rdonly => bail!(EACCES, "R{nr} cannot write into rdonly_mem"),
            Kind::Mem => self.region(r, reg.off, size, reg.extra, zero_ok),
            Kind::Stack => {
                if raw && reg.num.as_const().is_some() {
                    call.written = Some((nr, size));
                }
                self.stack_for_helper(r, size, zero_ok, out, raw)
            }
            _ if zero_ok && size == 0 && reg.is_null() => Ok(()),
            _ => bail!(EACCES, "R{nr} type={} expected=fp", reg.type_name()),
        }
    }

    fn long_aligned(&self, r: Named<'_>) -> Res<()> {
        let misaligned = r.reg.off & 7 != 0 || {
            let t = r.reg.num.tnum();
            (t.value | t.mask) & 7 != 0
        };
        if misaligned && (r.reg.kind == Kind::Stack || self.strict) {
            bail!(EACCES, "misaligned stack access off {} size 8", r.reg.off);
        }
        Ok(())
    }

    fn const_str(&mut self, r: Named<'_>) -> Res<Vec<u8>> {
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

    fn spin_lock(&mut self, r: Named<'_>, take: bool) -> Res<()> {
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
    fn special(&mut self, pc: usize, id: u32, call: &mut Call) -> Res<()> {
        let mut key = call.key;
        match id {
            TAIL_CALL => {
                self.no_resources("tail_call")?;
                if self.st.frames.len() > 1 && self.desc.global_funcs.is_empty() {
                    bail!(EINVAL, "tail_call is not allowed in subprogs without BTF");
                }
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
                if !iterable(self.map_of(&m).map_type) {
                    bail!(ENOTSUPP, "callback function not allowed for map");
                }
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
            LOOP => {
                let Some(f) = call.func else {
                    bail!(EFAULT, "callback without function")
                };
                let rounds = *self.reg(1);
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
    fn after(&mut self, pc: usize, id: u32, proto: &Proto, call: &Call) -> Res<()> {
        if call.released != 0 {
            self.release(call.released)?;
        }
        self.frame().regs[..6].fill(Reg::NOT_INIT);
        let r0 = match proto.ret {
            Ret::Void => Reg::NOT_INIT,
            Ret::Int => Reg::UNKNOWN,
            Ret::MapValueOrNull => self.looked_up(id, call)?,
            Ret::AllocMemOrNull => {
                let (id, size) = (self.new_id(), call.size);
                self.st.refs.push(Ref {
                    id,
                    insn: pc as u32,
                });
                Reg {
                    or_null: true,
                    alloc: true,
                    id,
                    ref_id: id,
                    ..Reg::pointer_to(Kind::Mem, i32::try_from(size).unwrap_or(i32::MAX))
                }
            }
        };
        self.set(0, r0);
        if proto.changes_packet {
            branch::for_each_reg(&mut self.st, Reg::is_any_packet, |r| *r = Reg::UNKNOWN);
        }
        Ok(())
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

/// Whether a register's kind is one that the argument takes.
fn check_kind(r: Named<'_>, arg: Arg) -> Res<()> {
    use Kind::*;
    let memory = matches!(
        r.reg.kind,
        Stack | Packet | PacketMeta | MapKey | MapValue | Mem
    );
    let null_ok = matches!(
        arg,
        Arg::MemOrNull | Arg::UninitMemOrNull | Arg::StackOrNull
    );
    let (fits, expected) = match arg {
        Arg::Anything => (true, ""),
        Arg::MapPtr => (r.reg.kind == MapPtr, "map_ptr"),
        Arg::MapKey | Arg::MapValue | Arg::UninitMapValue | Arg::Long => (memory, MEMORY),
        Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::UninitMemOrNull => (memory, MEMORY),
        Arg::Ctx => (r.reg.kind == Ctx, "ctx"),
        Arg::Size | Arg::SizeOrZero | Arg::AllocSize => (r.reg.is_scalar(), "scalar"),
        Arg::AllocMem => (r.reg.kind == Mem && r.reg.alloc, "ringbuf_mem"),
        Arg::SpinLock | Arg::ConstStr => (r.reg.kind == MapValue, "map_value"),
        Arg::Func => (r.reg.kind == Func, "func"),
        Arg::StackOrNull => (r.reg.kind == Stack, "fp"),
    };
    if !fits || (r.reg.or_null && !null_ok) {
        bail!(
            EACCES,
            "R{} type={} expected={expected}",
            r.nr,
            r.reg.type_name()
        );
    }
    Ok(())
}

const MEMORY: &str = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_";

/// Update, delete, push, pop.
fn changes_map(id: u32) -> bool {
    matches!(id, 2 | 3 | 87 | 88)
}

/// Whether `bpf_for_each_map_elem` goes over maps of this type.
fn iterable(map: MapType) -> bool {
    use MapType::*;
    matches!(
        map,
        Hash | LruHash | PercpuHash | LruPercpuHash | Array | PercpuArray
    )
}

/// Which helpers go with which map types (`check_map_func_compatibility`).
fn map_fits(map: MapType, id: u32) -> Res<()> {
    use MapType::*;
    let by_map = match map {
        ProgArray => id == 12,
        PerfEventArray => matches!(id, 22 | 25 | 55 | 111),
        Ringbuf => matches!(id, 130 | 131 | 134 | 198),
        UserRingbuf => id == 209,
        ArrayOfMaps | HashOfMaps => id == 1,
        Queue | Stack => matches!(id, 87..=89 | 164),
        BloomFilter => matches!(id, 87 | 89),
        Devmap | DevmapHash | Xskmap => matches!(id, 51 | 1),
        Cpumap => id == 51,
        _ => true,
    };
    let by_helper = match id {
        12 => map == ProgArray,
        25 => map == PerfEventArray,
        51 => matches!(map, Devmap | DevmapHash | Cpumap | Xskmap),
        130 | 131 | 134 => map == Ringbuf,
        88 => matches!(map, Queue | Stack),
        87 | 89 => matches!(map, Queue | Stack | BloomFilter),
        195 => matches!(map, PercpuArray | PercpuHash | LruPercpuHash),
        _ => true,
    };
    if !(by_map && by_helper) {
        let (n, name) = (map as u32, helper::name(id));
        bail!(EINVAL, "cannot pass map_type {n} into func {name}#{id}");
    }
    Ok(())
}
