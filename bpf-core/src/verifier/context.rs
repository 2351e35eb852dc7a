//! The fields of the context structures: which may be read and written, and
//! what reading them gives.
use super::fields::{self, Gives};
use super::reg::{Kind, Reg, opaque};
use super::reject::{Res, bail};
use crate::program::ProgramDesc;
use crate::uapi::errno::EACCES;
use crate::uapi::{ProgType, attach_type, sk_buff as skb, xdp_md};

/// How a field may be used.
enum Field {
    /// Not at all.
    No,
    /// As a number.
    Number,
    /// As a pointer of this kind.
    Pointer(Kind),
    /// As a pointer of this kind, or null.
    PointerOrNull(Kind),
}

/// Whether programs of this type may write to the packet.
pub(crate) fn packet_writable(t: ProgType) -> bool {
    use ProgType::*;
    matches!(
        t,
        Xdp | SchedCls | SchedAct | LwtXmit | SkSkb | SkMsg | CgroupSockopt
    )
}

/// Whether programs of this type may read the packet directly.
pub(crate) fn packet_readable(t: ProgType) -> bool {
    use ProgType::*;
    packet_writable(t)
        || matches!(
            t,
            CgroupSkb | LwtIn | LwtOut | LwtSeg6local | SkReuseport | FlowDissector
        )
}

/// Whether programs of this type may give packet memory to a helper that takes it
/// or does not.
pub(crate) fn packet_given(t: ProgType, takes_it: bool) -> bool {
    t == ProgType::CgroupSockopt || (takes_it && packet_readable(t))
}

/// Whether programs of this type may use legacy packet loads.
pub(crate) fn legacy_loads(t: ProgType) -> bool {
    matches!(
        t,
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct
    )
}

/// Checks a context access and gives the value that a load yields.
pub(crate) fn access(
    desc: &ProgramDesc<'_>,
    off: i32,
    size: i32,
    write: bool,
    signed: bool,
) -> Res<Reg> {
    let field = match (u32::try_from(off), desc.prog_type) {
        (Err(_), _) => Field::No,
        (Ok(o), ProgType::Xdp) => xdp(o, size as u32, write, signed, desc.attach_type),
        (Ok(o), ProgType::SocketFilter) => socket_filter(o, size as u32, write, signed),
        (Ok(o), ProgType::SchedCls | ProgType::SchedAct) => sched(o, size as u32, write, signed),
        (Ok(o), ProgType::CgroupSkb) => cgroup(o, size as u32, write, signed),
        (
            Ok(o),
            ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit | ProgType::LwtSeg6local,
        ) => tunnel(o, size as u32, write, signed),
        (Ok(o), of) => fields::context(of, desc.attach_type)
            .iter()
            .find_map(|t| fields::find(t, o, size as u32, write))
            .map_or(Field::No, |g| listed(g, signed)),
    };
    match field {
        Field::Number => Ok(Reg::UNKNOWN),
        Field::Pointer(Kind::Opaque) => Ok(Reg::pointer_to(Kind::Opaque, opaque::OTHER)),
        Field::Pointer(k) => Ok(Reg::pointer(k)),
        Field::PointerOrNull(k) => Ok(Reg {
            or_null: true,
            ..Reg::pointer(k)
        }),
        Field::No => bail!(EACCES, "invalid bpf_context access off={off} size={size}"),
    }
}

fn listed(gives: Gives, signed: bool) -> Field {
    match gives {
        Gives::Number => Field::Number,
        _ if signed => Field::No,
        Gives::Pointer(k) => Field::Pointer(k),
        Gives::PointerOrNull(k) => Field::PointerOrNull(k),
    }
}

fn xdp(off: u32, size: u32, write: bool, signed: bool, attached: u32) -> Field {
    if write || off >= xdp_md::SIZE || size != 4 || !off.is_multiple_of(size) {
        return Field::No;
    }
    match off {
        xdp_md::EGRESS_IFINDEX if attached != attach_type::XDP_DEVMAP => Field::No,
        xdp_md::DATA | xdp_md::DATA_END | xdp_md::DATA_META if signed => Field::No,
        xdp_md::DATA => Field::Pointer(Kind::Packet),
        xdp_md::DATA_META => Field::Pointer(Kind::PacketMeta),
        xdp_md::DATA_END => Field::Pointer(Kind::PacketEnd),
        _ => Field::Number,
    }
}

fn within(off: u32, start: u32, len: u32) -> bool {
    off >= start && off < start + len
}

/// Offset and length.
type Span = (u32, u32);

fn any(spans: &[Span], off: u32) -> bool {
    spans.iter().any(|&(start, len)| within(off, start, len))
}

