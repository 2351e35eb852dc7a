//! What Linux checks when a map is created.
//!
//! One function per family of types, in the order of the kernel's checks, so
//! that the same attributes give the same errno.

use super::error::MapError;
use super::geometry::{Geometry, round8};
use crate::uapi::{MapType, errno, map_flags as f};

/// `KMALLOC_MAX_SIZE`: keys and values of the kernel's hash tables fit in it.
const KMALLOC_MAX: u64 = 4 << 20;
/// `PCPU_MIN_UNIT_SIZE`: the largest per-CPU value.
const PER_CPU_MAX: u64 = 32 << 10;
/// `BPF_F_ACCESS_MASK`.
const ACCESS: u32 = f::RDONLY | f::WRONLY | f::RDONLY_PROG | f::WRONLY_PROG;
/// Bits of `struct htab_elem`'s header, for the size limit.
const HASH_HEADER: u64 = 48;
/// `NR_CPUS` of the kernels that distributions build: the largest CPU map.
const NR_CPUS: u32 = 8192;

/// Checks attributes; `Ok` where Linux would go on to allocate.
pub(super) fn attributes(g: &Geometry) -> Result<(), MapError> {
    use MapType::*;
    match g.map_type {
        Hash | PercpuHash | LruHash | LruPercpuHash | HashOfMaps | DevmapHash | Array
        | PercpuArray | ProgArray | PerfEventArray | ArrayOfMaps | Devmap | Cpumap | Xskmap
        | LpmTrie | Queue | Stack | Ringbuf | BloomFilter => {}
        Unspec => return Err(MapError::invalid("map type 0 is no map")),
        other => return Err(MapError::new(errno::EOPNOTSUPP, missing(other))),
    }
    if g.map_extra != 0 && g.map_type != BloomFilter {
        return Err(MapError::invalid(
            "map_extra must be zero for this map type",
        ));
    }
    need(
        !both(g, f::RDONLY, f::WRONLY),
        "BPF_F_RDONLY and BPF_F_WRONLY exclude each other",
    )?;
    match g.map_type {
        Array | PercpuArray => array(g),
        ProgArray | PerfEventArray | ArrayOfMaps => handle_array(g),
        Devmap | Cpumap | Xskmap => redirect_array(g),
        LpmTrie => lpm(g),
        Queue | Stack => queue(g),
        Ringbuf => ring(g),
        BloomFilter => bloom(g),
        _ => hash(g),
    }
}

/// What a type of map would need, of those that are not here.
fn missing(map_type: MapType) -> &'static str {
    use MapType::*;
    match map_type {
        StackTrace => "it holds stacks of a kernel's tasks, and a VM has none",
        CgroupArray => "its values are cgroups of a kernel",
        CgroupStorage | PercpuCgroupStorage | CgrpStorage => {
            "its values belong to cgroups of a kernel"
        }
        Sockmap | Sockhash | ReuseportSockarray => "its values are sockets of a kernel",
        SkStorage => "its values belong to sockets of a kernel",
        InodeStorage => "its values belong to inodes of a kernel",
        TaskStorage => "its values belong to tasks of a kernel",
        StructOps => "its values are tables of functions that a kernel calls",
        UserRingbuf => "bpf_user_ringbuf_drain, which reads it, is not there yet",
        Arena => "memory that programs share by address is not there yet",
        InsnArray => "jumps through tables of instructions are not there yet",
        _ => "this type of map is not there yet",
    }
}

fn need(ok: bool, message: &'static str) -> Result<(), MapError> {
    if ok {
        Ok(())
    } else {
        Err(MapError::invalid(message))
    }
}

fn limit(ok: bool, message: &'static str) -> Result<(), MapError> {
    if ok {
        Ok(())
    } else {
        Err(MapError::new(errno::E2BIG, message))
    }
}

fn both(g: &Geometry, a: u32, b: u32) -> bool {
    g.flags & a != 0 && g.flags & b != 0
}

fn flags_within(g: &Geometry, mask: u32) -> Result<(), MapError> {
    need(
        g.flags & !mask == 0,
        "map_flags that this map type does not take",
    )?;
    need(
        !both(g, f::RDONLY_PROG, f::WRONLY_PROG),
        "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other",
    )
}

fn per_cpu_node(g: &Geometry) -> Result<(), MapError> {
    need(
        !g.is_per_cpu() || g.flags & f::NUMA_NODE == 0,
        "per-CPU maps take no BPF_F_NUMA_NODE",
    )
}

fn per_cpu_value(g: &Geometry) -> Result<(), MapError> {
    limit(
        !g.is_per_cpu() || round8(g.value_size) <= PER_CPU_MAX,
        "a per-CPU value may have 32 KiB at most",
    )
}

fn array(g: &Geometry) -> Result<(), MapError> {
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(g.key_size == 4, "an array's key_size must be 4")?;
    need(g.value_size != 0, "value_size must not be 0")?;
    flags_within(
        g,
        f::NUMA_NODE | f::MMAPABLE | ACCESS | f::PRESERVE_ELEMS | f::INNER_MAP,
    )?;
    per_cpu_node(g)?;
    need(
        g.map_type == MapType::Array || g.flags & (f::MMAPABLE | f::INNER_MAP) == 0,
        "only BPF_MAP_TYPE_ARRAY takes BPF_F_MMAPABLE and BPF_F_INNER_MAP",
    )?;
    need(
        g.map_type == MapType::PerfEventArray || g.flags & f::PRESERVE_ELEMS == 0,
        "only BPF_MAP_TYPE_PERF_EVENT_ARRAY takes BPF_F_PRESERVE_ELEMS",
    )?;
    limit(
        g.value_size <= i32::MAX as u32,
        "value_size is beyond INT_MAX",
    )?;
    per_cpu_value(g)
}

