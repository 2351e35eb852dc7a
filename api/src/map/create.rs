//! Creating maps.

use super::host::HostMap;
use super::{Map, MapCore, MapInfo, access, link};
use crate::error::{CallerError, Error, HostError, Result};
use crate::raw::MapTypes;
use crate::registry::Known;
use crate::spec::MapSpec;
use crate::vm::{Vm, VmInner, name_text, object_name};
use bpf_core::map::{Geometry, MapError};
use bpf_core::uapi::{MapType, errno, map_flags};
use bpfvisor_vmm::daemon::Description;
use bpfvisor_vmm::{Block, CallError, MapRecord, Object};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use zerocopy::FromBytes;

impl Vm {
    /// Creates a map.
    ///
    /// # Errors
    /// As Linux: EINVAL for sizes and flags that the type does not take, E2BIG
    /// for those beyond its limits, ENOMEM where the VM's memory is used up,
    /// EOPNOTSUPP for types without a meaning here.
    #[doc(alias = "BPF_MAP_CREATE")]
    pub fn create_map(&self, spec: MapSpec) -> Result<Map> {
        let inner = spec.inner.clone();
        let (core, fd) = self.new_map(spec, inner.as_ref().map(Map::core))?;
        Ok(Map::new(core, fd))
    }

    /// [`Vm::create_map`], with the template of a map of maps and the result in
    /// parts.
    pub(crate) fn new_map(
        &self,
        spec: MapSpec,
        inner: Option<&MapCore>,
    ) -> Result<(MapCore, OwnedFd)> {
        let vm = &self.inner;
        let mut geometry = geometry(&spec, inner.is_some(), self.vcpus())?;
        let access = access::of_flags(spec.flags)?;
        geometry.flags &= !access::MODE;
        check_lock(&spec)?;
        let mut record = map_record(&spec, &geometry)?;
        if spec.flags & map_flags::ZERO_SEED == 0 {
            record.seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        }
        let mut keeps = Vec::new();
        if let Some(inner) = inner {
            if inner.vm.id() != self.id() {
                return Err(other_vm());
            }
            record.inner = inner.object.handle();
            keeps.push(inner.object.clone());
        }
        let object = self.new_object(record, keeps, &geometry, spec.map_type)?;
        let id = object.description().map(|d| d.id);
        let id = id.unwrap_or_else(|| vm.registry.next_map_id());
        let known = (id, spec.name, spec.types);
        let info = MapInfo::new(vm, &object, known, geometry, &record);
        vm.registry.add(&object, Known::Map(info.clone()));
        let fd = self.export_for(&object, access)?;
        let vm = self.clone();
        let core = MapCore {
            vm,
            object,
            info,
            access,
        };
        Ok((core, fd))
    }

    fn new_object(
        &self,
        mut record: MapRecord,
        keeps: Vec<Arc<Object>>,
        geometry: &Geometry,
        map_type: MapType,
    ) -> Result<Arc<Object>> {
        let vm = &self.inner;
        if vm.vmm.is_remote() {
            record.storage_len = geometry.storage_len;
            let empties = map_type == MapType::ProgArray;
            return vm
                .vmm
                .create_map_there(&record, &keeps, empties)
                .map_err(|e| match e {
                    CallError::NoMemory { .. } => vm.failed("map storage", e),
                    e => vm.failed("create map", e),
                });
        }
        let storage = self.storage(geometry)?;
        let created = vm.vmm.create_map(record, storage, keeps);
        created.map_err(|e| vm.failed("create map", e))
    }

    fn storage(&self, geometry: &Geometry) -> Result<Block> {
        let vm = &self.inner;
        vm.vmm
            .alloc(geometry.storage_len, geometry.storage_align())
            .map_err(|e| vm.failed("map storage", e))
    }
}

impl MapInfo {
    fn new(
        vm: &VmInner,
        object: &Object,
        (id, name, types): (u32, String, Option<MapTypes>),
        geometry: Geometry,
        record: &MapRecord,
    ) -> Arc<Self> {
        let spin_lock = (record.spin_lock_off != u32::MAX).then_some(record.spin_lock_off);
        let links = Arc::new(link::Links::new(geometry, record.seed, spin_lock));
        object.accompany(links.clone());
        Arc::new(Self {
            id,
            reader: HostMap::new(vm, &geometry, object, record.seed, spin_lock),
            name,
            spin_lock,
            geometry,
            types,
            frozen: AtomicBool::new(false),
            writers: AtomicU32::new(0),
            links: Arc::downgrade(&links),
            scratch: Mutex::new(None),
        })
    }

