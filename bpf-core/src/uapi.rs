//! Numbers and layouts of Linux's `linux/bpf.h`, defined once.
//!
//! Names follow the kernel's with the `BPF_` prefix taken off.
#![allow(missing_docs)]

/// Error numbers (positive, as in `errno.h`). The kernel returns them negated.
pub mod errno {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const EINTR: i32 = 4;
    pub const EIO: i32 = 5;
    pub const E2BIG: i32 = 7;
    pub const EBADF: i32 = 9;
    pub const EAGAIN: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EACCES: i32 = 13;
    pub const EFAULT: i32 = 14;
    pub const EBUSY: i32 = 16;
    pub const EEXIST: i32 = 17;
    pub const EXDEV: i32 = 18;
    pub const ENODEV: i32 = 19;
    pub const EINVAL: i32 = 22;
    pub const EMFILE: i32 = 24;
    pub const ENOSPC: i32 = 28;
    pub const ERANGE: i32 = 34;
    pub const ENAMETOOLONG: i32 = 36;
    pub const ELOOP: i32 = 40;
    pub const EPROTO: i32 = 71;
    pub const EOVERFLOW: i32 = 75;
    pub const EOPNOTSUPP: i32 = 95;
    pub const ETIMEDOUT: i32 = 110;
    pub const EALREADY: i32 = 114;
    /// Kernel-internal, but visible: `BPF_PROG_LOAD` answers it for some types.
    pub const ENOTSUPP: i32 = 524;
}

/// Declares a `#[repr(u32)]` enum with a checked conversion from its number.
macro_rules! numbered {
    ($(#[$m:meta])* $name:ident { $($(#[$vm:meta])* $v:ident = $n:expr, $s:literal;)* }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $($(#[$vm])* $v = $n,)* }
        impl $name {
            /// Every value, in numerical order.
            pub const ALL: &'static [Self] = &[$(Self::$v,)*];
            /// The value with this number.
            pub const fn from_u32(n: u32) -> Option<Self> {
                match n { $($n => Some(Self::$v),)* _ => None }
            }
            /// The name that bpftool and libbpf use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$v => $s,)* }
            }
            /// The value with this name.
            pub fn from_name(s: &str) -> Option<Self> {
                match s { $($s => Some(Self::$v),)* _ => None }
            }
        }
    };
}

numbered! {
    /// `enum bpf_cmd`.
    Cmd {
        MapCreate = 0, "map_create";
        MapLookupElem = 1, "map_lookup_elem";
        MapUpdateElem = 2, "map_update_elem";
        MapDeleteElem = 3, "map_delete_elem";
        MapGetNextKey = 4, "map_get_next_key";
        ProgLoad = 5, "prog_load";
        ObjPin = 6, "obj_pin";
        ObjGet = 7, "obj_get";
        ProgAttach = 8, "prog_attach";
        ProgDetach = 9, "prog_detach";
        ProgTestRun = 10, "prog_test_run";
        ProgGetNextId = 11, "prog_get_next_id";
        MapGetNextId = 12, "map_get_next_id";
        ProgGetFdById = 13, "prog_get_fd_by_id";
        MapGetFdById = 14, "map_get_fd_by_id";
        ObjGetInfoByFd = 15, "obj_get_info_by_fd";
        ProgQuery = 16, "prog_query";
        RawTracepointOpen = 17, "raw_tracepoint_open";
        BtfLoad = 18, "btf_load";
        BtfGetFdById = 19, "btf_get_fd_by_id";
        TaskFdQuery = 20, "task_fd_query";
        MapLookupAndDeleteElem = 21, "map_lookup_and_delete_elem";
        MapFreeze = 22, "map_freeze";
        BtfGetNextId = 23, "btf_get_next_id";
        MapLookupBatch = 24, "map_lookup_batch";
        MapLookupAndDeleteBatch = 25, "map_lookup_and_delete_batch";
        MapUpdateBatch = 26, "map_update_batch";
        MapDeleteBatch = 27, "map_delete_batch";
        LinkCreate = 28, "link_create";
        LinkUpdate = 29, "link_update";
        LinkGetFdById = 30, "link_get_fd_by_id";
        LinkGetNextId = 31, "link_get_next_id";
        EnableStats = 32, "enable_stats";
        IterCreate = 33, "iter_create";
        LinkDetach = 34, "link_detach";
        ProgBindMap = 35, "prog_bind_map";
        TokenCreate = 36, "token_create";
        ProgStreamReadByFd = 37, "prog_stream_read_by_fd";
    }
}

