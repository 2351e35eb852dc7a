//! What to create: maps and programs, described.

use crate::Map;
use crate::raw::MapTypes;
use crate::types::{Btf, TypeInfo};
use bpf_core::insn::Insn;
use bpf_core::program::{FlatMemory, FuncInfo, LineInfo};
use bpf_core::uapi::{MapType, ProgType, map_flags, prog_flags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A map to create: the fields of `BPF_MAP_CREATE`.
#[derive(Clone, Debug)]
#[doc(alias = "BPF_MAP_CREATE")]
pub struct MapSpec {
    /// Name, at most 15 bytes of letters, digits, `_` and `.`.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: MapType,
    /// Bytes per key.
    pub key_size: u32,
    /// Bytes per value.
    pub value_size: u32,
    /// Capacity in elements (in bytes for a ring buffer).
    pub max_entries: u32,
    /// Bits of [`map_flags`].
    pub flags: u32,
    /// `map_extra`.
    pub extra: u64,
    /// Offset in the value of a `struct bpf_spin_lock`.
    pub spin_lock_off: Option<u32>,
    /// The template of a map of maps.
    pub inner: Option<Map>,
    pub(crate) types: Option<MapTypes>,
}

impl MapSpec {
    /// A map of any type.
    pub fn new(name: &str, map_type: MapType, key: u32, value: u32, max_entries: u32) -> Self {
        Self {
            name: name.into(),
            map_type,
            key_size: key,
            value_size: value,
            max_entries,
            flags: 0,
            extra: 0,
            spin_lock_off: None,
            inner: None,
            types: None,
        }
    }

    /// A hash table.
    #[doc(alias = "BPF_MAP_TYPE_HASH")]
    pub fn hash(name: &str, key: u32, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::Hash, key, value, max_entries)
    }

    /// An array with 32-bit indices.
    #[doc(alias = "BPF_MAP_TYPE_ARRAY")]
    pub fn array(name: &str, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::Array, 4, value, max_entries)
    }

    /// A hash table with one value per vCPU.
    #[doc(alias = "BPF_MAP_TYPE_PERCPU_HASH")]
    pub fn percpu_hash(name: &str, key: u32, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::PercpuHash, key, value, max_entries)
    }

    /// An array with one value per vCPU.
    #[doc(alias = "BPF_MAP_TYPE_PERCPU_ARRAY")]
    pub fn percpu_array(name: &str, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::PercpuArray, 4, value, max_entries)
    }

    /// A hash table that drops the least recently used element when full.
    #[doc(alias = "BPF_MAP_TYPE_LRU_HASH")]
    pub fn lru_hash(name: &str, key: u32, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::LruHash, key, value, max_entries)
    }

    /// [`MapSpec::lru_hash`] with one value per vCPU.
    #[doc(alias = "BPF_MAP_TYPE_LRU_PERCPU_HASH")]
    pub fn lru_percpu_hash(name: &str, key: u32, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::LruPercpuHash, key, value, max_entries)
    }

    /// A longest-prefix-match trie. The key is a 32-bit prefix length and the
    /// data, `key` bytes together. Sets `BPF_F_NO_PREALLOC`, which Linux demands.
    #[doc(alias = "BPF_MAP_TYPE_LPM_TRIE")]
    pub fn lpm_trie(name: &str, key: u32, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::LpmTrie, key, value, max_entries).flags(map_flags::NO_PREALLOC)
    }

    /// Targets of tail calls.
    #[doc(alias = "BPF_MAP_TYPE_PROG_ARRAY")]
    pub fn prog_array(name: &str, max_entries: u32) -> Self {
        Self::new(name, MapType::ProgArray, 4, 4, max_entries)
    }

    /// An array of maps like `inner`.
    #[doc(alias = "BPF_MAP_TYPE_ARRAY_OF_MAPS")]
    pub fn array_of_maps(name: &str, inner: &Map, max_entries: u32) -> Self {
        Self::new(name, MapType::ArrayOfMaps, 4, 4, max_entries).inner(inner)
    }

    /// A hash table of maps like `inner`.
    #[doc(alias = "BPF_MAP_TYPE_HASH_OF_MAPS")]
    pub fn hash_of_maps(name: &str, key: u32, inner: &Map, max_entries: u32) -> Self {
        Self::new(name, MapType::HashOfMaps, key, 4, max_entries).inner(inner)
    }

    /// First in, first out.
    #[doc(alias = "BPF_MAP_TYPE_QUEUE")]
    pub fn queue(name: &str, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::Queue, 0, value, max_entries)
    }

    /// Last in, first out.
    #[doc(alias = "BPF_MAP_TYPE_STACK")]
    pub fn stack(name: &str, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::Stack, 0, value, max_entries)
    }

    /// A ring buffer of `bytes`, a power of two and a multiple of 4096.
    #[doc(alias = "BPF_MAP_TYPE_RINGBUF")]
    pub fn ringbuf(name: &str, bytes: u32) -> Self {
        Self::new(name, MapType::Ringbuf, 0, 0, bytes)
    }

    /// Streams of events from programs, by vCPU; see
    /// [`Map::event_stream`](crate::Map::event_stream).
    #[doc(alias = "BPF_MAP_TYPE_PERF_EVENT_ARRAY")]
    pub fn perf_event_array(name: &str, max_entries: u32) -> Self {
        Self::new(name, MapType::PerfEventArray, 4, 4, max_entries)
    }

    /// A set of values that may claim to hold what it doesn't, about once in 30
    /// times when `max_entries` were added. [`MapSpec::extra`] sets the number of
    /// hash functions, 1 to 15.
    #[doc(alias = "BPF_MAP_TYPE_BLOOM_FILTER")]
    pub fn bloom_filter(name: &str, value: u32, max_entries: u32) -> Self {
        Self::new(name, MapType::BloomFilter, 0, value, max_entries)
    }

    /// Sets these [`map_flags`] besides those that are set.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// Sets `map_extra`.
    #[must_use]
    pub fn extra(mut self, extra: u64) -> Self {
        self.extra = extra;
        self
    }

    /// Says that the value has a `struct bpf_spin_lock` at this offset.
    #[must_use]
    pub fn spin_lock(mut self, offset: u32) -> Self {
        self.spin_lock_off = Some(offset);
        self
    }

    /// Sets the template of a map of maps.
    #[must_use]
    pub fn inner(mut self, map: &Map) -> Self {
        self.inner = Some(map.clone());
        self
    }
}

