//! Helper calls: whether the arguments are what the prototype asks for.
use super::call::FOR_EACH_MAP_ELEM;
use super::compat::{changes_map, iterable, map_fits};
use super::context;
use super::engine::Verifier;
use super::memory::{Named, check_unmodified};
use super::reg::{Kind, MAX_VAR_OFF, Reg, opaque};
use super::region::read_only;
use super::reject::{Res, bail, unsupported};
use crate::helper::{self, Arg, Proto};
use crate::uapi::MapType;
use crate::uapi::errno::{EACCES, EFAULT, EINVAL, ENOTSUPP};
use alloc::vec::Vec;

const SPIN_LOCK: u32 = 93;
const COPY_FROM_USER: u32 = 148;
const COPY_FROM_USER_TASK: u32 = 191;
pub(crate) const SPIN_UNLOCK: u32 = 94;

/// What the arguments of one call taught.
#[derive(Default)]
pub(crate) struct Call {
    pub map: Option<Reg>,
    /// The key, where it is a known 32-bit number.
    pub key: Option<u32>,
    pub size: u64,
    pub func: Option<Reg>,
    /// Stack memory that the helper initialises.
    pub written: Option<(u8, i32)>,
    pub released: u32,
    /// The reference behind an argument.
    pub ref_id: u32,
    pub text: Option<Vec<u8>>,
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
            if changes_map(id) && read_only(map) {
                bail!(EACCES, "write into map forbidden");
            }
            if id == FOR_EACH_MAP_ELEM && !iterable(map.map_type) {
                bail!(ENOTSUPP, "callback function not allowed for map");
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
        if !helper::offered(id, self.desc.prog_type, self.desc.attach_type) {
            bail!(EINVAL, "program of this type cannot use helper {name}#{id}");
        }
        if !self.desc.gpl && helper::gpl_only(id) {
            bail!(
                EINVAL,
                "cannot call GPL-restricted function from non-GPL compatible program"
            );
        }
        if matches!(id, COPY_FROM_USER | COPY_FROM_USER_TASK) {
            bail!(EINVAL, "helper call might sleep in a non-sleepable prog");
        }
        match helper::proto(id, self.desc.prog_type) {
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
        if reg.is_any_packet() && !context::packet_given(self.desc.prog_type, proto.packet_args) {
            bail!(EACCES, "helper access to the packet is not allowed");
        }
        if may_be_null(arg) && reg.is_null() {
            return Ok(());
        }
        check_kind(named, arg)?;
        if reg.ref_id != 0 {
            if call.ref_id != 0 {
                bail!(EFAULT, "more than one arg with ref_obj_id R{nr}");
            }
            call.ref_id = reg.ref_id;
        }
        match arg {
            Arg::Anything | Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::UninitMemOrNull => {
                Ok(())
            }
            Arg::InOutMem | Arg::StackOrNull => Ok(()),
            Arg::Sock | Arg::BtfSock | Arg::BtfSockOrNull | Arg::SocketOrNull => {
                check_unmodified(named)
            }
            Arg::Task | Arg::Cgroup | Arg::PercpuVariable => check_unmodified(named),
            Arg::Timer => unsupported!("bpf_timer, through R{nr}"),
            Arg::Kptr => unsupported!("kernel pointers in map values, through R{nr}"),
            Arg::Dynptr => unsupported!("dynptrs"),
            Arg::HeldSock => {
                if reg.ref_id == 0 {
                    bail!(
                        EINVAL,
                        "R{nr} must be referenced when passed to release function"
                    );
                }
                call.released = reg.ref_id;
                Ok(())
            }
            Arg::MapPtr => {
                call.map = Some(reg);
                Ok(())
            }
            Arg::Ctx | Arg::CtxOrNull => check_unmodified(named),
            Arg::MapKey => self.key_argument(named, call),
            Arg::MapValue | Arg::UninitMapValue | Arg::MapValueOrNull => {
                let Some(m) = call.map else {
                    bail!(EACCES, "invalid map_ptr to access map->value")
                };
                let map = self.map_of(&m);
                let size = map.value_size as i32;
                // A Bloom filter is asked for the value.
                let out = arg == Arg::UninitMapValue && map.map_type != MapType::BloomFilter;
                self.helper_memory(named, size, false, out, out, call)
            }
            Arg::Long => {
                self.helper_memory(named, 8, false, true, true, call)?;
                self.check_aligned(named, 8)
            }
            Arg::Word => {
                self.helper_memory(named, 4, false, true, false, call)?;
                self.check_aligned(named, 4)
            }
            Arg::Bytes(n) => self.helper_memory(named, n.into(), false, false, false, call),
            Arg::Size | Arg::SizeOrZero => {
                let of = proto
                    .args
                    .get(n.wrapping_sub(1))
                    .copied()
                    .unwrap_or(Arg::Mem);
                let use_ = match of {
                    Arg::UninitMem | Arg::UninitMemOrNull => Use::Fill,
                    Arg::InOutMem => Use::Change,
                    _ => Use::Read,
                };
                self.size_argument(nr, &reg, arg == Arg::SizeOrZero, use_, call)
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
        let map = self.map_of(&m);
        let (size, most) = (map.key_size as i32, map.max_entries);
        call.key = self.constant_key(r.reg, size, most);
        self.helper_memory(r, size, false, false, false, call)
    }

    /// The key on the stack, if it is one known number of 32 bits. Linux knows the
    /// upper half of a spill only where the whole number is below `most`: it is 0.
    fn constant_key(&mut self, r: &Reg, size: i32, most: u32) -> Option<u32> {
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
        if !low && v >= u64::from(most) {
            return None;
        }
        self.nodes.mark(slot.reg.node);
        Some(if low { v as u32 } else { (v >> 32) as u32 })
    }

    fn size_argument(
        &mut self,
        nr: u8,
        reg: &Reg,
        zero_ok: bool,
        use_: Use,
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
        let out = use_ != Use::Read;
        let raw = use_ == Use::Fill && reg.as_const().is_some();
        call.size = reg.num.umax();
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
    pub fn helper_memory(
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

    fn check_aligned(&self, r: Named<'_>, size: i32) -> Res<()> {
        super::memory::check_alignment(r.reg, 0, size, true)
    }
}

/// What a helper does with memory whose size is an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    /// Reads it and writes to it.
    Change,
    /// Writes all of it.
    Fill,
}

/// Whether an argument may be null, or a pointer that may be.
fn may_be_null(arg: Arg) -> bool {
    matches!(
        arg,
        Arg::MemOrNull
            | Arg::UninitMemOrNull
            | Arg::StackOrNull
            | Arg::CtxOrNull
            | Arg::MapValueOrNull
            | Arg::SocketOrNull
            | Arg::BtfSockOrNull
    )
}

/// Whether a register's kind is one that the argument takes.
fn check_kind(r: Named<'_>, arg: Arg) -> Res<()> {
    use Kind::*;
    let memory = matches!(
        r.reg.kind,
        Stack | Packet | PacketMeta | MapKey | MapValue | Mem
    );
    let kernels = |which| r.reg.kind == Opaque && r.reg.extra == which;
    let (fits, expected) = match arg {
        Arg::Anything => (true, ""),
        Arg::MapPtr => (r.reg.kind == MapPtr, "map_ptr"),
        Arg::MapKey | Arg::MapValue | Arg::UninitMapValue | Arg::Long => (memory, MEMORY),
        Arg::Mem | Arg::MemOrNull | Arg::UninitMem | Arg::UninitMemOrNull => (memory, MEMORY),
        Arg::InOutMem | Arg::Word | Arg::Bytes(_) | Arg::MapValueOrNull => (memory, MEMORY),
        Arg::Ctx | Arg::CtxOrNull => (r.reg.kind == Ctx, "ctx"),
        Arg::Sock => (r.reg.is_socket(), SOCKETS),
        Arg::BtfSock | Arg::HeldSock | Arg::BtfSockOrNull => {
            (r.reg.is_socket() || kernels(opaque::SOCK), SOCKETS)
        }
        Arg::SocketOrNull => (r.reg.kind == Socket, "sock"),
        Arg::Task => (kernels(opaque::TASK), "ptr_, trusted_ptr_, rcu_ptr_"),
        Arg::Cgroup => (false, "ptr_, trusted_ptr_, rcu_ptr_"),
        Arg::PercpuVariable => (false, "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_"),
        Arg::Timer | Arg::Kptr => (r.reg.kind == MapValue, "map_value"),
        Arg::Dynptr => (r.reg.kind == Stack, "fp, dynptr_ptr"),
        Arg::Size | Arg::SizeOrZero | Arg::AllocSize => (r.reg.is_scalar(), "scalar"),
        Arg::AllocMem => (r.reg.kind == Mem && r.reg.alloc, "ringbuf_mem"),
        Arg::SpinLock | Arg::ConstStr => (r.reg.kind == MapValue, "map_value"),
        Arg::Func => (r.reg.kind == Func, "func"),
        Arg::StackOrNull => (r.reg.kind == Stack, "fp"),
    };
    if !fits || (r.reg.or_null && !may_be_null(arg)) {
        bail!(
            EACCES,
            "R{} type={} expected={expected}",
            r.nr,
            r.reg.type_name()
        );
    }
    Ok(())
}

const SOCKETS: &str = "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_";
const MEMORY: &str = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_";
