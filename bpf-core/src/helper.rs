//! Prototypes of the helper functions.
//!
//! Which program types offer a helper, and what it asks of its arguments, are
//! facts of Linux 6.18 (`bpf_func_proto` of each helper and the `func_proto`
//! tables of the program types).
use crate::uapi::ProgType;

/// What a helper asks of one argument (the kernel's `ARG_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Any initialised register.
    Anything,
    /// A map.
    MapPtr,
    /// Memory of the map's key size, read.
    MapKey,
    /// Memory of the map's value size, read.
    MapValue,
    /// Memory of the map's value size, written.
    UninitMapValue,
    /// The program's context.
    Ctx,
    /// Memory that is read; its size follows.
    Mem,
    /// As [`Arg::Mem`], or null.
    MemOrNull,
    /// Memory that is written; its size follows.
    UninitMem,
    /// As [`Arg::UninitMem`], or null.
    UninitMemOrNull,
    /// Size of the memory before it, not 0.
    Size,
    /// Size of the memory before it.
    SizeOrZero,
    /// A constant: bytes to allocate.
    AllocSize,
    /// Memory that was allocated, to be given back.
    AllocMem,
    /// A spin lock in a map value.
    SpinLock,
    /// A function of the program.
    Func,
    /// Stack of the program, or null.
    StackOrNull,
    /// Eight aligned bytes that are written.
    Long,
    /// A zero-terminated string in a read-only map.
    ConstStr,
}

/// What a helper returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Int,
    /// Nothing: R0 may not be read.
    Void,
    /// A pointer to a value of the map, or null.
    MapValueOrNull,
    /// Allocated memory that must be given back, or null.
    AllocMemOrNull,
}

/// The prototype of one helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proto {
    /// R1 to R5.
    pub args: &'static [Arg],
    /// R0.
    pub ret: Ret,
    /// Packet pointers are stale after the call.
    pub changes_packet: bool,
    /// Packet memory may be given as an argument.
    pub packet_args: bool,
}

/// The prototype of a helper that bpfvisor has.
pub fn proto(id: u32) -> Option<Proto> {
    use Arg::*;
    use Ret::*;
    let (args, ret): (&'static [Arg], Ret) = match id {
        1 => (&[MapPtr, MapKey], MapValueOrNull),
        2 => (&[MapPtr, MapKey, MapValue, Anything], Int),
        3 => (&[MapPtr, MapKey], Int),
        5 | 7 | 8 | 42 | 118 | 125 | 160 | 208 => (&[], Int),
        6 => (&[Mem, Size], Int),
        9 => (&[Ctx, Anything, Mem, Size, Anything], Int),
        10 | 11 => (&[Ctx, Anything, Anything, Anything, Anything], Int),
        12 => (&[Ctx, MapPtr, Anything], Void),
        18 | 38 | 43 => (&[Ctx, Anything, Anything], Int),
        19 | 34 | 188 => (&[Ctx], Int),
        23 => (&[Anything, Anything], Int),
        25 => (&[Ctx, MapPtr, Anything, Mem, SizeOrZero], Int),
        26 | 189 => (&[Ctx, Anything, UninitMem, Size], Int),
        28 => (
            &[MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything],
            Int,
        ),
        39 | 44 | 54 | 65 => (&[Ctx, Anything], Int),
        50 => (&[Ctx, Anything, Anything, Anything], Int),
        51 => (&[MapPtr, Anything, Anything], Int),
        68 => (&[Ctx, Anything, UninitMem, Size, Anything], Int),
        87 => (&[MapPtr, MapValue, Anything], Int),
        88 | 89 => (&[MapPtr, UninitMapValue], Int),
        93 | 94 => (&[SpinLock], Void),
        105 | 106 => (&[Mem, Size, Anything, Long], Int),
        130 => (&[MapPtr, Mem, SizeOrZero, Anything], Int),
        131 => (&[MapPtr, AllocSize, Anything], AllocMemOrNull),
        132 | 133 => (&[AllocMem, Anything], Void),
        134 => (&[MapPtr, Anything], Int),
        164 => (&[MapPtr, Func, StackOrNull, Anything], Int),
        165 => (
            &[UninitMemOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero],
            Int,
        ),
        177 => (&[Mem, Size, MemOrNull, SizeOrZero], Int),
        181 => (&[Anything, Func, StackOrNull, Anything], Int),
        182 => (&[Mem, Size, ConstStr], Int),
        190 => (&[Ctx, Anything, Mem, Size], Int),
        195 => (&[MapPtr, MapKey, Anything], MapValueOrNull),
        _ => return None,
    };
    Some(Proto {
        args,
        ret,
        changes_packet: changes_packet(id),
        packet_args: packet_args(id),
    })
}

