//! The structures of Linux's interface whose fields are all of a few kinds, as
//! tables: sockets, and the contexts of program types that do not run here.
//! What may be read and written is what Linux 6.18's `…_is_valid_access` let
//! through when asked for every offset and size.
use super::reg::Kind;
use crate::uapi::{ProgType, attach_type};

/// Which accesses to a field are allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// None.
    Never,
    /// All of it, in pieces of this size.
    Whole(u32),
    /// Aligned pieces of up to this size.
    Parts(u32),
    /// One, two or four bytes at multiples of four.
    Start,
    /// Two or four aligned bytes.
    Halves,
    /// Four or eight aligned bytes.
    Words,
}

impl Sizes {
    fn allow(self, off: u32, size: u32) -> bool {
        off.is_multiple_of(size)
            && match self {
                Self::Never => false,
                Self::Whole(n) => size == n,
                Self::Parts(n) => size <= n,
                Self::Start => size <= 4 && off.is_multiple_of(4),
                Self::Halves => size == 2 || size == 4,
                Self::Words => size >= 4,
            }
    }
}

/// What a read gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Number,
    Pointer(Kind),
    PointerOrNull(Kind),
}

/// Fields that lie side by side, from `begin` to before `end`.
pub(crate) struct Fields {
    begin: u32,
    end: u32,
    read: Sizes,
    write: Sizes,
    gives: Gives,
}

const fn read(begin: u32, end: u32, read: Sizes) -> Fields {
    Fields {
        begin,
        end,
        read,
        write: Sizes::Never,
        gives: Gives::Number,
    }
}

const fn both(begin: u32, end: u32, sizes: Sizes, write: Sizes) -> Fields {
    Fields {
        write,
        ..read(begin, end, sizes)
    }
}

const fn pointer(at: u32, size: u32, gives: Gives) -> Fields {
    Fields {
        gives,
        ..read(at, at + size, Sizes::Whole(size))
    }
}

/// What an access of `size` bytes at `off` gives, if it is allowed.
pub(crate) fn find(table: &[Fields], off: u32, size: u32, write: bool) -> Option<Gives> {
    let f = table.iter().find(|f| f.begin <= off && off < f.end)?;
    let sizes = if write { f.write } else { f.read };
    (sizes.allow(off, size) && off + size <= f.end.next_multiple_of(4)).then_some(f.gives)
}

use Gives::{Pointer, PointerOrNull};
use Sizes::{Halves, Parts, Start, Whole, Words};

/// `struct bpf_sock`.
pub(crate) const SOCKET: &[Fields] = &[
    read(0, 4, Whole(4)),
    read(4, 16, Start),
    read(16, 24, Whole(4)),
    read(24, 44, Parts(4)),
    read(44, 48, Start),
    read(48, 50, Parts(4)),
    read(52, 72, Parts(4)),
    read(72, 80, Start),
];

/// Of `struct bpf_sock`, what also request and time-wait sockets have.
pub(crate) const SOCK_COMMON: &[Fields] = &[
    read(0, 4, Whole(4)),
    read(4, 8, Start),
    read(24, 44, Parts(4)),
    read(44, 48, Start),
    read(48, 50, Parts(4)),
    read(52, 72, Parts(4)),
    read(72, 80, Start),
];

/// `struct bpf_tcp_sock`.
pub(crate) const TCP_SOCK: &[Fields] = &[
    read(0, 80, Whole(4)),
    read(80, 96, Whole(8)),
    read(96, 112, Whole(4)),
];

/// `struct bpf_xdp_sock`.
pub(crate) const XDP_SOCK: &[Fields] = &[read(0, 4, Whole(4))];

const KPROBE: &[Fields] = &[read(0, 168, Parts(8))];
/// Without the first field, up to `PERF_MAX_TRACE_SIZE`.
const TRACEPOINT: &[Fields] = &[read(8, 8192, Parts(8))];
const RAW_TRACEPOINT: &[Fields] = &[read(0, 96, Parts(8))];
/// Nobody reads a part of the pointer, which Linux would allow but for the first.
const RAW_TRACEPOINT_WRITABLE: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::TpBuffer)),
    read(8, 96, Parts(8)),
];
const PERF_EVENT: &[Fields] = &[read(0, 168, Whole(8)), read(168, 184, Parts(8))];

