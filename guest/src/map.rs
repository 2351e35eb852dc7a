//! Maps as objects of the runtime.
mod ops;
mod slots;

pub use ops::{
    batch, clear, create, delete, free, freeze, lookup, lookup_and_delete, next_key, update,
};
pub use slots::Owner;
use slots::ProgSlots;

use crate::Runtime;
use crate::object::Object;
use crate::program::Prog;
use alloc::sync::Arc;
use bpf_core::env::MapHeader;
use bpf_core::map::{Fields, Geometry, Map};
use bpf_core::program::{MapDesc, MapTable};
use bpf_core::uapi::{MapType, errno, map_flags};
use bpfvisor_abi::op::MapRecord;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A map. What a program knows as the map's address is the address of this, so
/// the header comes first.
#[repr(C)]
pub struct MapObject {
    header: MapHeader,
    /// The operations.
    pub map: Map,
    handle: AtomicU32,
    /// For maps of maps: what its elements are like, and a handle of that map by
    /// which the verifier finds it as long as this map is there.
    template: Option<Arc<MapObject>>,
    inner: u32,
    spin_lock_off: Option<u32>,
    frozen: AtomicBool,
    progs: Option<ProgSlots>,
}

impl MapObject {
    /// A map from the host's record.
    pub fn new(rt: &Runtime, rec: &MapRecord) -> Result<Arc<Self>, i32> {
        let map_type = MapType::from_u32(rec.map_type).ok_or(errno::EINVAL)?;
        let geo = Geometry::new(
            map_type,
            rec.key_size,
            rec.value_size,
            rec.max_entries,
            rec.flags,
            rt.boot.vcpus,
            rec.extra,
        )
        .map_err(|e| e.errno)?;
        let region = rt
            .shared
            .region(rec.storage, rec.storage_len)
            .ok_or(errno::EINVAL)?;
        let some = |off: u32| (off != u32::MAX).then_some(off);
        let fields = Fields {
            spin_lock: some(rec.spin_lock_off),
            timer: some(rec.timer_off),
        };
        let template = template(rt, map_type, rec.inner)?;
        let map = match rec.keep {
            0 => Map::create(geo, region, rec.seed, fields),
            _ => Map::attach(geo, region, rec.seed, fields),
        };
        let map = map.map_err(|e| e.errno)?;
        let progs = (map_type == MapType::ProgArray).then(|| ProgSlots::new(geo.max_entries));
        let header = match &progs {
            Some(p) => MapHeader {
                values: p.table(),
                max_entries: geo.max_entries,
                stride: 8,
            },
            None => MapHeader {
                values: map.values_addr(),
                max_entries: geo.max_entries,
                stride: map.value_stride(),
            },
        };
        Ok(Arc::new(Self {
            header,
            map,
            handle: AtomicU32::new(0),
            inner: match &template {
                Some(t) => rt
                    .objects
                    .insert(Object::Map(Arc::clone(t)))
                    .ok_or(errno::ENOMEM)?,
                None => 0,
            },
            template,
            spin_lock_off: some(rec.spin_lock_off),
            frozen: AtomicBool::new(false),
            progs,
        }))
    }

    /// The host's name for it.
    pub fn handle(&self) -> u32 {
        self.handle.load(Ordering::Relaxed)
    }

    /// The map's type.
    pub fn map_type(&self) -> MapType {
        self.map.geometry().map_type
    }

    /// The value of a loaded map pointer.
    pub fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }

    /// Whether programs of this kind may tail-call through the map. Other maps than
    /// program arrays don't mind.
    pub fn admits(&self, owner: Owner) -> bool {
        self.progs.as_ref().is_none_or(|p| p.admits(owner))
    }

    /// Whether `inner` may be an element: it must be what the verifier took the
    /// elements for (`bpf_map_meta_equal`).
    pub fn admits_inner(&self, inner: &Self) -> bool {
        let Some(template) = &self.template else {
            return false;
        };
        let (a, b) = (template.map.geometry(), inner.map.geometry());
        let resizable = a.map_type != MapType::Array || a.flags & map_flags::INNER_MAP != 0;
        a.map_type == b.map_type
            && a.key_size == b.key_size
            && a.value_size == b.value_size
            && a.flags == b.flags
            && template.spin_lock_off == inner.spin_lock_off
            && (resizable || a.max_entries == b.max_entries)
    }

    /// The program in a slot of a program array.
    pub fn prog(&self, index: u32) -> Option<Arc<Prog>> {
        self.progs.as_ref()?.get(index)
    }

    /// What compiled code reads.
    pub fn header(&self) -> &MapHeader {
        &self.header
    }

    /// Offset of the spin lock in the value.
    pub fn spin_lock_off(&self) -> Option<u32> {
        self.spin_lock_off
    }

    /// The map as verifier, compiler and interpreter see it.
    pub fn desc(&self) -> MapDesc {
        let geo = self.map.geometry();
        let direct = geo.map_type == MapType::Array;
        MapDesc {
            handle: self.handle(),
            map_type: geo.map_type,
            key_size: geo.key_size,
            value_size: geo.value_size,
            max_entries: geo.max_entries,
            flags: geo.flags,
            frozen: self.frozen.load(Ordering::Relaxed),
            spin_lock_off: self.spin_lock_off,
            inner: (self.inner != 0).then_some(self.inner),
            object_addr: self.address(),
            values_addr: if direct { self.header.values } else { 0 },
            value_stride: self.header.stride,
        }
    }
}

/// The template of a map of maps: EBADF where there is none, EINVAL for nested
/// maps of maps, ENOTSUPP for program arrays.
fn template(rt: &Runtime, outer: MapType, handle: u32) -> Result<Option<Arc<MapObject>>, i32> {
    use MapType::*;
    if !matches!(outer, ArrayOfMaps | HashOfMaps) {
        return Ok(None);
    }
    let inner = rt.objects.map(handle).ok_or(errno::EBADF)?;
    match inner.map_type() {
        ArrayOfMaps | HashOfMaps => Err(errno::EINVAL),
        ProgArray => Err(errno::ENOTSUPP),
        _ => Ok(Some(Arc::clone(inner))),
    }
}

impl MapTable for Runtime {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.objects
            .map(handle)
            .map(|m| MapDesc { handle, ..m.desc() })
    }

    fn read_constant(&self, handle: u32, off: u32, size: u32) -> Option<u64> {
        let m = self.objects.map(handle)?;
        let geo = m.map.geometry();
        let constant = m.frozen.load(Ordering::Relaxed) && geo.flags & map_flags::RDONLY_PROG != 0;
        let inside = off
            .checked_add(size)
            .is_some_and(|end| end <= geo.value_size);
        if !constant || !inside || geo.map_type != MapType::Array || size > 8 {
            return None;
        }
        let mut word = [0; 8];
        let value = crate::memory::bytes(m.header.values + u64::from(off), u64::from(size));
        word.get_mut(..size as usize)?.copy_from_slice(value);
        Some(u64::from_le_bytes(word))
    }
}
