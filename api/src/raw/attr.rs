//! `union bpf_attr` of `linux/bpf.h` (Linux 6.18): the members that commands
//! use, and the structures of `BPF_OBJ_GET_INFO_BY_FD`.
//!
//! All numbers are in the host's byte order. A test compares every offset with
//! the header that is installed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of the union.
pub const SIZE: usize = 168;

/// A member of the union.
pub trait Attr: FromBytes + KnownLayout + Immutable {
    /// Where the last field ends; behind it there are only zeros.
    const END: usize;
}

/// Declares plain structures in the layout of C; those that are members of the union say
/// up to where they reach.
macro_rules! layouts {
    ($($(#[$m:meta])* $name:ident $(up to $end:tt)? {
        $($f:ident: $t:ty,)*
    })*) => {$(
        $(#[$m])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $(
            #[doc = concat!("`", stringify!($f), "`.")]
            pub $f: $t,
        )* }

        $(impl Attr for $name { const END: usize = $end; })?

        impl $name {
            /// Offset and size of each field, by the kernel's name.
            pub const FIELDS: &[(&str, usize, usize)] = &[
                $((stringify!($f), core::mem::offset_of!($name, $f), size_of::<$t>()),)*
            ];
        }
    )*};
}

layouts! {
    /// `BPF_MAP_CREATE`.
    MapCreate up to 92 {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: [u8; 16],
        map_ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
        btf_vmlinux_value_type_id: u32,
        map_extra: u64,
        value_type_btf_obj_fd: i32,
        map_token_fd: i32,
        excl_prog_hash: u64,
        excl_prog_hash_size: u32,
        _pad: u32,
    }

    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY` (whose `next_key` is `value`)
    /// and `BPF_MAP_FREEZE`.
    Elem up to 32 {
        map_fd: u32,
        _pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }

    /// `BPF_MAP_*_BATCH`: `batch`.
    Batch up to 56 {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }

    /// `BPF_PROG_LOAD`.
    ProgLoad up to SIZE {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
        line_info_rec_size: u32,
        line_info: u64,
        line_info_cnt: u32,
        attach_btf_id: u32,
        attach_prog_fd: u32,
        core_relo_cnt: u32,
        fd_array: u64,
        core_relos: u64,
        core_relo_rec_size: u32,
        log_true_size: u32,
        prog_token_fd: i32,
        fd_array_cnt: u32,
        signature: u64,
        signature_size: u32,
        keyring_id: i32,
    }

    /// `BPF_PROG_TEST_RUN`: `test`.
    TestRun up to 76 {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        _pad: u32,
    }

    /// `BPF_BTF_LOAD`.
    BtfLoad up to 40 {
        btf: u64,
        btf_log_buf: u64,
        btf_size: u32,
        btf_log_size: u32,
        btf_log_level: u32,
        btf_log_true_size: u32,
        btf_flags: u32,
        btf_token_fd: i32,
    }

    /// `BPF_OBJ_GET_INFO_BY_FD`: `info`.
    GetInfo up to 16 {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }

    /// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
    ObjPin up to 20 {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
        path_fd: i32,
        _pad: u32,
    }

    /// `BPF_*_GET_NEXT_ID`, and `BPF_*_GET_FD_BY_ID`, whose id is `start_id`.
    GetId up to 12 {
        start_id: u32,
        next_id: u32,
        open_flags: u32,
    }

    /// `BPF_PROG_BIND_MAP`: `prog_bind_map`.
    BindMap up to 12 {
        prog_fd: u32,
        map_fd: u32,
        flags: u32,
    }

    /// `BPF_PROG_STREAM_READ_BY_FD`: `prog_stream_read`.
    StreamRead up to 20 {
        stream_buf: u64,
        stream_buf_len: u32,
        stream_id: u32,
        prog_fd: u32,
        _pad: u32,
    }

    /// `BPF_LINK_CREATE`: `link_create`.
    LinkCreate up to 60 { // of the longest kind of link
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }

    /// `BPF_LINK_UPDATE`: `link_update`.
    LinkUpdate up to 16 {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }

    /// `BPF_LINK_DETACH`: `link_detach`.
    LinkDetach up to 4 {
        link_fd: u32,
    }

    /// `struct bpf_btf_info`.
    BtfInfo {
        btf: u64,
        btf_size: u32,
        id: u32,
        name: u64,
        name_len: u32,
        kernel_btf: u32,
    }

    /// `struct bpf_link_info` of an XDP link.
    LinkInfo {
        r#type: u32,
        id: u32,
        prog_id: u32,
        _pad: u32,
        _ifindex: u32,
        _rest: [u32; 11],
    }

    /// `BPF_ENABLE_STATS`: `enable_stats`.
    EnableStats up to 4 {
        r#type: u32,
    }

    /// `struct bpf_map_info`.
    MapInfo {
        r#type: u32,
        id: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        name: [u8; 16],
        ifindex: u32,
        btf_vmlinux_value_type_id: u32,
        netns_dev: u64,
        netns_ino: u64,
        btf_id: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
        btf_vmlinux_id: u32,
        map_extra: u64,
        hash: u64,
        hash_size: u32,
        _pad: u32,
    }

    /// `struct bpf_prog_info`. `_gpl_compatible` is a bit field in C: bit 0.
    ProgInfo {
        r#type: u32,
        id: u32,
        tag: [u8; 8],
        jited_prog_len: u32,
        xlated_prog_len: u32,
        jited_prog_insns: u64,
        xlated_prog_insns: u64,
        load_time: u64,
        created_by_uid: u32,
        nr_map_ids: u32,
        map_ids: u64,
        name: [u8; 16],
        ifindex: u32,
        _gpl_compatible: u32,
        netns_dev: u64,
        netns_ino: u64,
        nr_jited_ksyms: u32,
        nr_jited_func_lens: u32,
        jited_ksyms: u64,
        jited_func_lens: u64,
        btf_id: u32,
        func_info_rec_size: u32,
        func_info: u64,
        nr_func_info: u32,
        nr_line_info: u32,
        line_info: u64,
        jited_line_info: u64,
        nr_jited_line_info: u32,
        line_info_rec_size: u32,
        jited_line_info_rec_size: u32,
        nr_prog_tags: u32,
        prog_tags: u64,
        run_time_ns: u64,
        run_cnt: u64,
        recursion_misses: u64,
        verified_insns: u32,
        attach_btf_obj_id: u32,
        attach_btf_id: u32,
        _pad: u32,
    }
}

const _: () = assert!(size_of::<ProgLoad>() == SIZE && size_of::<MapInfo>() == 104);
const _: () = assert!(size_of::<ProgInfo>() == 232 && size_of::<TestRun>() == 80);
