//! Who may call what.
use super::{Arg, proto};
use crate::uapi::{ProgType, attach_type};

/// Whether only programs under a GPL compatible license may call it.
pub fn gpl_only(id: u32) -> bool {
    matches!(
        id,
        4 | 6 | 22 | 25 | 27 | 35 | 45 | 55 | 56 | 67 | 69 | 100 | 110..=115 | 119 | 121
    ) || matches!(id, 158 | 163 | 165 | 169..=173 | 175..=177 | 191 | 204..=207)
}

/// Whether Linux offers the helper to programs of this type and attach type.
///
/// [`ProgType::Flat`] is ours: it gets the helpers that need neither packet nor
/// context.
#[rustfmt::skip]
pub fn offered(id: u32, to: ProgType, attached: u32) -> bool {
    use ProgType::*;
    let more = match to {
        SocketFilter => matches!(id, 25 | 26 | 46 | 47 | 68 | 122),
        SchedCls | SchedAct => matches!(id, 9..=11 | 13 | 18..=21 | 23..=26 | 28..=34 | 38..=41 | 43 | 46..=48 | 50 | 66 | 68 | 69 | 79 | 83..=86 | 95..=100 | 107 | 108 | 110 | 122 | 124 | 135 | 151 | 152 | 155 | 163 | 192 | 204..=207),
        Xdp => matches!(id, 23 | 25 | 28 | 44 | 51 | 54 | 65 | 69 | 84..=86 | 99 | 100 | 110 | 163 | 188..=190 | 204..=207),
        CgroupSkb => matches!(id, 25 | 26 | 46 | 47 | 68 | 79 | 81 | 83..=86 | 95..=99 | 107 | 108 | 122 | 128 | 129),
        LwtIn => tunnel(id) || id == 73,
        LwtOut => tunnel(id),
        LwtXmit => tunnel(id) || matches!(id, 9..=11 | 13 | 20 | 21 | 23 | 29 | 30 | 38 | 40 | 41 | 43 | 73 | 135),
        LwtSeg6local => tunnel(id) || matches!(id, 74..=76),
        SkSkb => matches!(id, 9 | 25 | 26 | 38 | 39 | 43 | 46 | 47 | 50 | 52 | 72 | 84..=86 | 99),
        SkMsg => matches!(id, 25 | 60..=63 | 71 | 90 | 91 | 107 | 108 | 122),
        SkLookup => matches!(id, 25 | 86 | 124),
        SkReuseport => matches!(id, 26 | 46 | 68 | 82),
        FlowDissector => id == 26,
        SockOps => matches!(id, 25 | 46 | 49 | 53 | 57 | 59 | 70 | 81 | 96 | 107 | 108 | 122 | 142..=144),
        CgroupSock => matches!(id, 25 | 46 | 81 | 107 | 122 | 186 | 187),
        CgroupSockAddr => matches!(id, 25 | 46 | 49 | 57 | 64 | 81 | 84..=86 | 99 | 107 | 108 | 122 | 186 | 187),
        CgroupSockopt => matches!(id, 25 | 81 | 96 | 107 | 108 | 122 | 186 | 187),
        CgroupDevice => matches!(id, 25 | 81 | 186 | 187),
        CgroupSysctl => matches!(id, 25 | 81 | 101..=104 | 186 | 187),
        Kprobe | Tracepoint | RawTracepoint | RawTracepointWritable => tracing(id),
        PerfEvent => tracing(id) || matches!(id, 56 | 119),
        Netfilter => false,
        Flat => return flat(id),
        _ => return false,
    };
    let more = more && fits_attach_type(id, to, attached);
    more || everywhere(id) || casts(id, to) || (id == 160 && coarse_clock(to))
}

#[rustfmt::skip]
fn everywhere(id: u32) -> bool {
    matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22 | 35 | 37 | 42 | 55 | 80 | 87..=89 | 93 | 94 | 105 | 106 | 109 | 112..=115 | 117 | 118 | 120 | 123 | 125 | 130..=134 | 141 | 148 | 149 | 153 | 154 | 156..=158 | 164 | 165 | 169..=172 | 175..=177 | 180..=182 | 191 | 194 | 195 | 197..=203 | 208..=211)
}

/// Some helpers of control group programs are not for all places.
fn fits_attach_type(id: u32, to: ProgType, attached: u32) -> bool {
    use attach_type::*;
    const BIND: u32 = 64;
    const GET_RETVAL: u32 = 186;
    const SET_RETVAL: u32 = 187;
    match (id, attached) {
        (BIND, INET4_CONNECT | INET6_CONNECT) => true,
        (BIND, _) => false,
        // Stands for INET_SOCK_CREATE.
        (_, 0) if to == ProgType::CgroupSock => true,
        (GET_RETVAL | SET_RETVAL, CGROUP_INET_INGRESS..=CGROUP_INET_EGRESS | CGROUP_SOCK_OPS) => {
            false
        }
        (GET_RETVAL | SET_RETVAL, UDP4_RECVMSG | UDP6_RECVMSG) => false,
        (GET_RETVAL | SET_RETVAL, INET4_GETPEERNAME..=INET6_GETSOCKNAME) => false,
        _ => true,
    }
}

/// From a socket to its kernel structure (`bpf_skc_to_…`): not for types that
/// `bpf_sk_base_func_proto` does not serve.
fn casts(id: u32, to: ProgType) -> bool {
    use ProgType::*;
    let served = matches!(
        to,
        SocketFilter | SchedCls | SchedAct | Xdp | CgroupSkb | LwtIn | LwtOut | LwtXmit
    ) || matches!(
        to,
        LwtSeg6local | SkSkb | SkMsg | SkLookup | FlowDissector | SockOps | CgroupSockAddr
    );
    served && matches!(id, 136..=140 | 178 | 196)
}

fn coarse_clock(to: ProgType) -> bool {
    use ProgType::*;
    let without = matches!(
        to,
        Kprobe | Tracepoint | PerfEvent | RawTracepoint | RawTracepointWritable
    );
    !(without || matches!(to, CgroupDevice | CgroupSockopt | Netfilter))
}

/// What all tunnel programs have.
fn tunnel(id: u32) -> bool {
    matches!(id, 24..=26 | 28 | 33 | 34 | 39)
}

fn tracing(id: u32) -> bool {
    matches!(id, 4 | 25 | 27 | 45 | 67 | 173 | 174)
}

fn flat(id: u32) -> bool {
    let plain = proto(id, ProgType::Flat).is_some_and(|p| !p.args.contains(&Arg::Ctx));
    plain && offered(id, ProgType::SocketFilter, 0)
}