fn changes_packet(id: u32) -> bool {
    matches!(
        id,
        9 | 10 | 11 | 12 | 18 | 19 | 38 | 39 | 43 | 44 | 50 | 54 | 65
    )
}

fn packet_args(id: u32) -> bool {
    matches!(id, 1 | 2 | 3 | 28 | 87 | 195)
}

/// Whether only programs under a GPL compatible license may call it.
pub fn gpl_only(id: u32) -> bool {
    matches!(
        id,
        6 | 22
            | 25
            | 35
            | 55
            | 69
            | 100
            | 110
            | 112
            | 113
            | 114
            | 115
            | 158
            | 163
            | 165
            | 169
            | 170
            | 171
            | 172
            | 175
            | 176
            | 177
            | 191
            | 204
            | 205
            | 206
            | 207
    )
}

/// Whether Linux offers the helper to programs of this type.
///
/// [`ProgType::Flat`] is ours: it gets the helpers that need neither packet nor
/// context.
pub fn offered(id: u32, to: ProgType) -> bool {
    match to {
        ProgType::SocketFilter => {
            matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22 | 25..=26 | 35 | 37 | 42 | 46..=47 | 55 | 68 | 80 | 87..=89 | 93..=94 | 105..=106 | 109 | 112..=115 | 117..=118 | 120 | 122..=123 | 125 | 130..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 164..=165 | 169..=172 | 175..=178 | 180..=182 | 191 | 194..=203 | 208..=211)
        }
        ProgType::SchedCls | ProgType::SchedAct => {
            matches!(id, 1..=3 | 5..=26 | 28..=35 | 37..=43 | 46..=48 | 50 | 55 | 66 | 68..=69 | 79..=80 | 83..=89 | 93..=100 | 105..=110 | 112..=115 | 117..=118 | 120 | 122..=125 | 130..=141 | 148..=149 | 151..=158 | 160 | 163..=165 | 169..=172 | 175..=178 | 180..=182 | 191..=192 | 194..=211)
        }
        ProgType::Xdp => {
            matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22..=23 | 25 | 28 | 35 | 37 | 42 | 44 | 51 | 54..=55 | 65 | 69 | 80 | 84..=89 | 93..=94 | 99..=100 | 105..=106 | 109..=110 | 112..=115 | 117..=118 | 120 | 123 | 125 | 130..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 163..=165 | 169..=172 | 175..=178 | 180..=182 | 188..=191 | 194..=211)
        }
        ProgType::Flat => flat(id),
        _ => false,
    }
}

fn flat(id: u32) -> bool {
    let plain = proto(id).is_some_and(|p| !p.args.contains(&Arg::Ctx));
    plain && offered(id, ProgType::SocketFilter)
}

/// The kernel's name of a helper (without `bpf_`), `unknown` where there is none.
pub fn name(id: u32) -> &'static str {
    NAMES
        .get((id as usize).wrapping_sub(1))
        .copied()
        .unwrap_or("unknown")
}

/// Whether Linux has a helper of this number, for whatever program type.
pub fn exists(id: u32) -> bool {
    id != 0 && id as usize <= NAMES.len()
}

