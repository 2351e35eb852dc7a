//! Maps, seen from the host.

mod create;
mod host;
mod iter;
mod link;

pub use iter::{Iter, Keys};

use crate::error::{CallerError, Error, Result};
use crate::vm::{Vm, VmInner};
use bpf_core::map::Geometry;
use bpf_core::uapi::{MapType, elem_flags, errno};
use bpfvisor_abi::op::{self, NO_KEY};
use bpfvisor_vmm::{Block, CallError, FdError, Kind, Object};
use host::HostMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A map. It owns a real file descriptor; the map lives in the VM until the last
/// copy of that is closed **and** no program uses the map.
///
/// Keys and values are bytes in the host's byte order, of exactly
/// [`key_size`](Map::key_size) and [`value_len`](Map::value_len) bytes. Reading
/// goes straight to shared memory; changes are made by the guest.
#[derive(Clone, Debug)]
pub struct Map {
    inner: Arc<MapInner>,
}

#[derive(Debug)]
struct MapInner {
    vm: Vm,
    object: Arc<Object>,
    info: Arc<MapInfo>,
    fd: OwnedFd,
    /// Memory for a key and a value between calls.
    scratch: Mutex<Option<Block>>,
}

/// What this side knows about a map of a VM.
#[derive(Debug)]
pub(crate) struct MapInfo {
    name: String,
    geometry: Geometry,
    reader: Option<HostMap>,
    links: link::Links,
}

impl Map {
    fn new(vm: &Vm, object: Arc<Object>, info: Arc<MapInfo>, fd: OwnedFd) -> Self {
        Self {
            inner: Arc::new(MapInner {
                vm: vm.clone(),
                object,
                info,
                fd,
                scratch: Mutex::new(None),
            }),
        }
    }

