//! Numbers and layouts of Linux's `linux/bpf.h`, defined once.
//!
//! Names follow the kernel's with the `BPF_` prefix taken off.

/// Declares constants by the kernel's names.
macro_rules! constants {
    ($($(#[$m:meta])* $v:ident: $t:ty = $n:expr;)*) => {$(
        #[doc = concat!("`", stringify!($v), "`.")]
        $(#[$m])*
        pub const $v: $t = $n;
    )*};
    ($($(#[$m:meta])* $v:ident $k:literal: $t:ty = $n:expr;)*) => {$(
        #[doc = concat!("`", $k, "`.")]
        #[doc(alias = $k)]
        $(#[$m])*
        pub const $v: $t = $n;
    )*};
}

/// Error numbers (positive, as in `errno.h`). The kernel returns them negated.
pub mod errno {
    constants! {
        EPERM: i32 = 1;
        ENOENT: i32 = 2;
        EINTR: i32 = 4;
        EIO: i32 = 5;
        E2BIG: i32 = 7;
        EBADF: i32 = 9;
        EAGAIN: i32 = 11;
        ENOMEM: i32 = 12;
        EACCES: i32 = 13;
        EFAULT: i32 = 14;
        EBUSY: i32 = 16;
        EEXIST: i32 = 17;
        EXDEV: i32 = 18;
        ENODEV: i32 = 19;
        EINVAL: i32 = 22;
        EMFILE: i32 = 24;
        ENOSPC: i32 = 28;
        ERANGE: i32 = 34;
        ENAMETOOLONG: i32 = 36;
        ELOOP: i32 = 40;
        EPROTO: i32 = 71;
        EOVERFLOW: i32 = 75;
        EOPNOTSUPP: i32 = 95;
        ETIMEDOUT: i32 = 110;
        EALREADY: i32 = 114;
        /// Kernel-internal, but visible: `BPF_PROG_LOAD` answers it for some types.
        ENOTSUPP: i32 = 524;
    }
}

/// Declares a `#[repr(u32)]` enum with a checked conversion from its number.
macro_rules! numbered {
    ($(#[$m:meta])* $name:ident {
        $($(#[$vm:meta])* $v:ident = $n:expr, $s:literal, $k:literal;)*
    }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $(
            #[doc = concat!("`", $k, "`.")]
            #[doc(alias = $k)]
            $(#[$vm])*
            $v = $n,
        )* }
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
        MapCreate = 0, "map_create", "BPF_MAP_CREATE";
        MapLookupElem = 1, "map_lookup_elem", "BPF_MAP_LOOKUP_ELEM";
        MapUpdateElem = 2, "map_update_elem", "BPF_MAP_UPDATE_ELEM";
        MapDeleteElem = 3, "map_delete_elem", "BPF_MAP_DELETE_ELEM";
        MapGetNextKey = 4, "map_get_next_key", "BPF_MAP_GET_NEXT_KEY";
        ProgLoad = 5, "prog_load", "BPF_PROG_LOAD";
        ObjPin = 6, "obj_pin", "BPF_OBJ_PIN";
        ObjGet = 7, "obj_get", "BPF_OBJ_GET";
        ProgAttach = 8, "prog_attach", "BPF_PROG_ATTACH";
        ProgDetach = 9, "prog_detach", "BPF_PROG_DETACH";
        ProgTestRun = 10, "prog_test_run", "BPF_PROG_TEST_RUN";
        ProgGetNextId = 11, "prog_get_next_id", "BPF_PROG_GET_NEXT_ID";
        MapGetNextId = 12, "map_get_next_id", "BPF_MAP_GET_NEXT_ID";
        ProgGetFdById = 13, "prog_get_fd_by_id", "BPF_PROG_GET_FD_BY_ID";
        MapGetFdById = 14, "map_get_fd_by_id", "BPF_MAP_GET_FD_BY_ID";
        ObjGetInfoByFd = 15, "obj_get_info_by_fd", "BPF_OBJ_GET_INFO_BY_FD";
        ProgQuery = 16, "prog_query", "BPF_PROG_QUERY";
        RawTracepointOpen = 17, "raw_tracepoint_open", "BPF_RAW_TRACEPOINT_OPEN";
        BtfLoad = 18, "btf_load", "BPF_BTF_LOAD";
        BtfGetFdById = 19, "btf_get_fd_by_id", "BPF_BTF_GET_FD_BY_ID";
        TaskFdQuery = 20, "task_fd_query", "BPF_TASK_FD_QUERY";
        MapLookupAndDeleteElem = 21, "map_lookup_and_delete_elem", "BPF_MAP_LOOKUP_AND_DELETE_ELEM";
        MapFreeze = 22, "map_freeze", "BPF_MAP_FREEZE";
        BtfGetNextId = 23, "btf_get_next_id", "BPF_BTF_GET_NEXT_ID";
        MapLookupBatch = 24, "map_lookup_batch", "BPF_MAP_LOOKUP_BATCH";
        MapLookupAndDeleteBatch = 25, "map_lookup_and_delete_batch", "BPF_MAP_LOOKUP_AND_DELETE_BATCH";
        MapUpdateBatch = 26, "map_update_batch", "BPF_MAP_UPDATE_BATCH";
        MapDeleteBatch = 27, "map_delete_batch", "BPF_MAP_DELETE_BATCH";
        LinkCreate = 28, "link_create", "BPF_LINK_CREATE";
        LinkUpdate = 29, "link_update", "BPF_LINK_UPDATE";
        LinkGetFdById = 30, "link_get_fd_by_id", "BPF_LINK_GET_FD_BY_ID";
        LinkGetNextId = 31, "link_get_next_id", "BPF_LINK_GET_NEXT_ID";
        EnableStats = 32, "enable_stats", "BPF_ENABLE_STATS";
        IterCreate = 33, "iter_create", "BPF_ITER_CREATE";
        LinkDetach = 34, "link_detach", "BPF_LINK_DETACH";
        ProgBindMap = 35, "prog_bind_map", "BPF_PROG_BIND_MAP";
        TokenCreate = 36, "token_create", "BPF_TOKEN_CREATE";
        ProgStreamReadByFd = 37, "prog_stream_read_by_fd", "BPF_PROG_STREAM_READ_BY_FD";
    }
}

numbered! {
    /// `enum bpf_map_type`.
    MapType {
        Unspec = 0, "unspec", "BPF_MAP_TYPE_UNSPEC";
        Hash = 1, "hash", "BPF_MAP_TYPE_HASH";
        Array = 2, "array", "BPF_MAP_TYPE_ARRAY";
        ProgArray = 3, "prog_array", "BPF_MAP_TYPE_PROG_ARRAY";
        PerfEventArray = 4, "perf_event_array", "BPF_MAP_TYPE_PERF_EVENT_ARRAY";
        PercpuHash = 5, "percpu_hash", "BPF_MAP_TYPE_PERCPU_HASH";
        PercpuArray = 6, "percpu_array", "BPF_MAP_TYPE_PERCPU_ARRAY";
        StackTrace = 7, "stack_trace", "BPF_MAP_TYPE_STACK_TRACE";
        CgroupArray = 8, "cgroup_array", "BPF_MAP_TYPE_CGROUP_ARRAY";
        LruHash = 9, "lru_hash", "BPF_MAP_TYPE_LRU_HASH";
        LruPercpuHash = 10, "lru_percpu_hash", "BPF_MAP_TYPE_LRU_PERCPU_HASH";
        LpmTrie = 11, "lpm_trie", "BPF_MAP_TYPE_LPM_TRIE";
        ArrayOfMaps = 12, "array_of_maps", "BPF_MAP_TYPE_ARRAY_OF_MAPS";
        HashOfMaps = 13, "hash_of_maps", "BPF_MAP_TYPE_HASH_OF_MAPS";
        Devmap = 14, "devmap", "BPF_MAP_TYPE_DEVMAP";
        Sockmap = 15, "sockmap", "BPF_MAP_TYPE_SOCKMAP";
        Cpumap = 16, "cpumap", "BPF_MAP_TYPE_CPUMAP";
        Xskmap = 17, "xskmap", "BPF_MAP_TYPE_XSKMAP";
        Sockhash = 18, "sockhash", "BPF_MAP_TYPE_SOCKHASH";
        CgroupStorage = 19, "cgroup_storage", "BPF_MAP_TYPE_CGROUP_STORAGE";
        ReuseportSockarray = 20, "reuseport_sockarray", "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY";
        PercpuCgroupStorage = 21, "percpu_cgroup_storage", "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE";
        Queue = 22, "queue", "BPF_MAP_TYPE_QUEUE";
        Stack = 23, "stack", "BPF_MAP_TYPE_STACK";
        SkStorage = 24, "sk_storage", "BPF_MAP_TYPE_SK_STORAGE";
        DevmapHash = 25, "devmap_hash", "BPF_MAP_TYPE_DEVMAP_HASH";
        StructOps = 26, "struct_ops", "BPF_MAP_TYPE_STRUCT_OPS";
        Ringbuf = 27, "ringbuf", "BPF_MAP_TYPE_RINGBUF";
        InodeStorage = 28, "inode_storage", "BPF_MAP_TYPE_INODE_STORAGE";
        TaskStorage = 29, "task_storage", "BPF_MAP_TYPE_TASK_STORAGE";
        BloomFilter = 30, "bloom_filter", "BPF_MAP_TYPE_BLOOM_FILTER";
        UserRingbuf = 31, "user_ringbuf", "BPF_MAP_TYPE_USER_RINGBUF";
        CgrpStorage = 32, "cgrp_storage", "BPF_MAP_TYPE_CGRP_STORAGE";
        Arena = 33, "arena", "BPF_MAP_TYPE_ARENA";
        InsnArray = 34, "insn_array", "BPF_MAP_TYPE_INSN_ARRAY";
    }
}

numbered! {
    /// `enum bpf_prog_type`. [`ProgType::Flat`] (the kernel's `UNSPEC`) is our
    /// own type: a program over a plain byte buffer.
    ProgType {
        /// R1 = address of the memory, R2 = its length in bytes.
        Flat = 0, "flat", "BPF_PROG_TYPE_UNSPEC";
        SocketFilter = 1, "socket_filter", "BPF_PROG_TYPE_SOCKET_FILTER";
        Kprobe = 2, "kprobe", "BPF_PROG_TYPE_KPROBE";
        SchedCls = 3, "sched_cls", "BPF_PROG_TYPE_SCHED_CLS";
        SchedAct = 4, "sched_act", "BPF_PROG_TYPE_SCHED_ACT";
        Tracepoint = 5, "tracepoint", "BPF_PROG_TYPE_TRACEPOINT";
        Xdp = 6, "xdp", "BPF_PROG_TYPE_XDP";
        PerfEvent = 7, "perf_event", "BPF_PROG_TYPE_PERF_EVENT";
        CgroupSkb = 8, "cgroup_skb", "BPF_PROG_TYPE_CGROUP_SKB";
        CgroupSock = 9, "cgroup_sock", "BPF_PROG_TYPE_CGROUP_SOCK";
        LwtIn = 10, "lwt_in", "BPF_PROG_TYPE_LWT_IN";
        LwtOut = 11, "lwt_out", "BPF_PROG_TYPE_LWT_OUT";
        LwtXmit = 12, "lwt_xmit", "BPF_PROG_TYPE_LWT_XMIT";
        SockOps = 13, "sock_ops", "BPF_PROG_TYPE_SOCK_OPS";
        SkSkb = 14, "sk_skb", "BPF_PROG_TYPE_SK_SKB";
        CgroupDevice = 15, "cgroup_device", "BPF_PROG_TYPE_CGROUP_DEVICE";
        SkMsg = 16, "sk_msg", "BPF_PROG_TYPE_SK_MSG";
        RawTracepoint = 17, "raw_tracepoint", "BPF_PROG_TYPE_RAW_TRACEPOINT";
        CgroupSockAddr = 18, "cgroup_sock_addr", "BPF_PROG_TYPE_CGROUP_SOCK_ADDR";
        LwtSeg6local = 19, "lwt_seg6local", "BPF_PROG_TYPE_LWT_SEG6LOCAL";
        LircMode2 = 20, "lirc_mode2", "BPF_PROG_TYPE_LIRC_MODE2";
        SkReuseport = 21, "sk_reuseport", "BPF_PROG_TYPE_SK_REUSEPORT";
        FlowDissector = 22, "flow_dissector", "BPF_PROG_TYPE_FLOW_DISSECTOR";
        CgroupSysctl = 23, "cgroup_sysctl", "BPF_PROG_TYPE_CGROUP_SYSCTL";
        RawTracepointWritable = 24, "raw_tracepoint_writable", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE";
        CgroupSockopt = 25, "cgroup_sockopt", "BPF_PROG_TYPE_CGROUP_SOCKOPT";
        Tracing = 26, "tracing", "BPF_PROG_TYPE_TRACING";
        StructOps = 27, "struct_ops", "BPF_PROG_TYPE_STRUCT_OPS";
        Ext = 28, "ext", "BPF_PROG_TYPE_EXT";
        Lsm = 29, "lsm", "BPF_PROG_TYPE_LSM";
        SkLookup = 30, "sk_lookup", "BPF_PROG_TYPE_SK_LOOKUP";
        Syscall = 31, "syscall", "BPF_PROG_TYPE_SYSCALL";
        Netfilter = 32, "netfilter", "BPF_PROG_TYPE_NETFILTER";
    }
}

/// Flags of `BPF_MAP_CREATE` (`map_flags`).
pub mod map_flags {
    constants! {
        NO_PREALLOC "BPF_F_NO_PREALLOC": u32 = 1 << 0;
        NO_COMMON_LRU "BPF_F_NO_COMMON_LRU": u32 = 1 << 1;
        NUMA_NODE "BPF_F_NUMA_NODE": u32 = 1 << 2;
        RDONLY "BPF_F_RDONLY": u32 = 1 << 3;
        WRONLY "BPF_F_WRONLY": u32 = 1 << 4;
        STACK_BUILD_ID "BPF_F_STACK_BUILD_ID": u32 = 1 << 5;
        ZERO_SEED "BPF_F_ZERO_SEED": u32 = 1 << 6;
        RDONLY_PROG "BPF_F_RDONLY_PROG": u32 = 1 << 7;
        WRONLY_PROG "BPF_F_WRONLY_PROG": u32 = 1 << 8;
        CLONE "BPF_F_CLONE": u32 = 1 << 9;
        MMAPABLE "BPF_F_MMAPABLE": u32 = 1 << 10;
        PRESERVE_ELEMS "BPF_F_PRESERVE_ELEMS": u32 = 1 << 11;
        INNER_MAP "BPF_F_INNER_MAP": u32 = 1 << 12;
    }
}

/// Flags of `BPF_MAP_UPDATE_ELEM`.
pub mod elem_flags {
    constants! {
        ANY "BPF_ANY": u64 = 0;
        NOEXIST "BPF_NOEXIST": u64 = 1;
        EXIST "BPF_EXIST": u64 = 2;
        F_LOCK "BPF_F_LOCK": u64 = 4;
    }
}

/// Flags of `BPF_PROG_LOAD` (`prog_flags`).
pub mod prog_flags {
    constants! {
        STRICT_ALIGNMENT "BPF_F_STRICT_ALIGNMENT": u32 = 1 << 0;
        ANY_ALIGNMENT "BPF_F_ANY_ALIGNMENT": u32 = 1 << 1;
        TEST_RND_HI32 "BPF_F_TEST_RND_HI32": u32 = 1 << 2;
        TEST_STATE_FREQ "BPF_F_TEST_STATE_FREQ": u32 = 1 << 3;
        SLEEPABLE "BPF_F_SLEEPABLE": u32 = 1 << 4;
        XDP_HAS_FRAGS "BPF_F_XDP_HAS_FRAGS": u32 = 1 << 5;
        XDP_DEV_BOUND_ONLY "BPF_F_XDP_DEV_BOUND_ONLY": u32 = 1 << 6;
        TEST_REG_INVARIANTS "BPF_F_TEST_REG_INVARIANTS": u32 = 1 << 7;
    }
}

/// Return values of an XDP program (`enum xdp_action`).
pub mod xdp_action {
    constants! {
        ABORTED "XDP_ABORTED": u32 = 0;
        DROP "XDP_DROP": u32 = 1;
        PASS "XDP_PASS": u32 = 2;
        TX "XDP_TX": u32 = 3;
        REDIRECT "XDP_REDIRECT": u32 = 4;
    }
}

/// Return values of a classifier or action (`TC_ACT_…`), as far as they matter
/// here.
pub mod tc_action {
    constants! {
        SHOT "TC_ACT_SHOT": u32 = 2;
        REDIRECT "TC_ACT_REDIRECT": u32 = 7;
    }
}

/// `enum bpf_attach_type`, as far as it decides about fields, helpers and verdicts.
pub mod attach_type {
    constants! {
        CGROUP_INET_INGRESS "BPF_CGROUP_INET_INGRESS": u32 = 0;
        CGROUP_INET_EGRESS "BPF_CGROUP_INET_EGRESS": u32 = 1;
        INET_SOCK_CREATE "BPF_CGROUP_INET_SOCK_CREATE": u32 = 2;
        CGROUP_SOCK_OPS "BPF_CGROUP_SOCK_OPS": u32 = 3;
        INET4_BIND "BPF_CGROUP_INET4_BIND": u32 = 8;
        INET6_BIND "BPF_CGROUP_INET6_BIND": u32 = 9;
        INET4_CONNECT "BPF_CGROUP_INET4_CONNECT": u32 = 10;
        INET6_CONNECT "BPF_CGROUP_INET6_CONNECT": u32 = 11;
        INET4_POST_BIND "BPF_CGROUP_INET4_POST_BIND": u32 = 12;
        INET6_POST_BIND "BPF_CGROUP_INET6_POST_BIND": u32 = 13;
        UDP4_SENDMSG "BPF_CGROUP_UDP4_SENDMSG": u32 = 14;
        UDP6_SENDMSG "BPF_CGROUP_UDP6_SENDMSG": u32 = 15;
        UDP4_RECVMSG "BPF_CGROUP_UDP4_RECVMSG": u32 = 19;
        UDP6_RECVMSG "BPF_CGROUP_UDP6_RECVMSG": u32 = 20;
        GETSOCKOPT "BPF_CGROUP_GETSOCKOPT": u32 = 21;
        SETSOCKOPT "BPF_CGROUP_SETSOCKOPT": u32 = 22;
        INET4_GETPEERNAME "BPF_CGROUP_INET4_GETPEERNAME": u32 = 29;
        INET6_GETPEERNAME "BPF_CGROUP_INET6_GETPEERNAME": u32 = 30;
        INET4_GETSOCKNAME "BPF_CGROUP_INET4_GETSOCKNAME": u32 = 31;
        INET6_GETSOCKNAME "BPF_CGROUP_INET6_GETSOCKNAME": u32 = 32;
        XDP_DEVMAP "BPF_XDP_DEVMAP": u32 = 33;
        XDP_CPUMAP "BPF_XDP_CPUMAP": u32 = 35;
        XDP "BPF_XDP": u32 = 37;
        NETFILTER "BPF_NETFILTER": u32 = 45;
        TCX_INGRESS "BPF_TCX_INGRESS": u32 = 46;
        TCX_EGRESS "BPF_TCX_EGRESS": u32 = 47;
        INET_SOCK_RELEASE "BPF_CGROUP_INET_SOCK_RELEASE": u32 = 34;
        SK_LOOKUP "BPF_SK_LOOKUP": u32 = 36;
        SK_REUSEPORT_SELECT "BPF_SK_REUSEPORT_SELECT": u32 = 39;
        SK_REUSEPORT_SELECT_OR_MIGRATE "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE": u32 = 40;
    }
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
    constants! {
        DATA "data": u32 = 0;
        DATA_END "data_end": u32 = 4;
        DATA_META "data_meta": u32 = 8;
        INGRESS_IFINDEX "ingress_ifindex": u32 = 12;
        RX_QUEUE_INDEX "rx_queue_index": u32 = 16;
        EGRESS_IFINDEX "egress_ifindex": u32 = 20;
    }
    /// Size of the structure.
    pub const SIZE: u32 = 24;
}

/// `struct __sk_buff`: byte offsets of its fields.
pub mod sk_buff {
    constants! {
        LEN "len": u32 = 0;
        PKT_TYPE "pkt_type": u32 = 4;
        MARK "mark": u32 = 8;
        QUEUE_MAPPING "queue_mapping": u32 = 12;
        PROTOCOL "protocol": u32 = 16;
        VLAN_PRESENT "vlan_present": u32 = 20;
        VLAN_TCI "vlan_tci": u32 = 24;
        VLAN_PROTO "vlan_proto": u32 = 28;
        PRIORITY "priority": u32 = 32;
        INGRESS_IFINDEX "ingress_ifindex": u32 = 36;
        IFINDEX "ifindex": u32 = 40;
        TC_INDEX "tc_index": u32 = 44;
        /// Five 32-bit words.
        CB "cb": u32 = 48;
        HASH "hash": u32 = 68;
        TC_CLASSID "tc_classid": u32 = 72;
        DATA "data": u32 = 76;
        DATA_END "data_end": u32 = 80;
        NAPI_ID "napi_id": u32 = 84;
        FAMILY "family": u32 = 88;
        REMOTE_IP4 "remote_ip4": u32 = 92;
        LOCAL_IP4 "local_ip4": u32 = 96;
        REMOTE_IP6 "remote_ip6": u32 = 100;
        LOCAL_IP6 "local_ip6": u32 = 116;
        REMOTE_PORT "remote_port": u32 = 132;
        LOCAL_PORT "local_port": u32 = 136;
        DATA_META "data_meta": u32 = 140;
        FLOW_KEYS "flow_keys": u32 = 144;
        TSTAMP "tstamp": u32 = 152;
        WIRE_LEN "wire_len": u32 = 160;
        GSO_SEGS "gso_segs": u32 = 164;
        SK "sk": u32 = 168;
        GSO_SIZE "gso_size": u32 = 176;
        TSTAMP_TYPE "tstamp_type": u32 = 180;
        HWTSTAMP "hwtstamp": u32 = 184;
    }
    /// Size of the structure.
    pub const SIZE: u32 = 192;
}