    /// From what a daemon says about a map that somebody else made; `None` where
    /// that makes no sense.
    pub(crate) fn described(vm: &VmInner, object: &Object, d: &Description) -> Option<Arc<Self>> {
        let record = MapRecord::read_from_bytes(&d.note).ok()?;
        let (name, geometry) = Self::attributes(vm, d)?;
        let known = (d.id, name, None);
        Some(Self::new(vm, object, known, geometry, &record))
    }

    /// Name and attributes of a map, as a daemon tells them.
    pub(crate) fn attributes(vm: &VmInner, d: &Description) -> Option<(String, Geometry)> {
        let record = MapRecord::read_from_bytes(&d.note).ok()?;
        let geometry = Geometry::new(
            MapType::from_u32(record.map_type)?,
            record.key_size,
            record.value_size,
            record.max_entries,
            record.flags,
            vm.vcpus(),
            record.extra,
        )
        .ok()?;
        Some((name_text(&record.name), geometry))
    }
}

fn geometry(spec: &MapSpec, has_inner: bool, vcpus: u32) -> Result<Geometry> {
    let is_outer = matches!(spec.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
    if is_outer != has_inner {
        return Err(Error::argument(format!(
            "map {:?} of type {}: {}",
            spec.name,
            spec.map_type.name(),
            if is_outer {
                "needs an inner map as template"
            } else {
                "takes no inner map"
            }
        )));
    }
    Geometry::new(
        spec.map_type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags,
        vcpus,
        spec.extra,
    )
    .map_err(|e| refused_spec(spec, &e))
}

/// Which maps' values may have a lock (`map_check_btf`), and where.
fn check_lock(spec: &MapSpec) -> Result<()> {
    let Some(offset) = spec.spin_lock_off else {
        return Ok(());
    };
    let end = offset.checked_add(4);
    if !offset.is_multiple_of(4) || end.is_none_or(|end| end > spec.value_size) {
        return Err(Error::argument(format!(
            "map {:?}: a spin lock at {offset} of a value of {} bytes",
            spec.name, spec.value_size
        )));
    }
    match lock_refused(spec.map_type, spec.flags) {
        Some(errno) => Err(CallerError::Create {
            what: format!("map {:?}, whose values have a spin lock", spec.name),
            errno,
        }
        .into()),
        None => Ok(()),
    }
}

/// Linux's errno where values of such maps can have no spin lock.
pub(crate) fn lock_refused(map_type: MapType, flags: u32) -> Option<i32> {
    if flags & (map_flags::RDONLY_PROG | map_flags::WRONLY_PROG) != 0 {
        return Some(errno::EACCES);
    }
    match map_type {
        MapType::Hash | MapType::Array => None,
        _ => Some(errno::EOPNOTSUPP),
    }
}

fn refused_spec(spec: &MapSpec, e: &MapError) -> Error {
    let text = format!(
        "map {:?} of type {} (key {}, value {}, max_entries {}, flags {:#x}): {}",
        spec.name,
        spec.map_type.name(),
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags,
        e.message
    );
    match e.errno {
        errno::EINVAL => Error::argument(text),
        errno::EOPNOTSUPP => Error::unsupported(text),
        errno::ENOMEM => HostError::NoMemory {
            what: "map storage",
            bytes: u64::from(spec.max_entries)
                .saturating_mul(u64::from(spec.key_size) + u64::from(spec.value_size)),
        }
        .into(),
        errno => CallerError::Create { what: text, errno }.into(),
    }
}

fn map_record(spec: &MapSpec, geometry: &Geometry) -> Result<MapRecord> {
    Ok(MapRecord {
        map_type: spec.map_type as u32,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: geometry.max_entries,
        flags: geometry.flags,
        spin_lock_off: spec.spin_lock_off.unwrap_or(u32::MAX),
        timer_off: u32::MAX,
        extra: spec.extra,
        name: object_name(&spec.name)?,
        ..MapRecord::default()
    })
}

fn other_vm() -> Error {
    CallerError::Create {
        what: "the inner map belongs to another VM".into(),
        errno: errno::EXDEV,
    }
    .into()
}
