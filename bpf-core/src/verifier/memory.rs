//! Loads, stores and atomics: whether the access is allowed, and its effect.
use super::context;
use super::domain::{Scalar, Width};
use super::engine::Verifier;
use super::fields;
use super::reg::{Kind, Reg};
use super::reject::{Res, bail, unsupported};
use crate::insn::{Insn, op};
use crate::program::MapDesc;
use crate::uapi::errno::{EACCES, EINVAL};
use crate::uapi::map_flags;

/// Context accesses are compiled apart from others, so one instruction must not
/// do both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessClass {
    /// A structure of this kind.
    Of(Kind),
    /// The description of a map.
    Map,
    Memory,
}

/// Size of `struct bpf_flow_keys`.
const FLOW_KEYS: i32 = 56;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads; the value is wanted as a register, sign-extended or not.
    Load { signed: bool },
    /// Reads without looking at the value.
    Read,
    /// Writes a register.
    Store(u8),
    /// Writes a constant.
    StoreImm(i32),
    /// Writes something.
    Write,
}

impl Access {
    pub fn writes(self) -> bool {
        matches!(self, Self::Store(_) | Self::StoreImm(_) | Self::Write)
    }
}

/// Size in bytes of a load or store.
pub(crate) fn size_of(i: &Insn) -> i32 {
    match i.opcode & 0x18 {
        op::W => 4,
        op::H => 2,
        op::B => 1,
        _ => 8,
    }
}

/// A register that is asked about, with its number for messages.
#[derive(Clone, Copy)]
pub(crate) struct Named<'r> {
    pub nr: u8,
    pub reg: &'r Reg,
}

