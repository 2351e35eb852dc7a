//! The operations on a map, whoever asks: the typed API or a raw command.
//!
//! Errors are Linux's, and checked in Linux's order; "no such key" is ENOENT.

use super::MapInfo;
use super::{link, view};
use crate::error::{CallerError, Error, Result};
use crate::vm::{Vm, VmInner};
use bpf_core::map::Geometry;
use bpf_core::uapi::{MapType, elem_flags, errno};
use bpfvisor_abi::op::{self, NO_KEY, code};
use bpfvisor_vmm::{Access, Block, Completion, FdError, Kind, Object};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

/// A map without a descriptor of its own.
#[derive(Clone, Debug)]
pub(crate) struct MapCore {
    pub vm: Vm,
    pub object: Arc<Object>,
    pub info: Arc<MapInfo>,
    /// What the descriptor that it was reached by is good for.
    pub access: Access,
}

/// Which way a batch goes over the map, [`op::batch`].
pub(crate) struct Batch<'a> {
    pub select: u64,
    pub position: u64,
    pub keys: &'a mut [u8],
    pub values: &'a mut [u8],
    pub count: u32,
    pub flags: u64,
}

/// What a batch did: elements handled, where to go on, and why it stopped.
pub(crate) struct Batched {
    pub count: u32,
    pub next: u64,
    pub stopped: Result<()>,
}

fn fd_error(fd: RawFd, what: &str, errno: i32) -> Error {
    CallerError::Create {
        what: format!("fd {fd} {what}"),
        errno,
    }
    .into()
}

impl Vm {
    /// The object behind an fd, of this kind.
    pub(crate) fn object(&self, fd: RawFd, kind: Kind) -> Result<Arc<Object>> {
        self.object_for(fd, kind).map(|(object, _)| object)
    }

    /// [`Vm::object`], and what the fd is good for.
    fn object_for(&self, fd: RawFd, kind: Kind) -> Result<(Arc<Object>, Access)> {
        let (is_not, what) = match kind {
            Kind::Map => ("is not a map", "map"),
            Kind::Program => ("is not a program", "program"),
        };
        let found = self.inner.vmm.resolve_for(fd).map_err(|e| match e {
            FdError::NotOpen(_) => fd_error(fd, "is not open", errno::EBADF),
            FdError::NotOurs(_) => fd_error(fd, is_not, errno::EINVAL),
            FdError::OtherVm(_) => {
                fd_error(fd, &format!("is a {what} of another VM"), errno::EXDEV)
            }
        })?;
        if found.0.kind() == kind {
            Ok(found)
        } else {
            Err(fd_error(fd, is_not, errno::EINVAL))
        }
    }
}

impl MapCore {
    /// The map behind an fd: EBADF where it is not open, EINVAL where it is no
    /// map, EXDEV for one of another VM.
    pub fn from_fd(vm: &Vm, fd: RawFd) -> Result<Self> {
        let (object, access) = vm.object_for(fd, Kind::Map)?;
        let map = Self::of(vm, object);
        let map = map.ok_or_else(|| fd_error(fd, "is not a map", errno::EINVAL))?;
        Ok(Self { access, ..map })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.info.geometry
    }

    pub fn map_type(&self) -> MapType {
        self.geometry().map_type
    }

    pub fn key_size(&self) -> usize {
        self.geometry().key_size as usize
    }

    /// Bytes per value as `bpf()` passes it.
    pub fn value_len(&self) -> usize {
        self.geometry().user_value_size() as usize
    }

    fn links(&self) -> Arc<link::Links> {
        // They are there as long as the object.
        let none = || Arc::new(link::Links::new(*self.geometry(), 0, None));
        self.info.links.upgrade().unwrap_or_else(none)
    }

    /// EPERM where the map may not be read by this descriptor.
    pub fn readable(&self) -> Result<()> {
        self.allowed("read", self.access != Access::Write)
    }

    /// EPERM where the map may not be written by this descriptor, or from outside at
    /// all any more.
    pub fn writable(&self) -> Result<()> {
        let frozen = self.info.frozen.load(Relaxed);
        self.allowed("write", self.access != Access::Read && !frozen)
    }

    fn allowed(&self, op: &'static str, yes: bool) -> Result<()> {
        if yes {
            return Ok(());
        }
        let errno = errno::EPERM;
        Err(CallerError::Refused { op, errno }.into())
    }