numbered! {
    /// `enum bpf_map_type`.
    MapType {
        Unspec = 0, "unspec";
        Hash = 1, "hash";
        Array = 2, "array";
        ProgArray = 3, "prog_array";
        PerfEventArray = 4, "perf_event_array";
        PercpuHash = 5, "percpu_hash";
        PercpuArray = 6, "percpu_array";
        StackTrace = 7, "stack_trace";
        CgroupArray = 8, "cgroup_array";
        LruHash = 9, "lru_hash";
        LruPercpuHash = 10, "lru_percpu_hash";
        LpmTrie = 11, "lpm_trie";
        ArrayOfMaps = 12, "array_of_maps";
        HashOfMaps = 13, "hash_of_maps";
        Devmap = 14, "devmap";
        Sockmap = 15, "sockmap";
        Cpumap = 16, "cpumap";
        Xskmap = 17, "xskmap";
        Sockhash = 18, "sockhash";
        CgroupStorage = 19, "cgroup_storage";
        ReuseportSockarray = 20, "reuseport_sockarray";
        PercpuCgroupStorage = 21, "percpu_cgroup_storage";
        Queue = 22, "queue";
        Stack = 23, "stack";
        SkStorage = 24, "sk_storage";
        DevmapHash = 25, "devmap_hash";
        StructOps = 26, "struct_ops";
        Ringbuf = 27, "ringbuf";
        InodeStorage = 28, "inode_storage";
        TaskStorage = 29, "task_storage";
        BloomFilter = 30, "bloom_filter";
        UserRingbuf = 31, "user_ringbuf";
        CgrpStorage = 32, "cgrp_storage";
        Arena = 33, "arena";
        InsnArray = 34, "insn_array";
    }
}

numbered! {
    /// `enum bpf_prog_type`. [`ProgType::Flat`] (the kernel's `UNSPEC`) is our
    /// own type: a program over a plain byte buffer.
    ProgType {
        /// R1 = address of the memory, R2 = its length in bytes.
        Flat = 0, "flat";
        SocketFilter = 1, "socket_filter";
        Kprobe = 2, "kprobe";
        SchedCls = 3, "sched_cls";
        SchedAct = 4, "sched_act";
        Tracepoint = 5, "tracepoint";
        Xdp = 6, "xdp";
        PerfEvent = 7, "perf_event";
        CgroupSkb = 8, "cgroup_skb";
        CgroupSock = 9, "cgroup_sock";
        LwtIn = 10, "lwt_in";
        LwtOut = 11, "lwt_out";
        LwtXmit = 12, "lwt_xmit";
        SockOps = 13, "sock_ops";
        SkSkb = 14, "sk_skb";
        CgroupDevice = 15, "cgroup_device";
        SkMsg = 16, "sk_msg";
        RawTracepoint = 17, "raw_tracepoint";
        CgroupSockAddr = 18, "cgroup_sock_addr";
        LwtSeg6local = 19, "lwt_seg6local";
        LircMode2 = 20, "lirc_mode2";
        SkReuseport = 21, "sk_reuseport";
        FlowDissector = 22, "flow_dissector";
        CgroupSysctl = 23, "cgroup_sysctl";
        RawTracepointWritable = 24, "raw_tracepoint_writable";
        CgroupSockopt = 25, "cgroup_sockopt";
        Tracing = 26, "tracing";
        StructOps = 27, "struct_ops";
        Ext = 28, "ext";
        Lsm = 29, "lsm";
        SkLookup = 30, "sk_lookup";
        Syscall = 31, "syscall";
        Netfilter = 32, "netfilter";
    }
}