impl Verifier<'_> {
    /// LDX.
    pub fn load(&mut self, pc: usize, i: &Insn) -> Res<()> {
        let base = self.read(i.src)?;
        self.check_writable(i.dst)?;
        let signed = i.opcode & 0xe0 == op::MEMSX;
        let value = self.access(
            i.src,
            i32::from(i.off),
            size_of(i),
            Access::Load { signed },
            false,
        )?;
        self.one_access_class(pc, &base)?;
        self.set(i.dst, value);
        Ok(())
    }

    /// ST and STX.
    pub fn store(&mut self, pc: usize, i: &Insn) -> Res<()> {
        if i.opcode & 0xe0 == op::ATOMIC {
            return self.atomic(pc, i);
        }
        let what = if i.class() == op::STX {
            self.read(i.src)?;
            Access::Store(i.src)
        } else {
            Access::StoreImm(i.imm)
        };
        let base = self.read(i.dst)?;
        self.access(i.dst, i32::from(i.off), size_of(i), what, false)?;
        self.one_access_class(pc, &base)
    }

    fn one_access_class(&mut self, pc: usize, base: &Reg) -> Res<()> {
        let class = match base.kind {
            Kind::MapPtr => AccessClass::Map,
            Kind::Ctx | Kind::Opaque => AccessClass::Of(base.kind),
            k if base.is_socket() => AccessClass::Of(k),
            _ => AccessClass::Memory,
        };
        let special = |c| matches!(c, AccessClass::Of(_));
        match self.aux[pc].access {
            Some(old) if old != class && (special(old) || special(class)) => {
                bail!(EINVAL, "same insn cannot be used with different pointers")
            }
            Some(old) if old != class => {
                unsupported!("one load from a map's description and from other memory")
            }
            _ => self.aux[pc].access = Some(class),
        }
        Ok(())
    }

    fn atomic(&mut self, pc: usize, i: &Insn) -> Res<()> {
        let (off, size) = (i32::from(i.off), size_of(i));
        match i.imm {
            op::LOAD_ACQ => {
                let base = self.read(i.src)?;
                self.check_writable(i.dst)?;
                atomic_base(
                    Named {
                        nr: i.src,
                        reg: &base,
                    },
                    "loads from",
                )?;
                self.one_access_class(pc, &base)?;
                let v = self.access(i.src, off, size, Access::Load { signed: false }, true)?;
                self.set(i.dst, v);
                return Ok(());
            }
            op::STORE_REL => {
                self.read(i.src)?;
                let base = self.read(i.dst)?;
                atomic_base(
                    Named {
                        nr: i.dst,
                        reg: &base,
                    },
                    "stores into",
                )?;
                self.one_access_class(pc, &base)?;
                self.access(i.dst, off, size, Access::Store(i.src), true)?;
                return Ok(());
            }
            _ => {}
        }
        self.read(i.src)?;
        let base = self.read(i.dst)?;
        if i.imm == op::CMPXCHG {
            self.read(0)?;
        }
        atomic_base(
            Named {
                nr: i.dst,
                reg: &base,
            },
            "stores into",
        )?;
        if base.kind == Kind::Stack && base.num.as_const().is_none() {
            bail!(
                EACCES,
                "atomic access to the stack at a variable offset through R{}",
                i.dst
            );
        }
        let loaded = match i.imm {
            op::CMPXCHG => Some(0),
            imm if imm & op::FETCH != 0 => Some(i.src),
            _ => None,
        };
        if let Some(r) = loaded {
            self.check_writable(r)?;
        }
        let old = self.access(i.dst, off, size, Access::Load { signed: false }, true)?;
        self.access(i.dst, off, size, Access::Write, true)?;
        if let Some(r) = loaded {
            self.set(r, old);
        }
        Ok(())
    }

    /// Checks one access of `size` bytes at `off` from register `nr` and carries
    /// it out. The value matters for loads only.
    pub fn access(
        &mut self,
        nr: u8,
        off: i32,
        size: i32,
        what: Access,
        strict_once: bool,
    ) -> Res<Reg> {
        let base = *self.reg(nr);
        let named = Named { nr, reg: &base };
        check_alignment(&base, off, size, self.strict || strict_once)?;
        let write = what.writes();
        let at = off.wrapping_add(base.off);
        let mut value = Reg::UNKNOWN;
        match base.kind {
            _ if base.or_null => invalid_access(named)?,
            Kind::Stack if write => self.stack_write(nr, off, size, what)?,
            Kind::Stack => value = self.stack_read(nr, off, size, what)?,
            Kind::Ctx => {
                check_unmodified(named)?;
                value = self.context_access(at, size, what)?;
            }
            Kind::MapValue => {
                self.map_may(named, at, size, write)?;
                self.map_region(named, at, size, false)?;
                if !write {
                    value = self.map_constant(&base, at, size).unwrap_or(value);
                }
            }
            Kind::MapKey if write => bail!(EACCES, "write to change key R{nr} not allowed"),
            Kind::MapKey => {
                let key = self.map_of(&base).key_size as i32;
                self.region(named, at, size, key, false)?;
            }
            Kind::Mem if write && base.rdonly => {
                bail!(EACCES, "R{nr} cannot write into rdonly_mem")
            }
            Kind::Mem => self.region(named, at, size, base.extra, false)?,
            Kind::Packet | Kind::PacketMeta => {
                if write && !context::packet_writable(self.desc.prog_type) {
                    bail!(EACCES, "cannot write into packet");
                }
                self.packet_region(named, at, size, false)?;
            }
            Kind::MapPtr if write => bail!(EACCES, "only read from bpf_map is supported"),
            Kind::MapPtr if at < 0 => {
                bail!(EACCES, "R{nr} is bpf_map invalid negative access: off={at}")
            }
            Kind::MapPtr => value = self.map_field(&base, at, size, what)?,
            _ if base.is_socket() => self.socket_field(named, at, size, write)?,
            Kind::FlowKeys if at < 0 || at + size > FLOW_KEYS => {
                bail!(EACCES, "invalid access to flow keys off={at} size={size}")
            }
            Kind::FlowKeys => {}
            Kind::TpBuffer if at < 0 || base.num.as_const() != Some(0) => {
                bail!(
                    EACCES,
                    "R{nr} invalid tracepoint buffer access: off={at}, size={size}"
                )
            }
            Kind::TpBuffer => {}
            Kind::Opaque => unsupported!("access to a structure of the kernel's through R{nr}"),
            _ => invalid_access(named)?,
        }
        if size < 8 && value.is_scalar() && !write {
            value = narrow(&value, size, what);
        }
        Ok(value)
    }

    fn context_access(&mut self, off: i32, size: i32, what: Access) -> Res<Reg> {
        let signed = matches!(what, Access::Load { signed: true });
        context::access(self.desc, off, size, what.writes(), signed)
    }

    fn socket_field(&self, r: Named<'_>, off: i32, size: i32, write: bool) -> Res<()> {
        let (nr, name) = (r.nr, r.reg.type_name());
        if write {
            bail!(EACCES, "R{nr} cannot write into {name}");
        }
        let table = match r.reg.kind {
            Kind::Socket => fields::SOCKET,
            Kind::TcpSock => fields::TCP_SOCK,
            Kind::XdpSock => fields::XDP_SOCK,
            _ => fields::SOCK_COMMON,
        };
        let at = u32::try_from(off).ok();
        match at.and_then(|at| fields::find(table, at, size as u32, false)) {
            Some(_) => Ok(()),
            None => bail!(EACCES, "R{nr} invalid {name} access off={off} size={size}"),
        }
    }

    /// The contents of a map that nobody can change any more.
    fn map_constant(&self, base: &Reg, off: i32, size: i32) -> Option<Reg> {
        let m = self.map_of(base);
        let var = base.num.as_const()?;
        let constant = m.frozen && m.flags & map_flags::RDONLY_PROG != 0;
        let direct = m.map_type == crate::uapi::MapType::Array && m.max_entries == 1;
        if !constant || !direct || base.uid != 0 {
            return None;
        }
        let at = u32::try_from(i64::from(off) + var as i64).ok()?;
        let v = self.table.read_constant(m.handle, at, size as u32)?;
        Some(Reg::constant(v))
    }

    /// The map behind a map pointer, value or key.
    pub fn map_of(&self, r: &Reg) -> &MapDesc {
        &self.maps[r.extra as usize]
    }
}