fn sk_buff(off: u32, size: u32, write: bool, signed: bool) -> Field {
    if off >= skb::SIZE || !off.is_multiple_of(size) {
        return Field::No;
    }
    let exact = |n: u32| if size == n { Field::Number } else { Field::No };
    match off {
        o if within(o, skb::CB, 20) => {
            if off + size > skb::CB + 20 {
                Field::No
            } else {
                Field::Number
            }
        }
        o if within(o, skb::DATA, 8) || within(o, skb::DATA_META, 4) => {
            if signed {
                Field::No
            } else {
                exact(4)
            }
        }
        o if within(o, skb::REMOTE_IP4, 40) => exact(4),
        o if within(o, skb::FLOW_KEYS, 8) => Field::No,
        o if within(o, skb::TSTAMP, 8) => exact(8),
        o if within(o, skb::HWTSTAMP, 8) => {
            if write {
                Field::No
            } else {
                exact(8)
            }
        }
        o if within(o, skb::SK, 8) => {
            if write || size != 8 {
                Field::No
            } else {
                Field::PointerOrNull(Kind::SockCommon)
            }
        }
        o if within(o, skb::TSTAMP_TYPE, 4) => Field::No,
        _ if write => exact(4),
        _ if size <= 4 => Field::Number,
        _ => Field::No,
    }
}

fn socket_filter(off: u32, size: u32, write: bool, signed: bool) -> Field {
    const HIDDEN: [Span; 7] = [
        (skb::TC_CLASSID, 4),
        (skb::DATA, 8),
        (skb::DATA_META, 4),
        (skb::TSTAMP, 8),
        (skb::WIRE_LEN, 4),
        (skb::HWTSTAMP, 8),
        (skb::FAMILY, skb::DATA_META - skb::FAMILY),
    ];
    if any(&HIDDEN, off) || (write && !within(off, skb::CB, 20)) {
        return Field::No;
    }
    sk_buff(off, size, write, signed)
}

/// `cg_skb_is_valid_access`.
fn cgroup(off: u32, size: u32, write: bool, signed: bool) -> Field {
    const HIDDEN: [Span; 3] = [
        (skb::TC_CLASSID, 4),
        (skb::DATA_META, 4),
        (skb::WIRE_LEN, 4),
    ];
    const WRITABLE: [Span; 4] = [
        (skb::MARK, 4),
        (skb::PRIORITY, 4),
        (skb::CB, 20),
        (skb::TSTAMP, 8),
    ];
    if any(&HIDDEN, off) || (write && !any(&WRITABLE, off)) {
        return Field::No;
    }
    pointers(off, sk_buff(off, size, write, signed))
}

/// `lwt_is_valid_access`.
fn tunnel(off: u32, size: u32, write: bool, signed: bool) -> Field {
    const HIDDEN: [Span; 6] = [
        (skb::TC_CLASSID, 4),
        (skb::FAMILY, skb::DATA_META - skb::FAMILY),
        (skb::DATA_META, 4),
        (skb::TSTAMP, 8),
        (skb::WIRE_LEN, 4),
        (skb::HWTSTAMP, 8),
    ];
    const WRITABLE: [Span; 3] = [(skb::MARK, 4), (skb::PRIORITY, 4), (skb::CB, 20)];
    if any(&HIDDEN, off) || (write && !any(&WRITABLE, off)) {
        return Field::No;
    }
    pointers(off, sk_buff(off, size, write, signed))
}

fn sched(off: u32, size: u32, write: bool, signed: bool) -> Field {
    const WRITABLE: [Span; 7] = [
        (skb::MARK, 4),
        (skb::TC_INDEX, 4),
        (skb::PRIORITY, 4),
        (skb::TC_CLASSID, 4),
        (skb::CB, 20),
        (skb::TSTAMP, 8),
        (skb::QUEUE_MAPPING, 4),
    ];
    if write && !any(&WRITABLE, off) {
        return Field::No;
    }
    if off == skb::TSTAMP_TYPE && !write {
        return if size == 1 { Field::Number } else { Field::No };
    }
    if within(off, skb::FAMILY, skb::DATA_META - skb::FAMILY) {
        return Field::No;
    }
    pointers(off, sk_buff(off, size, write, signed))
}

/// Fields that are pointers to programs that may read the packet directly.
fn pointers(off: u32, field: Field) -> Field {
    match (off, field) {
        (skb::DATA, Field::Number) => Field::Pointer(Kind::Packet),
        (skb::DATA_END, Field::Number) => Field::Pointer(Kind::PacketEnd),
        (skb::DATA_META, Field::Number) => Field::Pointer(Kind::PacketMeta),
        (_, f) => f,
    }
}