    /// The map behind a copy of its fd (from `dup` or another process).
    ///
    /// # Errors
    /// EBADF for an fd that is not open, EINVAL for one that is no map, EXDEV
    /// for a map of another VM.
    pub fn from_fd(vm: &Vm, fd: OwnedFd) -> Result<Self> {
        let raw = fd.as_raw_fd();
        let refuse = |what: &str, errno| {
            Error::from(CallerError::Create {
                what: format!("fd {raw} {what}"),
                errno,
            })
        };
        let object = vm.inner.vmm.resolve(raw).map_err(|e| match e {
            FdError::NotOpen(_) => refuse("is not open", errno::EBADF),
            FdError::NotOurs(_) => refuse("is not a map", errno::EINVAL),
            FdError::OtherVm(_) => refuse("belongs to another VM", errno::EXDEV),
        })?;
        let info = vm.inner.registry.get(object.handle());
        match info {
            Some(info) if object.kind() == Kind::Map => Ok(Self::new(vm, object, info, fd)),
            _ => Err(refuse("is not a map", errno::EINVAL)),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.info.name
    }

    /// Its type.
    pub fn map_type(&self) -> MapType {
        self.geometry().map_type
    }

    /// Bytes per key.
    pub fn key_size(&self) -> usize {
        self.geometry().key_size as usize
    }

    /// Bytes per value, as created.
    pub fn value_size(&self) -> usize {
        self.geometry().value_size as usize
    }

    /// Bytes per value, as `bpf()` passes it: for per-CPU maps the values of all
    /// vCPUs, each rounded up to 8 bytes.
    pub fn value_len(&self) -> usize {
        self.geometry().user_value_size() as usize
    }

    /// Capacity.
    pub fn max_entries(&self) -> u32 {
        self.geometry().max_entries
    }

    /// `map_flags` it was created with.
    pub fn flags(&self) -> u32 {
        self.geometry().flags
    }

    fn geometry(&self) -> &Geometry {
        &self.inner.info.geometry
    }

    /// The value of a key, or `None`.
    ///
    /// # Errors
    /// EINVAL for a key of the wrong length, and what the type answers.
    #[doc(alias = "BPF_MAP_LOOKUP_ELEM")]
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value_len()];
        Ok(self.get_into(key, &mut value)?.then_some(value))
    }

    /// Copies the value of a key into `value`; `false` where there is no such
    /// key. Allocates nothing.
    ///
    /// # Errors
    /// As [`Map::get`], and EINVAL for a `value` of the wrong length.
    pub fn get_into(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.check_key(key)?;
        self.check_value(value)?;
        if let Some(reader) = &self.inner.info.reader
            && let Some(answer) = reader.lookup(key, value)
        {
            return found("lookup", answer.map_err(|e| e.errno));
        }
        let op = op::code::MAP_LOOKUP;
        match self.ask("lookup", op, key, &[], 0, Some(value)) {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == errno::ENOENT => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sets the value of a key, new or not (`BPF_ANY`).
    ///
    /// # Errors
    /// As [`Map::update`].
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.update(key, value, elem_flags::ANY)
    }

    /// Sets the value of a key. In maps of maps and program arrays the value is
    /// an fd, 4 bytes.
    ///
    /// # Errors
    /// EEXIST and ENOENT by `flags`, E2BIG for a full map or an index out of
    /// range, EPERM for a frozen map, EINVAL for wrong lengths and flags.
    #[doc(alias = "BPF_MAP_UPDATE_ELEM")]
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        self.check_key(key)?;
        self.check_value(value)?;
        let op = op::code::MAP_UPDATE;
        if !link::holds_objects(self.map_type()) {
            return self.ask("update", op, key, value, flags, None);
        }
        let target = self.resolve_value(value)?;
        let handle = target.handle().to_ne_bytes();
        let links = &self.inner.info.links;
        links.change(key, Some(target), || {
            self.ask("update", op, key, &handle, flags, None)
        })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// ENOENT where there is no such key; EINVAL for types whose elements can't
    /// be removed.
    #[doc(alias = "BPF_MAP_DELETE_ELEM")]
    pub fn remove(&self, key: &[u8]) -> Result<()> {
        self.check_key(key)?;
        let op = op::code::MAP_DELETE;
        let ask = || self.ask("delete", op, key, &[], 0, None);
        if link::holds_objects(self.map_type()) {
            return self.inner.info.links.change(key, None, ask);
        }
        ask()
    }

    /// Removes a key and gives its value; for queues and stacks (whose key is
    /// empty) the next element.
    ///
    /// # Errors
    /// As [`Map::remove`], but no such key is `None`.
    #[doc(alias = "BPF_MAP_LOOKUP_AND_DELETE_ELEM")]
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_key(key)?;
        let mut value = vec![0; self.value_len()];
        let op = op::code::MAP_LOOKUP_AND_DELETE;
        match self.ask("lookup and delete", op, key, &[], 0, Some(&mut value)) {
            Ok(()) => Ok(Some(value)),
            Err(e) if e.errno() == errno::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Adds an element to a queue or stack.
    ///
    /// # Errors
    /// E2BIG where it is full.
    pub fn push(&self, value: &[u8]) -> Result<()> {
        self.update(&[], value, elem_flags::ANY)
    }

    /// Takes the next element of a queue or stack.
    ///
    /// # Errors
    /// EINVAL for other types.
    pub fn pop(&self) -> Result<Option<Vec<u8>>> {
        self.lookup_and_delete(&[])
    }

    /// No more changes from this side; programs still may.
    ///
    /// # Errors
    /// EBUSY where it is frozen already.
    #[doc(alias = "BPF_MAP_FREEZE")]
    pub fn freeze(&self) -> Result<()> {
        let handle = u64::from(self.inner.object.handle());
        let vm = &self.inner.vm.inner;
        vm.vmm
            .call(op::code::MAP_FREEZE, [handle, 0, 0, 0, 0, 0, 0])
            .map(drop)
            .map_err(|e| vm.failed("freeze", e))
    }

    /// The key after `key`, or the first.
    #[doc(alias = "BPF_MAP_GET_NEXT_KEY")]
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        if let Some(key) = key {
            self.check_key(key)?;
        }
        let mut next = vec![0; self.key_size()];
        if let Some(reader) = &self.inner.info.reader
            && let Some(answer) = reader.next_key(key, &mut next)
        {
            let there = found("next key", answer.map_err(|e| e.errno))?;
            return Ok(there.then_some(next));
        }
        let op = op::code::MAP_NEXT_KEY;
        let answer = match key {
            Some(key) => self.ask("next key", op, key, &[], 0, Some(&mut next)),
            None => self.ask_without_key(op, &mut next),
        };
        match answer {
            Ok(()) => Ok(Some(next)),
            Err(e) if e.errno() == errno::ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// All keys, in no particular order. Keys that come or go meanwhile may or
    /// may not be seen.
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(self)
    }

    /// All keys with their values, as [`Map::keys`].
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self)
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        check_len("key", key.len(), self.key_size())
    }

    fn check_value(&self, value: &[u8]) -> Result<()> {
        check_len("value", value.len(), self.value_len())
    }

    /// The object that a value (an fd) names.
    fn resolve_value(&self, value: &[u8]) -> Result<Arc<Object>> {
        let fd = value.try_into().map_or(-1, i32::from_ne_bytes);
        let refuse = |what: &str, errno| {
            Error::from(CallerError::Create {
                what: format!("value fd {fd} {what}"),
                errno,
            })
        };
        let vmm = &self.inner.vm.inner.vmm;
        let object = vmm.resolve(fd).map_err(|e| match e {
            FdError::NotOpen(_) => refuse("is not open", errno::EBADF),
            FdError::NotOurs(_) => refuse("is neither map nor program", errno::EINVAL),
            FdError::OtherVm(_) => refuse("belongs to another VM", errno::EXDEV),
        })?;
        let wanted = match self.map_type() {
            MapType::ProgArray => Kind::Program,
            _ => Kind::Map,
        };
        if object.kind() != wanted {
            return Err(refuse("is of the wrong kind for this map", errno::EINVAL));
        }
        Ok(object)
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
        let vm = &self.inner.vm.inner;
        let scratch = self.scratch()?;
        let (key_off, value_off) = self.offsets(&scratch);
        let failed = |e| vm.failed(what, e);
        let shared = vm.vmm.shared();
        shared.write(key_off, key).map_err(failed)?;
        shared.write(value_off, value).map_err(failed)?;
        let handle = u64::from(self.inner.object.handle());
        let arg = [handle, key_off, value_off, flags, 0, 0, 0];
        let done = self.call(vm, code, arg);
        if let (Ok(()), Some(into)) = (&done, answer) {
            shared.read(value_off, into).map_err(failed)?;
        }
        self.put_scratch(scratch);
        done.map_err(failed)
    }

    fn ask_without_key(&self, code: u32, answer: &mut [u8]) -> Result<()> {
        let vm = &self.inner.vm.inner;
        let scratch = self.scratch()?;
        let (_, value_off) = self.offsets(&scratch);
        let failed = |e| vm.failed("next key", e);
        let handle = u64::from(self.inner.object.handle());
        let done = self.call(vm, code, [handle, NO_KEY, value_off, 0, 0, 0, 0]);
        if done.is_ok() {
            vm.vmm.shared().read(value_off, answer).map_err(failed)?;
        }
        self.put_scratch(scratch);
        done.map_err(failed)
    }

    fn call(&self, vm: &VmInner, code: u32, arg: [u64; 7]) -> std::result::Result<(), CallError> {
        vm.vmm.call(code, arg).map(drop)
    }

    fn scratch(&self) -> Result<Block> {
        let mut spare = self
            .inner
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = spare.take() {
            return Ok(block);
        }
        drop(spare);
        let vm = &self.inner.vm.inner;
        let room = self.value_len().max(self.key_size());
        let len = (self.key_size() as u64).next_multiple_of(64) + room as u64;
        vm.vmm
            .alloc(len.max(64), 64)
            .map_err(|e| vm.failed("scratch memory", e))
    }

    fn put_scratch(&self, block: Block) {
        *self
            .inner
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

fn check_len(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::argument(format!(
        "the {what} has {got} bytes, expected {expected}"
    )))
}

/// `true` for an answer, `false` for "no such key".
fn found(op: &'static str, answer: std::result::Result<(), i32>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(errno::ENOENT) => Ok(false),
        Err(errno) => Err(CallerError::Refused { op, errno }.into()),
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.inner.fd.as_raw_fd()
    }
}

impl Drop for MapInner {
    fn drop(&mut self) {
        if self.info.links.any() {
            self.vm.inner.registry.sweep();
        }
    }
}