fn narrow(v: &Reg, size: i32, what: Access) -> Reg {
    let bits = size as u32 * 8;
    let num = match what {
        Access::Load { signed: true } => v.num.sign_extend(bits, Width::W64),
        _ => v.num.zero_extend(bits),
    };
    let changed = num != v.num;
    let mut new = Reg { num, ..*v };
    if changed {
        new.unlink();
    }
    new
}

fn invalid_access(r: Named<'_>) -> Res<()> {
    bail!(
        EACCES,
        "R{} invalid mem access '{}'",
        r.nr,
        r.reg.type_name()
    )
}

fn atomic_base(r: Named<'_>, verb: &str) -> Res<()> {
    let plain = !matches!(
        r.reg.kind,
        Kind::Ctx | Kind::Packet | Kind::PacketMeta | Kind::FlowKeys
    );
    if !plain || r.reg.is_socket() {
        let name = r.reg.type_name();
        bail!(EACCES, "BPF_ATOMIC {verb} R{} {name} is not allowed", r.nr);
    }
    Ok(())
}

/// Pointers whose offset must be zero: contexts and the like.
pub(crate) fn check_unmodified(r: Named<'_>) -> Res<()> {
    let name = r.reg.type_name();
    if r.reg.off < 0 {
        bail!(
            EACCES,
            "negative offset {name} ptr R{} off={} disallowed",
            r.nr,
            r.reg.off
        );
    }
    if r.reg.off != 0 {
        bail!(
            EACCES,
            "dereference of modified {name} ptr R{} off={} disallowed",
            r.nr,
            r.reg.off
        );
    }
    if r.reg.num.as_const() != Some(0) {
        let t = r.reg.num.tnum();
        bail!(
            EACCES,
            "variable {name} access var_off=({:#x}; {:#x}) disallowed",
            t.value,
            t.mask
        );
    }
    Ok(())
}

/// Natural alignment, where it is asked for: always on the stack.
pub(crate) fn check_alignment(base: &Reg, off: i32, size: i32, strict: bool) -> Res<()> {
    let (strict, what, skew) = match base.kind {
        Kind::Stack => (true, "stack ", 0),
        Kind::Packet | Kind::PacketMeta => (strict, "packet ", 2),
        Kind::MapValue => (strict, "value ", 0),
        Kind::MapKey => (strict, "key ", 0),
        Kind::Ctx => (strict, "context ", 0),
        Kind::Socket => (strict, "sock ", 0),
        Kind::SockCommon => (strict, "sock_common ", 0),
        Kind::TcpSock => (strict, "tcp_sock ", 0),
        Kind::XdpSock => (strict, "xdp_sock ", 0),
        Kind::FlowKeys => (strict, "flow keys ", 0),
        _ => (strict, "", 0),
    };
    if !strict || size <= 1 {
        return Ok(());
    }
    let whole = Scalar::alu(
        super::domain::AluOp::Add,
        Width::W64,
        &Scalar::from_tnum(base.num.tnum()),
        &Scalar::constant((i64::from(skew) + i64::from(base.off) + i64::from(off)) as u64),
    )
    .tnum();
    if (whole.value | whole.mask) & (size as u64 - 1) != 0 {
        let t = base.num.tnum();
        bail!(
            EACCES,
            "misaligned {what}access off ({:#x}; {:#x})+{}+{off} size {size}",
            t.value,
            t.mask,
            base.off
        );
    }
    Ok(())
}