const NAMES: &[&str] = &[
    "map_lookup_elem",
    "map_update_elem",
    "map_delete_elem",
    "probe_read",
    "ktime_get_ns",
    "trace_printk",
    "get_prandom_u32",
    "get_smp_processor_id",
    "skb_store_bytes",
    "l3_csum_replace",
    "l4_csum_replace",
    "tail_call",
    "clone_redirect",
    "get_current_pid_tgid",
    "get_current_uid_gid",
    "get_current_comm",
    "get_cgroup_classid",
    "skb_vlan_push",
    "skb_vlan_pop",
    "skb_get_tunnel_key",
    "skb_set_tunnel_key",
    "perf_event_read",
    "redirect",
    "get_route_realm",
    "perf_event_output",
    "skb_load_bytes",
    "get_stackid",
    "csum_diff",
    "skb_get_tunnel_opt",
    "skb_set_tunnel_opt",
    "skb_change_proto",
    "skb_change_type",
    "skb_under_cgroup",
    "get_hash_recalc",
    "get_current_task",
    "probe_write_user",
    "current_task_under_cgroup",
    "skb_change_tail",
    "skb_pull_data",
    "csum_update",
    "set_hash_invalid",
    "get_numa_node_id",
    "skb_change_head",
    "xdp_adjust_head",
    "probe_read_str",
    "get_socket_cookie",
    "get_socket_uid",
    "set_hash",
    "setsockopt",
    "skb_adjust_room",
    "redirect_map",
    "sk_redirect_map",
    "sock_map_update",
    "xdp_adjust_meta",
    "perf_event_read_value",
    "perf_prog_read_value",
    "getsockopt",
    "override_return",
    "sock_ops_cb_flags_set",
    "msg_redirect_map",
    "msg_apply_bytes",
    "msg_cork_bytes",
    "msg_pull_data",
    "bind",
    "xdp_adjust_tail",
    "skb_get_xfrm_state",
    "get_stack",
    "skb_load_bytes_relative",
    "fib_lookup",
    "sock_hash_update",
    "msg_redirect_hash",
    "sk_redirect_hash",
    "lwt_push_encap",
    "lwt_seg6_store_bytes",
    "lwt_seg6_adjust_srh",
    "lwt_seg6_action",
    "rc_repeat",
    "rc_keydown",
    "skb_cgroup_id",
    "get_current_cgroup_id",
    "get_local_storage",
    "sk_select_reuseport",
    "skb_ancestor_cgroup_id",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "sk_release",
    "map_push_elem",
    "map_pop_elem",
    "map_peek_elem",
    "msg_push_data",
    "msg_pop_data",
    "rc_pointer_rel",
    "spin_lock",
    "spin_unlock",
    "sk_fullsock",
    "tcp_sock",
    "skb_ecn_set_ce",
    "get_listener_sock",
    "skc_lookup_tcp",
    "tcp_check_syncookie",
    "sysctl_get_name",
    "sysctl_get_current_value",
    "sysctl_get_new_value",
    "sysctl_set_new_value",
    "strtol",
    "strtoul",
    "sk_storage_get",
    "sk_storage_delete",
    "send_signal",
    "tcp_gen_syncookie",
    "skb_output",
    "probe_read_user",
    "probe_read_kernel",
    "probe_read_user_str",
    "probe_read_kernel_str",
    "tcp_send_ack",
    "send_signal_thread",
    "jiffies64",
    "read_branch_records",
    "get_ns_current_pid_tgid",
    "xdp_output",
    "get_netns_cookie",
    "get_current_ancestor_cgroup_id",
    "sk_assign",
    "ktime_get_boot_ns",
    "seq_printf",
    "seq_write",
    "sk_cgroup_id",
    "sk_ancestor_cgroup_id",
    "ringbuf_output",
    "ringbuf_reserve",
    "ringbuf_submit",
    "ringbuf_discard",
    "ringbuf_query",
    "csum_level",
    "skc_to_tcp6_sock",
    "skc_to_tcp_sock",
    "skc_to_tcp_timewait_sock",
    "skc_to_tcp_request_sock",
    "skc_to_udp6_sock",
    "get_task_stack",
    "load_hdr_opt",
    "store_hdr_opt",
    "reserve_hdr_opt",
    "inode_storage_get",
    "inode_storage_delete",
    "d_path",
    "copy_from_user",
    "snprintf_btf",
    "seq_printf_btf",
    "skb_cgroup_classid",
    "redirect_neigh",
    "per_cpu_ptr",
    "this_cpu_ptr",
    "redirect_peer",
    "task_storage_get",
    "task_storage_delete",
    "get_current_task_btf",
    "bprm_opts_set",
    "ktime_get_coarse_ns",
    "ima_inode_hash",
    "sock_from_file",
    "check_mtu",
    "for_each_map_elem",
    "snprintf",
    "sys_bpf",
    "btf_find_by_name_kind",
    "sys_close",
    "timer_init",
    "timer_set_callback",
    "timer_start",
    "timer_cancel",
    "get_func_ip",
    "get_attach_cookie",
    "task_pt_regs",
    "get_branch_snapshot",
    "trace_vprintk",
    "skc_to_unix_sock",
    "kallsyms_lookup_name",
    "find_vma",
    "loop",
    "strncmp",
    "get_func_arg",
    "get_func_ret",
    "get_func_arg_cnt",
    "get_retval",
    "set_retval",
    "xdp_get_buff_len",
    "xdp_load_bytes",
    "xdp_store_bytes",
    "copy_from_user_task",
    "skb_set_tstamp",
    "ima_file_hash",
    "kptr_xchg",
    "map_lookup_percpu_elem",
    "skc_to_mptcp_sock",
    "dynptr_from_mem",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
    "dynptr_read",
    "dynptr_write",
    "dynptr_data",
    "tcp_raw_gen_syncookie_ipv4",
    "tcp_raw_gen_syncookie_ipv6",
    "tcp_raw_check_syncookie_ipv4",
    "tcp_raw_check_syncookie_ipv6",
    "ktime_get_tai_ns",
    "user_ringbuf_drain",
    "cgrp_storage_get",
    "cgrp_storage_delete",
];