    /// Copies a value out.
    pub fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.readable()?;
        self.check_key(key)?;
        self.check_value(value)?;
        if link::holds_objects(self.map_type()) {
            return self.lookup_link(key, value);
        }
        if flags == 0
            && let Some(reader) = &self.info.reader
            && let Some(answer) = reader.lookup(key, value)
        {
            return answer.map_err(|e| refused("lookup", e.errno));
        }
        self.ask("lookup", code::MAP_LOOKUP, key, &[], flags, Some(value))
    }

    /// Values that name objects come as their ids; those of perf event arrays not
    /// at all.
    fn lookup_link(&self, key: &[u8], value: &mut [u8]) -> Result<()> {
        if self.map_type() == MapType::PerfEventArray {
            return Err(refused("lookup", errno::ENOTSUPP));
        }
        let vm = &self.vm.inner;
        let object = if vm.vmm.is_remote() {
            let there = vm.vmm.linked_there(&self.object, key);
            there.map_err(|e| vm.failed("lookup", e))?
        } else {
            self.links().get(key)
        };
        let known = object.and_then(|o| vm.known(&o));
        let Some(known) = known else {
            return Err(refused("lookup", errno::ENOENT));
        };
        value.copy_from_slice(&known.id().to_ne_bytes());
        Ok(())
    }

    /// Sets a value; where values name objects, it is an fd.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.writable()?;
        self.check_key(key)?;
        self.check_value(value)?;
        if !link::holds_objects(self.map_type()) {
            return self.ask("update", code::MAP_UPDATE, key, value, flags, None);
        }
        match self.map_type() {
            MapType::HashOfMaps if flags & elem_flags::F_LOCK == 0 => {}
            MapType::HashOfMaps => return Err(refused("update", errno::EINVAL)),
            _ => self.check_slot(key, flags)?,
        }
        let target = self.target(value)?;
        if self.vm.is_remote() {
            return self.link_there("update", key, Some(&target), flags);
        }
        let handle = target.handle().to_ne_bytes();
        self.links().change(key, Some(target), || {
            self.ask("update", code::MAP_UPDATE, key, &handle, flags, None)
        })
    }

    /// Arrays of objects look at flags and index before the descriptor.
    fn check_slot(&self, key: &[u8], flags: u64) -> Result<()> {
        let index = key.try_into().map_or(u32::MAX, u32::from_ne_bytes);
        match (flags, index < self.geometry().max_entries) {
            (0, true) => Ok(()),
            (0, false) => Err(refused("update", errno::E2BIG)),
            _ => Err(refused("update", errno::EINVAL)),
        }
    }

    /// The object that a value (an fd) names.
    fn target(&self, value: &[u8]) -> Result<Arc<Object>> {
        let fd = value.try_into().map_or(-1, i32::from_ne_bytes);
        let kind = match self.map_type() {
            MapType::ProgArray => Kind::Program,
            _ => Kind::Map,
        };
        if self.map_type() != MapType::PerfEventArray {
            return self.vm.object(fd, kind);
        }
        match Self::from_fd(&self.vm, fd) {
            Ok(map) if map.map_type() == MapType::Ringbuf => Ok(map.object),
            _ => Err(fd_error(fd, "is not a ring buffer", errno::EBADF)),
        }
    }

    /// Removes a key.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.writable()?;
        self.check_key(key)?;
        let ask = || self.ask("delete", code::MAP_DELETE, key, &[], 0, None);
        if link::holds_objects(self.map_type()) {
            if self.vm.is_remote() {
                return self.link_there("delete", key, None, 0);
            }
            return self.links().change(key, None, ask);
        }
        ask()
    }

    /// A daemon keeps account of what its maps name.
    fn link_there(
        &self,
        what: &'static str,
        key: &[u8],
        target: Option<&Arc<Object>>,
        flags: u64,
    ) -> Result<()> {
        let vm = &self.vm.inner;
        let done = vm.vmm.link_there(&self.object, key, target, flags);
        done.map_err(|e| vm.failed(what, e))
    }

    /// Removes a key (of a queue or stack: the next element) and gives its value.
    pub fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        self.readable()?;
        self.writable()?;
        self.check_key(key)?;
        self.check_value(value)?;
        let op = code::MAP_LOOKUP_AND_DELETE;
        self.ask("lookup and delete", op, key, &[], flags, Some(value))
    }

    /// The key after `key`, or the first.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<()> {
        self.readable()?;
        if let Some(key) = key {
            self.check_key(key)?;
        }
        if let Some(reader) = &self.info.reader
            && let Some(answer) = reader.next_key(key, next)
        {
            return answer.map_err(|e| refused("next key", e.errno));
        }
        match key {
            Some(key) => self.ask("next key", code::MAP_NEXT_KEY, key, &[], 0, Some(next)),
            None => self.first_key(next),
        }
    }

    /// No more writing from outside. Linux answers EPERM the second time.
    pub fn freeze(&self) -> Result<()> {
        self.writable()?;
        let handle = u64::from(self.object.handle());
        let vm = &self.vm.inner;
        view::freeze(&self.info, || {
            self.call(vm, code::MAP_FREEZE, [handle, 0, 0, 0, 0, 0, 0], "freeze")
        })?;
        self.links().freeze(&self.object);
        Ok(())
    }

    /// What it holds now is what it begins with, should the VM be rebuilt and its
    /// contents be given up.
    pub fn begin(&self) {
        self.links().begin(&self.object);
    }

    /// One request for many elements. Keys and values are as long as `count`
    /// elements need (values may be empty for a deletion).
    pub fn batch(&self, batch: Batch<'_>) -> Result<Batched> {
        if batch.select != op::batch::UPDATE && batch.select != op::batch::DELETE {
            self.readable()?;
        }
        if batch.select != op::batch::LOOKUP {
            self.writable()?;
        }
        let vm = &self.vm.inner;
        let failed = |e| vm.failed("batch", e);
        let values_at = (batch.keys.len() as u64).next_multiple_of(64);
        let len = values_at + batch.values.len() as u64;
        let block = vm.vmm.alloc(len.max(64), 64).map_err(failed)?;
        let (keys, values) = (block.offset(), block.offset() + values_at);
        let shared = vm.vmm.shared();
        shared.write(keys, batch.keys).map_err(failed)?;
        shared.write(values, batch.values).map_err(failed)?;
        let arg = [
            self.object.handle().into(),
            batch.select,
            keys,
            values,
            batch.count.into(),
            batch.position,
            batch.flags,
        ];
        let answer: Completion = vm.vmm.ask(code::MAP_BATCH, arg).map_err(failed)?;
        shared.read(keys, batch.keys).map_err(failed)?;
        shared.read(values, batch.values).map_err(failed)?;
        let count = u32::try_from(answer.val[0]).unwrap_or(u32::MAX);
        Ok(Batched {
            count: count.min(batch.count),
            next: answer.val[1],
            stopped: match answer.status {
                0 => Ok(()),
                status => Err(refused("batch", status.wrapping_neg())),
            },
        })
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        check_len("key", key.len(), self.key_size())
    }

    fn check_value(&self, value: &[u8]) -> Result<()> {
        check_len("value", value.len(), self.value_len())
    }

    /// One operation of the guest: key and value go over in scratch memory, the
    /// answer comes back in the value's place.
    fn ask(
        &self,
        what: &'static str,
        code: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
        answer: Option<&mut [u8]>,
    ) -> Result<()> {
        let vm = &self.vm.inner;
        let scratch = self.scratch()?;
        let (key_off, value_off) = self.offsets(&scratch);
        let failed = |e| vm.failed(what, e);
        let shared = vm.vmm.shared();
        shared.write(key_off, key).map_err(failed)?;
        shared.write(value_off, value).map_err(failed)?;
        let handle = u64::from(self.object.handle());
        let arg = [handle, key_off, value_off, flags, 0, 0, 0];
        let done = self.call(vm, code, arg, what);
        if let (Ok(()), Some(into)) = (&done, answer) {
            shared.read(value_off, into).map_err(failed)?;
        }
        self.put_scratch(scratch);
        done
    }

    fn first_key(&self, next: &mut [u8]) -> Result<()> {
        let vm = &self.vm.inner;
        let scratch = self.scratch()?;
        let (_, value_off) = self.offsets(&scratch);
        let handle = u64::from(self.object.handle());
        let arg = [handle, NO_KEY, value_off, 0, 0, 0, 0];
        let done = self.call(vm, code::MAP_NEXT_KEY, arg, "next key");
        if done.is_ok() {
            let read = vm.vmm.shared().read(value_off, next);
            read.map_err(|e| vm.failed("next key", e))?;
        }
        self.put_scratch(scratch);
        done
    }

    fn call(&self, vm: &VmInner, code: u32, arg: [u64; 7], what: &'static str) -> Result<()> {
        let done = vm.vmm.call(code, arg);
        done.map(drop).map_err(|e| vm.failed(what, e))
    }

    fn scratch(&self) -> Result<Block> {
        let mut spare = self
            .info
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = spare.take() {
            return Ok(block);
        }
        drop(spare);
        let vm = &self.vm.inner;
        let room = self.value_len().max(self.key_size());
        let len = (self.key_size() as u64).next_multiple_of(64) + room as u64;
        vm.vmm
            .alloc(len.max(64), 64)
            .map_err(|e| vm.failed("scratch memory", e))
    }

    fn put_scratch(&self, block: Block) {
        *self
            .info
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(block);
    }

    /// Where key and value lie in scratch memory.
    fn offsets(&self, scratch: &Block) -> (u64, u64) {
        let key = scratch.offset();
        (key, key + (self.key_size() as u64).next_multiple_of(64))
    }
}

fn refused(op: &'static str, errno: i32) -> Error {
    CallerError::Refused { op, errno }.into()
}

fn check_len(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::argument(format!(
        "the {what} has {got} bytes, expected {expected}"
    )))
}