/// Flags of `BPF_MAP_CREATE` (`map_flags`).
pub mod map_flags {
    pub const NO_PREALLOC: u32 = 1 << 0;
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    pub const NUMA_NODE: u32 = 1 << 2;
    pub const RDONLY: u32 = 1 << 3;
    pub const WRONLY: u32 = 1 << 4;
    pub const STACK_BUILD_ID: u32 = 1 << 5;
    pub const ZERO_SEED: u32 = 1 << 6;
    pub const RDONLY_PROG: u32 = 1 << 7;
    pub const WRONLY_PROG: u32 = 1 << 8;
    pub const CLONE: u32 = 1 << 9;
    pub const MMAPABLE: u32 = 1 << 10;
    pub const PRESERVE_ELEMS: u32 = 1 << 11;
    pub const INNER_MAP: u32 = 1 << 12;
}

/// Flags of `BPF_MAP_UPDATE_ELEM`.
pub mod elem_flags {
    pub const ANY: u64 = 0;
    pub const NOEXIST: u64 = 1;
    pub const EXIST: u64 = 2;
    pub const F_LOCK: u64 = 4;
}

/// Flags of `BPF_PROG_LOAD` (`prog_flags`).
pub mod prog_flags {
    pub const STRICT_ALIGNMENT: u32 = 1 << 0;
    pub const ANY_ALIGNMENT: u32 = 1 << 1;
    pub const TEST_RND_HI32: u32 = 1 << 2;
    pub const TEST_STATE_FREQ: u32 = 1 << 3;
    pub const SLEEPABLE: u32 = 1 << 4;
    pub const XDP_HAS_FRAGS: u32 = 1 << 5;
    pub const XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
    pub const TEST_REG_INVARIANTS: u32 = 1 << 7;
}

/// Return values of an XDP program (`enum xdp_action`).
pub mod xdp_action {
    pub const ABORTED: u32 = 0;
    pub const DROP: u32 = 1;
    pub const PASS: u32 = 2;
    pub const TX: u32 = 3;
    pub const REDIRECT: u32 = 4;
}

/// Return values of a classifier or action (`TC_ACT_…`), as far as they matter
/// here.
pub mod tc_action {
    pub const SHOT: u32 = 2;
    pub const REDIRECT: u32 = 7;
}

/// `enum bpf_attach_type`, as far as it decides about fields, helpers and verdicts.
pub mod attach_type {
    pub const CGROUP_INET_INGRESS: u32 = 0;
    pub const CGROUP_INET_EGRESS: u32 = 1;
    pub const INET_SOCK_CREATE: u32 = 2;
    pub const CGROUP_SOCK_OPS: u32 = 3;
    pub const INET4_BIND: u32 = 8;
    pub const INET6_BIND: u32 = 9;
    pub const INET4_CONNECT: u32 = 10;
    pub const INET6_CONNECT: u32 = 11;
    pub const INET4_POST_BIND: u32 = 12;
    pub const INET6_POST_BIND: u32 = 13;
    pub const UDP4_SENDMSG: u32 = 14;
    pub const UDP6_SENDMSG: u32 = 15;
    pub const UDP4_RECVMSG: u32 = 19;
    pub const UDP6_RECVMSG: u32 = 20;
    pub const GETSOCKOPT: u32 = 21;
    pub const SETSOCKOPT: u32 = 22;
    pub const INET4_GETPEERNAME: u32 = 29;
    pub const INET6_GETPEERNAME: u32 = 30;
    pub const INET4_GETSOCKNAME: u32 = 31;
    pub const INET6_GETSOCKNAME: u32 = 32;
    pub const XDP_DEVMAP: u32 = 33;
    pub const XDP_CPUMAP: u32 = 35;
    pub const XDP: u32 = 37;
    pub const TCX_INGRESS: u32 = 46;
    pub const TCX_EGRESS: u32 = 47;
    pub const INET_SOCK_RELEASE: u32 = 34;
    pub const SK_LOOKUP: u32 = 36;
    pub const SK_REUSEPORT_SELECT: u32 = 39;
    pub const SK_REUSEPORT_SELECT_OR_MIGRATE: u32 = 40;
}

