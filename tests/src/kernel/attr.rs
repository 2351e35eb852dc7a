//! Members of `union bpf_attr`, as of Linux 6.18. Trailing fields that are not
//! listed are zero to the kernel.

/// `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct MapCreate {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub map_flags: u32,
    pub inner_map_fd: u32,
    pub numa_node: u32,
    pub map_name: [u8; 16],
    pub map_ifindex: u32,
    pub btf_fd: u32,
    pub btf_key_type_id: u32,
    pub btf_value_type_id: u32,
    pub btf_vmlinux_value_type_id: u32,
    pub map_extra: u64,
}

/// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY` and `BPF_MAP_FREEZE`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Elem {
    pub map_fd: u32,
    pub pad: u32,
    pub key: u64,
    /// Or the next key.
    pub value: u64,
    pub flags: u64,
}

/// `BPF_MAP_*_BATCH`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Batch {
    pub in_batch: u64,
    pub out_batch: u64,
    pub keys: u64,
    pub values: u64,
    pub count: u32,
    pub map_fd: u32,
    pub elem_flags: u64,
    pub flags: u64,
}

/// `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ProgLoad {
    pub prog_type: u32,
    pub insn_cnt: u32,
    pub insns: u64,
    pub license: u64,
    pub log_level: u32,
    pub log_size: u32,
    pub log_buf: u64,
    pub kern_version: u32,
    pub prog_flags: u32,
    pub prog_name: [u8; 16],
    pub prog_ifindex: u32,
    pub expected_attach_type: u32,
    pub prog_btf_fd: u32,
    pub func_info_rec_size: u32,
    pub func_info: u64,
    pub func_info_cnt: u32,
    pub line_info_rec_size: u32,
    pub line_info: u64,
    pub line_info_cnt: u32,
    pub attach_btf_id: u32,
    pub attach_prog_fd: u32,
    pub core_relo_cnt: u32,
    pub fd_array: u64,
    pub core_relos: u64,
    pub core_relo_rec_size: u32,
    pub log_true_size: u32,
    pub prog_token_fd: i32,
    pub fd_array_cnt: u32,
}

/// `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TestRun {
    pub prog_fd: u32,
    pub retval: u32,
    pub data_size_in: u32,
    pub data_size_out: u32,
    pub data_in: u64,
    pub data_out: u64,
    pub repeat: u32,
    pub duration: u32,
    pub ctx_size_in: u32,
    pub ctx_size_out: u32,
    pub ctx_in: u64,
    pub ctx_out: u64,
    pub flags: u32,
    pub cpu: u32,
    pub batch_size: u32,
    pub pad: u32,
}

/// `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct BtfLoad {
    pub btf: u64,
    pub log_buf: u64,
    pub size: u32,
    pub log_size: u32,
    pub log_level: u32,
    pub pad: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct GetInfo {
    pub bpf_fd: u32,
    pub info_len: u32,
    pub info: u64,
}

/// Byte offsets in `struct bpf_prog_info`.
pub mod prog_info {
    pub const TAG: usize = 8;
    pub const JITED_LEN: usize = 16;
    pub const XLATED_LEN: usize = 20;
    pub const RUN_TIME_NS: usize = 192;
    pub const RUN_CNT: usize = 200;
    pub const VERIFIED_INSNS: usize = 216;
    pub const SIZE: usize = 232;
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(offset_of!(MapCreate, map_extra) == 64 && size_of::<MapCreate>() == 72);
    assert!(size_of::<Elem>() == 32 && size_of::<Batch>() == 56);
    assert!(offset_of!(ProgLoad, fd_array) == 120 && size_of::<ProgLoad>() == 152);
    assert!(offset_of!(TestRun, ctx_in) == 48 && size_of::<TestRun>() == 80);
    assert!(size_of::<GetInfo>() == 16);
};
