//! Which helpers go with which maps.
use super::reject::{Res, bail};
use crate::helper::{self, TAIL_CALL};
use crate::uapi::MapType;
use crate::uapi::errno::EINVAL;

/// Update, delete, push, pop.
pub(crate) fn changes_map(id: u32) -> bool {
    matches!(id, 2 | 3 | 87 | 88)
}

/// Whether `bpf_for_each_map_elem` goes over maps of this type.
pub(crate) fn iterable(map: MapType) -> bool {
    use MapType::*;
    matches!(
        map,
        Hash | LruHash | PercpuHash | LruPercpuHash | Array | PercpuArray
    )
}

/// Which helpers go with which map types (`check_map_func_compatibility`).
pub(crate) fn map_fits(map: MapType, id: u32) -> Res<()> {
    use MapType::*;
    let by_map = match map {
        ProgArray => id == TAIL_CALL,
        PerfEventArray => matches!(id, 22 | 25 | 55 | 111),
        Ringbuf => matches!(id, 130 | 131 | 134 | 198),
        UserRingbuf => id == 209,
        ArrayOfMaps | HashOfMaps => id == 1,
        Queue | Stack => matches!(id, 87..=89 | 164),
        BloomFilter => matches!(id, 87 | 89),
        Devmap | DevmapHash | Xskmap => matches!(id, 51 | 1),
        Cpumap => id == 51,
        _ => true,
    };
    let by_helper = match id {
        TAIL_CALL => map == ProgArray,
        22 | 25 | 55 => map == PerfEventArray,
        27 => map == StackTrace,
        33 | 37 => map == CgroupArray,
        52 | 53 | 60 => map == Sockmap,
        70..=72 => map == Sockhash,
        81 => matches!(map, CgroupStorage | PercpuCgroupStorage),
        82 => matches!(map, ReuseportSockarray | Sockmap | Sockhash),
        107 | 108 => map == SkStorage,
        156 | 157 => map == TaskStorage,
        209 => map == UserRingbuf,
        210 | 211 => map == CgrpStorage,
        51 => matches!(map, Devmap | DevmapHash | Cpumap | Xskmap),
        130 | 131 | 134 => map == Ringbuf,
        88 => matches!(map, Queue | Stack),
        87 | 89 => matches!(map, Queue | Stack | BloomFilter),
        195 => matches!(map, PercpuArray | PercpuHash | LruPercpuHash),
        _ => true,
    };
    if !(by_map && by_helper) {
        let (n, name) = (map as u32, helper::name(id));
        bail!(EINVAL, "cannot pass map_type {n} into func {name}#{id}");
    }
    Ok(())
}