/// A program to load: the fields of `BPF_PROG_LOAD`.
///
/// Maps are named by fd, in any of Linux's spellings: a wide load with
/// `BPF_PSEUDO_MAP_FD` or `_MAP_VALUE`, `_MAP_IDX` or `_IDX_VALUE` with
/// [`fd_array`](Self::fd_array), or by [`fixup`](Self::fixup).
#[derive(Clone, Debug)]
#[doc(alias = "BPF_PROG_LOAD")]
pub struct ProgramSpec<'a> {
    pub(crate) insns: Vec<Insn>,
    pub(crate) prog_type: ProgType,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
    pub(crate) license: String,
    pub(crate) name: String,
    pub(crate) fixups: Vec<(u32, RawFd)>,
    pub(crate) fd_array: Vec<RawFd>,
    /// Maps that the program keeps alive without naming them.
    pub(crate) bind: Vec<RawFd>,
    pub(crate) log_level: u32,
    pub(crate) log_size: u32,
    pub(crate) flat: FlatMemory,
    pub(crate) types: TypeInfo,
    /// What `fixups` and `fd_array` borrow.
    pub(crate) _fds: std::marker::PhantomData<BorrowedFd<'a>>,
}

impl<'a> ProgramSpec<'a> {
    /// A program of any type.
    pub fn new(prog_type: ProgType, insns: impl Into<Vec<Insn>>) -> Self {
        Self {
            insns: insns.into(),
            prog_type,
            attach_type: 0,
            flags: 0,
            license: String::new(),
            name: String::new(),
            fixups: Vec::new(),
            fd_array: Vec::new(),
            bind: Vec::new(),
            log_level: 0,
            log_size: 1 << 20,
            flat: FlatMemory::default(),
            types: TypeInfo::default(),
            _fds: std::marker::PhantomData,
        }
    }

