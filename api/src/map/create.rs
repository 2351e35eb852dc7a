//! Creating maps.

use super::host::HostMap;
use super::{Map, MapCore, MapInfo, link};
use crate::error::{CallerError, Error, HostError, Result};
use crate::registry::Known;
use crate::spec::MapSpec;
use crate::vm::{Vm, object_name};
use bpf_core::map::{Geometry, MapError};
use bpf_core::uapi::{MapType, errno, map_flags};
use bpfvisor_vmm::{Block, MapRecord};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

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
        let geometry = geometry(&spec, inner.is_some(), self.vcpus())?;
        let mut record = map_record(&spec, &geometry)?;
        let storage = self.storage(&geometry)?;
        (record.storage, record.storage_len) = (storage.offset(), storage.len());
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
        let object = vm
            .vmm
            .create_map(record, storage, keeps)
            .map_err(|e| vm.failed("create map", e))?;
        let links = Arc::new(link::Links::new(geometry, record.seed, spec.spin_lock_off));
        object.accompany(links.clone());
        let info = Arc::new(MapInfo {
            id: vm.registry.next_map_id(),
            reader: HostMap::new(vm, &geometry, &object, record.seed, spec.spin_lock_off),
            name: spec.name,
            geometry,
            types: spec.types,
            frozen: AtomicBool::new(false),
            writers: AtomicU32::new(0),
            links: Arc::downgrade(&links),
            scratch: Mutex::new(None),
        });
        vm.registry.add(&object, Known::Map(info.clone()));
        let fd = vm.vmm.export(&object).map_err(|e| vm.failed("map fd", e))?;
        let vm = self.clone();
        Ok((MapCore { vm, object, info }, fd))
    }

    fn storage(&self, geometry: &Geometry) -> Result<Block> {
        let vm = &self.inner;
        let len = geometry.storage_len.max(4096);
        vm.vmm
            .alloc(len, 4096)
            .map_err(|e| vm.failed("map storage", e))
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
        flags: spec.flags,
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
