//! What a section's name says about the program in it: libbpf's `SEC()`
//! conventions.

use bpf_core::uapi::{ProgType, attach_type as attach, prog_flags};

/// What is known about a program from its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub prog_type: ProgType,
    pub attach_type: u32,
    pub flags: u32,
}

impl Meaning {
    /// What is known where only the type was told.
    pub fn only_type(prog_type: ProgType) -> Self {
        let xdp = prog_type == ProgType::Xdp;
        Self {
            prog_type,
            attach_type: if xdp { attach::XDP } else { 0 },
            flags: 0,
        }
    }
}

const FRAGS: u32 = prog_flags::XDP_HAS_FRAGS;
const SLEEPABLE: u32 = prog_flags::SLEEPABLE;

/// Section name or its beginning, and what it means. The first that fits counts.
const TABLE: &[(&str, ProgType, u32, u32)] = {
    use ProgType::*;
    &[
        ("flat", Flat, 0, 0),
        ("socket", SocketFilter, 0, 0),
        ("xdp.frags/devmap", Xdp, attach::XDP_DEVMAP, FRAGS),
        ("xdp/devmap", Xdp, attach::XDP_DEVMAP, 0),
        ("xdp_devmap", Xdp, attach::XDP_DEVMAP, 0),
        ("xdp.frags/cpumap", Xdp, attach::XDP_CPUMAP, FRAGS),
        ("xdp/cpumap", Xdp, attach::XDP_CPUMAP, 0),
        ("xdp_cpumap", Xdp, attach::XDP_CPUMAP, 0),
        ("xdp.frags", Xdp, attach::XDP, FRAGS),
        ("xdp", Xdp, attach::XDP, 0),
        ("tcx/ingress", SchedCls, attach::TCX_INGRESS, 0),
        ("tcx/egress", SchedCls, attach::TCX_EGRESS, 0),
        ("tc", SchedCls, 0, 0),
        ("classifier", SchedCls, 0, 0),
        ("netkit", SchedCls, 0, 0),
        ("action", SchedAct, 0, 0),
        (
            "cgroup_skb/egress",
            CgroupSkb,
            attach::CGROUP_INET_EGRESS,
            0,
        ),
        ("cgroup_skb", CgroupSkb, 0, 0),
        ("cgroup/skb", CgroupSkb, 0, 0),
        ("cgroup/dev", CgroupDevice, 0, 0),
        ("cgroup/sysctl", CgroupSysctl, 0, 0),
        ("cgroup/getsockopt", CgroupSockopt, attach::GETSOCKOPT, 0),
        ("cgroup/setsockopt", CgroupSockopt, attach::SETSOCKOPT, 0),
        (
            "cgroup/sock_release",
            CgroupSock,
            attach::INET_SOCK_RELEASE,
            0,
        ),
        ("cgroup/sock", CgroupSock, attach::INET_SOCK_CREATE, 0),
        ("cgroup/post_bind4", CgroupSock, attach::INET4_POST_BIND, 0),
        ("cgroup/post_bind6", CgroupSock, attach::INET6_POST_BIND, 0),
        ("cgroup/bind4", CgroupSockAddr, attach::INET4_BIND, 0),
        ("cgroup/bind6", CgroupSockAddr, attach::INET6_BIND, 0),
        ("cgroup/connect4", CgroupSockAddr, attach::INET4_CONNECT, 0),
        ("cgroup/connect6", CgroupSockAddr, attach::INET6_CONNECT, 0),
        ("cgroup/sendmsg4", CgroupSockAddr, attach::UDP4_SENDMSG, 0),
        ("cgroup/sendmsg6", CgroupSockAddr, attach::UDP6_SENDMSG, 0),
        ("cgroup/recvmsg4", CgroupSockAddr, attach::UDP4_RECVMSG, 0),
        ("cgroup/recvmsg6", CgroupSockAddr, attach::UDP6_RECVMSG, 0),
        (
            "cgroup/getpeername4",
            CgroupSockAddr,
            attach::INET4_GETPEERNAME,
            0,
        ),
        (
            "cgroup/getpeername6",
            CgroupSockAddr,
            attach::INET6_GETPEERNAME,
            0,
        ),
        (
            "cgroup/getsockname4",
            CgroupSockAddr,
            attach::INET4_GETSOCKNAME,
            0,
        ),
        (
            "cgroup/getsockname6",
            CgroupSockAddr,
            attach::INET6_GETSOCKNAME,
            0,
        ),
        ("cgroup/", CgroupSockAddr, 0, 0),
        ("lwt_in", LwtIn, 0, 0),
        ("lwt_out", LwtOut, 0, 0),
        ("lwt_xmit", LwtXmit, 0, 0),
        ("lwt_seg6local", LwtSeg6local, 0, 0),
        ("sockops", SockOps, 0, 0),
        ("sk_skb", SkSkb, 0, 0),
        ("sk_msg", SkMsg, 0, 0),
        (
            "sk_reuseport/migrate",
            SkReuseport,
            attach::SK_REUSEPORT_SELECT_OR_MIGRATE,
            0,
        ),
        ("sk_reuseport", SkReuseport, attach::SK_REUSEPORT_SELECT, 0),
        ("sk_lookup", SkLookup, attach::SK_LOOKUP, 0),
        ("flow_dissector", FlowDissector, 0, 0),
        ("kprobe", Kprobe, 0, 0),
        ("kretprobe", Kprobe, 0, 0),
        ("uprobe", Kprobe, 0, 0),
        ("uretprobe", Kprobe, 0, 0),
        ("ksyscall", Kprobe, 0, 0),
        ("usdt", Kprobe, 0, 0),
        ("tp_btf", Tracing, 0, 0),
        ("fentry", Tracing, 0, 0),
        ("fexit", Tracing, 0, 0),
        ("fmod_ret", Tracing, 0, 0),
        ("iter", Tracing, 0, 0),
        ("tracepoint", Tracepoint, 0, 0),
        ("tp", Tracepoint, 0, 0),
        ("raw_tracepoint.w", RawTracepointWritable, 0, 0),
        ("raw_tp.w", RawTracepointWritable, 0, 0),
        ("raw_tracepoint", RawTracepoint, 0, 0),
        ("raw_tp", RawTracepoint, 0, 0),
        ("perf_event", PerfEvent, 0, 0),
        ("lsm", Lsm, 0, 0),
        ("lirc_mode2", LircMode2, 0, 0),
        ("freplace", Ext, 0, 0),
        ("struct_ops", StructOps, 0, 0),
        ("syscall", Syscall, 0, SLEEPABLE),
        ("netfilter", Netfilter, 0, 0),
    ]
};

/// Whether its programs are loaded without being asked for.
pub(super) fn autoload(section: &str) -> bool {
    !section.starts_with('?')
}

/// What a section's name means; `None` where it says nothing.
pub(super) fn meaning(section: &str) -> Option<Meaning> {
    let name = section.strip_prefix('?').unwrap_or(section);
    let (_, prog_type, attach_type, flags) = *TABLE.iter().find(|row| name.starts_with(row.0))?;
    Some(Meaning {
        prog_type,
        attach_type,
        flags,
    })
}