    /// A program over a plain byte buffer: R1 its address, R2 its length.
    pub fn flat(insns: impl Into<Vec<Insn>>) -> Self {
        Self::new(ProgType::Flat, insns)
    }

    /// An XDP program over Ethernet frames.
    #[doc(alias = "BPF_PROG_TYPE_XDP")]
    pub fn xdp(insns: impl Into<Vec<Insn>>) -> Self {
        Self::new(ProgType::Xdp, insns)
    }

    /// A socket filter.
    #[doc(alias = "BPF_PROG_TYPE_SOCKET_FILTER")]
    pub fn socket_filter(insns: impl Into<Vec<Insn>>) -> Self {
        Self::new(ProgType::SocketFilter, insns)
    }

    /// A traffic-control classifier.
    #[doc(alias = "BPF_PROG_TYPE_SCHED_CLS")]
    pub fn sched_cls(insns: impl Into<Vec<Insn>>) -> Self {
        Self::new(ProgType::SchedCls, insns)
    }

    /// License string: GPL-only helpers need a GPL-compatible one.
    #[must_use]
    pub fn license(mut self, license: &str) -> Self {
        self.license = license.into();
        self
    }

    /// Name, at most 15 bytes of letters, digits, `_` and `.`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The instruction (a wide load or a `mov` immediate) loads this map.
    #[must_use]
    pub fn fixup(self, insn: u32, map: &'a impl AsFd) -> Self {
        self.fixup_fd(insn, map.as_fd().as_raw_fd())
    }

    /// [`ProgramSpec::fixup`] with a bare fd number.
    #[must_use]
    pub fn fixup_fd(mut self, insn: u32, fd: RawFd) -> Self {
        self.fixups.push((insn, fd));
        self
    }

    /// The fds that `BPF_PSEUDO_MAP_IDX` and `_IDX_VALUE` index.
    #[must_use]
    pub fn fd_array(mut self, fds: impl IntoIterator<Item = BorrowedFd<'a>>) -> Self {
        self.fd_array = fds.into_iter().map(|fd| fd.as_raw_fd()).collect();
        self
    }

    /// `log_level`: 1 branch states, 2 every instruction, 4 statistics.
    #[must_use]
    pub fn log_level(mut self, level: u32) -> Self {
        self.log_level = level;
        self
    }

    /// Most bytes of log to keep; 1 MiB unless told.
    #[must_use]
    pub fn log_size(mut self, bytes: u32) -> Self {
        self.log_size = bytes;
        self
    }

    /// Flat programs: every run brings at least `min` and at most `max` bytes.
    #[must_use]
    pub fn flat_memory(mut self, min: u32, max: u32) -> Self {
        self.flat = FlatMemory { min, max };
        self
    }

    /// `expected_attach_type`.
    #[must_use]
    pub fn attach_type(mut self, attach_type: u32) -> Self {
        self.attach_type = attach_type;
        self
    }

    /// Sets these [`prog_flags`] besides those that are set.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// `BPF_F_STRICT_ALIGNMENT`.
    #[must_use]
    pub fn strict_alignment(self) -> Self {
        self.flags(prog_flags::STRICT_ALIGNMENT)
    }

    /// What BTF says of the program: a type for each function, or none at all, and
    /// source lines, at least one for each function, or none at all. Functions that
    /// it calls global are verified on their own, for any arguments that fit their
    /// types.
    #[doc(alias = "prog_btf_fd")]
    #[must_use]
    pub fn types(mut self, btf: &Btf, funcs: Vec<FuncInfo>, lines: Vec<LineInfo>) -> Self {
        self.types = TypeInfo {
            btf: Some(btf.object.clone()),
            funcs,
            lines,
        };
        self
    }
}