fn handle_array(g: &Geometry) -> Result<(), MapError> {
    need(
        g.value_size == 4,
        "value_size must be 4: values are descriptors",
    )?;
    need(
        g.flags & (f::RDONLY_PROG | f::WRONLY_PROG) == 0,
        "this map type takes no program access flags",
    )?;
    array(g)
}

fn redirect_array(g: &Geometry) -> Result<(), MapError> {
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(g.key_size == 4, "key_size must be 4")?;
    let wide = g.value_size == 8 && g.map_type != MapType::Xskmap;
    need(
        g.value_size == 4 || wide,
        "value_size must be that of the map's entry structure",
    )?;
    match g.map_type {
        MapType::Cpumap => {
            flags_within(g, f::NUMA_NODE)?;
            limit(
                g.max_entries <= NR_CPUS,
                "more entries than there can be CPUs",
            )
        }
        _ => flags_within(g, f::NUMA_NODE | f::RDONLY | f::WRONLY),
    }
}

fn hash(g: &Geometry) -> Result<(), MapError> {
    let mask = match g.map_type {
        MapType::DevmapHash => f::NUMA_NODE | f::RDONLY | f::WRONLY,
        _ => f::NO_PREALLOC | f::NO_COMMON_LRU | f::NUMA_NODE | ACCESS | f::ZERO_SEED,
    };
    flags_within(g, mask)?;
    need(
        g.is_lru() || g.flags & f::NO_COMMON_LRU == 0,
        "only LRU maps take BPF_F_NO_COMMON_LRU",
    )?;
    if g.is_lru() && g.flags & f::NO_PREALLOC != 0 {
        return Err(MapError::new(
            errno::ENOTSUPP,
            "LRU maps are always preallocated",
        ));
    }
    need(
        g.flags & f::NO_COMMON_LRU == 0 || g.flags & f::NUMA_NODE == 0,
        "BPF_F_NO_COMMON_LRU takes no BPF_F_NUMA_NODE",
    )?;
    per_cpu_node(g)?;
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(g.key_size != 0, "key_size must not be 0")?;
    need(g.value_size != 0, "value_size must not be 0")?;
    if g.map_type == MapType::HashOfMaps {
        need(
            g.value_size == 4,
            "value_size must be 4: values are descriptors",
        )?;
    }
    if g.map_type == MapType::DevmapHash {
        need(
            g.key_size == 4 && matches!(g.value_size, 4 | 8),
            "key_size must be 4, value_size that of the map's entry structure",
        )?;
    }
    limit(
        u64::from(g.key_size) + u64::from(g.value_size) < KMALLOC_MAX - HASH_HEADER,
        "key and value together may have 4 MiB at most",
    )?;
    per_cpu_value(g)?;
    limit(g.max_entries <= 1 << 27, "max_entries is beyond 2^27")
}

fn lpm(g: &Geometry) -> Result<(), MapError> {
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(
        g.flags & f::NO_PREALLOC != 0,
        "an LPM trie needs BPF_F_NO_PREALLOC",
    )?;
    flags_within(g, f::NO_PREALLOC | f::NUMA_NODE | ACCESS)?;
    need(
        (5..=260).contains(&g.key_size),
        "an LPM key has a 32-bit prefix length and 1 to 256 bytes",
    )?;
    need(g.value_size != 0, "value_size must not be 0")?;
    need(
        u64::from(g.value_size) <= KMALLOC_MAX - 256 - HASH_HEADER,
        "value_size is beyond 4 MiB",
    )
}

fn queue(g: &Geometry) -> Result<(), MapError> {
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(
        g.key_size == 0,
        "queues and stacks have no key: key_size must be 0",
    )?;
    need(g.value_size != 0, "value_size must not be 0")?;
    flags_within(g, f::NUMA_NODE | ACCESS)?;
    limit(
        u64::from(g.value_size) <= KMALLOC_MAX,
        "value_size is beyond 4 MiB",
    )
}

fn ring(g: &Geometry) -> Result<(), MapError> {
    flags_within(g, f::NUMA_NODE)?;
    need(
        g.key_size == 0 && g.value_size == 0,
        "a ring buffer's key_size and value_size must be 0",
    )?;
    need(
        g.max_entries.is_power_of_two() && g.max_entries >= 4096,
        "a ring buffer's max_entries must be a power of two of whole pages",
    )
}

fn bloom(g: &Geometry) -> Result<(), MapError> {
    limit(
        u64::from(g.value_size) <= KMALLOC_MAX,
        "value_size is beyond 4 MiB",
    )?;
    need(g.max_entries != 0, "max_entries must not be 0")?;
    need(
        g.key_size == 0,
        "a Bloom filter has no keys: key_size must be 0",
    )?;
    need(g.value_size != 0, "value_size must not be 0")?;
    flags_within(g, f::NUMA_NODE | f::ZERO_SEED | ACCESS)?;
    need(
        g.map_extra <= 15,
        "map_extra is the number of hash functions, 15 at most",
    )
}