/// Limits of the kernel's verifier and program model.
pub mod limits {
    /// `MAX_BPF_STACK`: bytes of stack per frame, and in all frames together.
    pub const STACK: u32 = 512;
    /// `MAX_CALL_FRAMES`.
    pub const CALL_FRAMES: usize = 8;
    /// `MAX_TAIL_CALL_CNT`.
    pub const TAIL_CALLS: u32 = 33;
    /// `BPF_COMPLEXITY_LIMIT_INSNS`: processed instructions, and program length.
    pub const COMPLEXITY_INSNS: u32 = 1_000_000;
    /// `MAX_USED_MAPS`.
    pub const USED_MAPS: usize = 64;
    /// `BPF_OBJ_NAME_LEN`, including the final zero.
    pub const NAME_LEN: usize = 16;
    /// `BPF_MAX_LOOPS` of `bpf_loop`.
    pub const LOOPS: u32 = 8 * 1024 * 1024;
    /// `BPF_MAX_SUBPROGS`.
    pub const SUBPROGS: usize = 256;
    /// The most vCPUs of a VM: what `bpf_get_smp_processor_id` returns is less.
    pub const VCPUS: u32 = 64;
}

/// `struct xdp_md`: byte offsets of its fields.
pub mod xdp_md {
    pub const DATA: u32 = 0;
    pub const DATA_END: u32 = 4;
    pub const DATA_META: u32 = 8;
    pub const INGRESS_IFINDEX: u32 = 12;
    pub const RX_QUEUE_INDEX: u32 = 16;
    pub const EGRESS_IFINDEX: u32 = 20;
    /// Size of the structure.
    pub const SIZE: u32 = 24;
}

/// `struct __sk_buff`: byte offsets of its fields.
pub mod sk_buff {
    pub const LEN: u32 = 0;
    pub const PKT_TYPE: u32 = 4;
    pub const MARK: u32 = 8;
    pub const QUEUE_MAPPING: u32 = 12;
    pub const PROTOCOL: u32 = 16;
    pub const VLAN_PRESENT: u32 = 20;
    pub const VLAN_TCI: u32 = 24;
    pub const VLAN_PROTO: u32 = 28;
    pub const PRIORITY: u32 = 32;
    pub const INGRESS_IFINDEX: u32 = 36;
    pub const IFINDEX: u32 = 40;
    pub const TC_INDEX: u32 = 44;
    /// Five 32-bit words.
    pub const CB: u32 = 48;
    pub const HASH: u32 = 68;
    pub const TC_CLASSID: u32 = 72;
    pub const DATA: u32 = 76;
    pub const DATA_END: u32 = 80;
    pub const NAPI_ID: u32 = 84;
    pub const FAMILY: u32 = 88;
    pub const REMOTE_IP4: u32 = 92;
    pub const LOCAL_IP4: u32 = 96;
    pub const REMOTE_IP6: u32 = 100;
    pub const LOCAL_IP6: u32 = 116;
    pub const REMOTE_PORT: u32 = 132;
    pub const LOCAL_PORT: u32 = 136;
    pub const DATA_META: u32 = 140;
    pub const FLOW_KEYS: u32 = 144;
    pub const TSTAMP: u32 = 152;
    pub const WIRE_LEN: u32 = 160;
    pub const GSO_SEGS: u32 = 164;
    pub const SK: u32 = 168;
    pub const GSO_SIZE: u32 = 176;
    pub const TSTAMP_TYPE: u32 = 180;
    pub const HWTSTAMP: u32 = 184;
    /// Size of the structure.
    pub const SIZE: u32 = 192;
}