const SK_SKB: &[Fields] = &[
    read(0, 8, Parts(4)),
    read(12, 32, Parts(4)),
    both(32, 36, Parts(4), Whole(4)),
    read(36, 44, Parts(4)),
    both(44, 48, Parts(4), Whole(4)),
    read(48, 64, Parts(8)),
    read(64, 72, Parts(4)),
    pointer(76, 4, Pointer(Kind::Packet)),
    pointer(80, 4, Pointer(Kind::PacketEnd)),
    read(84, 92, Parts(4)),
    read(92, 132, Whole(4)),
    read(132, 140, Parts(4)),
    read(164, 168, Parts(4)),
    pointer(168, 8, PointerOrNull(Kind::SockCommon)),
    read(176, 180, Parts(4)),
];

const SK_MSG: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::Packet)),
    pointer(8, 8, Pointer(Kind::PacketEnd)),
    read(16, 72, Whole(4)),
    pointer(72, 8, Pointer(Kind::Socket)),
];

const LOOKUP: &[Fields] = &[
    pointer(0, 8, PointerOrNull(Kind::Socket)),
    read(8, 68, Parts(4)),
];

const SK_REUSEPORT: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::Packet)),
    pointer(8, 8, Pointer(Kind::PacketEnd)),
    read(16, 20, Parts(4)),
    read(20, 24, Halves),
    read(24, 32, Parts(4)),
    read(32, 36, Whole(4)),
    pointer(40, 8, Pointer(Kind::Socket)),
    pointer(48, 8, PointerOrNull(Kind::SockCommon)),
];

const FLOW_DISSECTOR: &[Fields] = &[
    pointer(76, 4, Pointer(Kind::Packet)),
    pointer(80, 4, Pointer(Kind::PacketEnd)),
    pointer(144, 8, Pointer(Kind::FlowKeys)),
];

const SOCK_OPS: &[Fields] = &[
    read(0, 4, Whole(4)),
    both(4, 8, Whole(4), Whole(4)),
    read(8, 164, Whole(4)),
    both(164, 168, Whole(4), Whole(4)),
    read(168, 184, Whole(8)),
    pointer(184, 8, PointerOrNull(Kind::Socket)),
    pointer(192, 8, Pointer(Kind::Packet)),
    pointer(200, 8, Pointer(Kind::PacketEnd)),
    read(208, 212, Whole(4)),
    read(212, 216, Start),
    read(216, 224, Whole(8)),
];

/// `struct nf_hook_state` and `struct sk_buff`.
const NETFILTER_FIELDS: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::Opaque)),
    pointer(8, 8, Pointer(Kind::Opaque)),
];

const CGROUP_DEVICE: &[Fields] = &[read(0, 4, Parts(4)), read(4, 12, Whole(4))];
const CGROUP_SYSCTL: &[Fields] = &[read(0, 4, Parts(4)), both(4, 8, Parts(4), Whole(4))];

const SOCKOPT_GOT: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::Socket)),
    pointer(8, 8, Pointer(Kind::Packet)),
    pointer(16, 8, Pointer(Kind::PacketEnd)),
    read(24, 32, Whole(4)),
    both(32, 40, Whole(4), Whole(4)),
];
const SOCKOPT_SET: &[Fields] = &[
    pointer(0, 8, Pointer(Kind::Socket)),
    pointer(8, 8, Pointer(Kind::Packet)),
    pointer(16, 8, Pointer(Kind::PacketEnd)),
    both(24, 36, Whole(4), Whole(4)),
];

/// A socket that is made or goes away.
const CGROUP_SOCK: &[Fields] = &[
    both(0, 4, Whole(4), Whole(4)),
    read(4, 16, Start),
    both(16, 24, Whole(4), Whole(4)),
    read(48, 50, Parts(4)),
    read(52, 72, Parts(4)),
    read(72, 80, Start),
];
const POST_BIND4: &[Fields] = &[
    read(4, 16, Start),
    read(24, 28, Parts(4)),
    read(44, 48, Start),
    read(48, 50, Parts(4)),
    read(52, 72, Parts(4)),
    read(72, 80, Start),
];
const POST_BIND6: &[Fields] = &[
    read(4, 16, Start),
    read(28, 44, Parts(4)),
    read(44, 48, Start),
    read(48, 50, Parts(4)),
    read(52, 72, Parts(4)),
    read(72, 80, Start),
];

const SOCK_ADDR4: &[Fields] = &[
    read(0, 4, Whole(4)),
    both(4, 8, Parts(4), Whole(4)),
    both(24, 28, Parts(4), Whole(4)),
    read(28, 40, Whole(4)),
    pointer(64, 8, Pointer(Kind::Socket)),
];
const SOCK_ADDR6: &[Fields] = &[
    read(0, 4, Whole(4)),
    both(8, 24, Parts(8), Words),
    both(24, 28, Parts(4), Whole(4)),
    read(28, 40, Whole(4)),
    pointer(64, 8, Pointer(Kind::Socket)),
];
const MSG_SRC_IP4: &[Fields] = &[both(40, 44, Parts(4), Whole(4))];
const MSG_SRC_IP6: &[Fields] = &[both(44, 60, Parts(8), Words)];

/// The fields of a context whose type is in these tables.
pub(crate) fn context(of: ProgType, attached: u32) -> &'static [&'static [Fields]] {
    use ProgType::*;
    use attach_type::{
        GETSOCKOPT, INET4_POST_BIND, INET6_BIND, INET6_CONNECT, INET6_GETPEERNAME,
        INET6_GETSOCKNAME, INET6_POST_BIND, UDP4_SENDMSG, UDP6_RECVMSG, UDP6_SENDMSG,
    };
    match of {
        Kprobe => &[KPROBE],
        Tracepoint => &[TRACEPOINT],
        RawTracepoint => &[RAW_TRACEPOINT],
        RawTracepointWritable => &[RAW_TRACEPOINT_WRITABLE],
        PerfEvent => &[PERF_EVENT],
        SkSkb => &[SK_SKB],
        SkMsg => &[SK_MSG],
        SkLookup => &[LOOKUP],
        SkReuseport => &[SK_REUSEPORT],
        FlowDissector => &[FLOW_DISSECTOR],
        Netfilter => &[NETFILTER_FIELDS],
        SockOps => &[SOCK_OPS],
        CgroupDevice => &[CGROUP_DEVICE],
        CgroupSysctl => &[CGROUP_SYSCTL],
        CgroupSockopt if attached == GETSOCKOPT => &[SOCKOPT_GOT],
        CgroupSockopt => &[SOCKOPT_SET],
        CgroupSock => match attached {
            INET4_POST_BIND => &[POST_BIND4],
            INET6_POST_BIND => &[POST_BIND6],
            _ => &[CGROUP_SOCK],
        },
        CgroupSockAddr => match attached {
            UDP4_SENDMSG => &[SOCK_ADDR4, MSG_SRC_IP4],
            UDP6_SENDMSG => &[SOCK_ADDR6, MSG_SRC_IP6],
            INET6_BIND | INET6_CONNECT | UDP6_RECVMSG => &[SOCK_ADDR6],
            INET6_GETPEERNAME | INET6_GETSOCKNAME => &[SOCK_ADDR6],
            _ => &[SOCK_ADDR4],
        },
        _ => &[],
    }
}

/// Whether programs of a type are loaded with this `expected_attach_type`
/// (`bpf_prog_load_check_attach`).
pub(crate) fn attach_type_fits(of: ProgType, t: u32) -> bool {
    use ProgType::*;
    use attach_type::*;
    match of {
        CgroupSkb => t <= 1,
        // 0 stands for the first of them.
        CgroupSock => matches!(
            t,
            0 | INET_SOCK_CREATE | INET4_POST_BIND | INET6_POST_BIND | INET_SOCK_RELEASE
        ),
        CgroupSockAddr => {
            matches!(
                t,
                INET4_BIND..=INET4_CONNECT
                    | INET6_CONNECT
                    | UDP4_SENDMSG..=UDP6_SENDMSG
                    | UDP4_RECVMSG..=UDP6_RECVMSG
                    | INET4_GETPEERNAME..=INET4_GETSOCKNAME
                    | INET6_GETSOCKNAME
            )
        }
        CgroupSockopt => matches!(t, GETSOCKOPT | SETSOCKOPT),
        SkLookup => t == SK_LOOKUP,
        Netfilter => t == NETFILTER,
        SkReuseport => matches!(t, 0 | SK_REUSEPORT_SELECT | SK_REUSEPORT_SELECT_OR_MIGRATE),
        _ => true,
    }
}
