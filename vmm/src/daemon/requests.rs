//! What a client may ask for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use bpfvisor_abi::op::{LoadRecord, MapRecord};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::session::{Answer, Session};
use super::wire::{Description, Reply, Request};
use crate::bell::Bell;
use crate::error::CallError;
use crate::fds::Registry;
use crate::links::Links;
use crate::load;
use crate::object::{Access, Kind, Object};

/// Maps that one program may use, in Linux as here.
const USED_MAPS: usize = 64;
/// Longest note of a program's creator.
const NOTE: usize = 256;
/// How much of a lease is taken from the host at once.
const POPULATED: u64 = 2 << 20;

type Result<T> = std::result::Result<T, CallError>;

fn errno<T>(errno: i32) -> Result<T> {
    Err(CallError::Errno { errno })
}

impl Session {
    pub(super) fn answer(&mut self, request: Request, fd: Option<OwnedFd>) -> Result<Answer> {
        let table = &self.shared.table;
        match request {
            Request::Hello { .. } => errno(libc::EINVAL),
            Request::Lease { len, low } => self.lease(len, low),
            Request::CreateMap {
                record,
                keeps,
                empties,
            } => self.create_map(&record, &keeps, empties),
            Request::Load { record, maps, note } => self.load(record, &maps, note),
            Request::Export { handle, access } => {
                let fd = Registry::get()?.export(&self.object(handle)?, access)?;
                Ok((Reply::Done, Some(fd)))
            }
            Request::Identify => self.identify(fd),
            Request::Link {
                outer,
                key,
                target,
                flags,
            } => {
                let outer = self.object(outer)?;
                let target = target.map(|t| self.object(t)).transpose()?;
                let core = self.shared.vm.core();
                let links = table.links(outer.handle());
                let links = links.ok_or(CallError::Errno {
                    errno: libc::EINVAL,
                })?;
                links.change((core, &outer), &key, target.as_ref(), flags)?;
                Ok((Reply::Done, None))
            }
            Request::Linked { outer, key } => {
                let links = table.links(outer);
                self.found(links.and_then(|l| l.get(&key)), false)
            }
            Request::List { kind, after } => Ok((Reply::Objects(table.list(kind, after)), None)),
            Request::OpenId { kind, id } => self.found(table.by_id(kind, id), true),
            Request::OpenPin { name } => self.found(table.pinned(&name), true),
            Request::Pin { handle, name } => {
                let object = self.object(handle)?;
                let fd = Registry::get()?.export(&object, Access::Both)?;
                table.pin(&name, object, fd)?;
                Ok((Reply::Done, None))
            }
            Request::Unpin { name } => {
                table.unpin(&name)?;
                Ok((Reply::Done, None))
            }
            Request::Bind { program, map } => {
                let (program, map) = (self.object(program)?, self.object(map)?);
                if (program.kind(), map.kind()) != (Kind::Program, Kind::Map) {
                    return errno(libc::EINVAL);
                }
                program.bind(map);
                Ok((Reply::Done, None))
            }
            Request::Bell { handles } => self.bell(&handles),
            Request::Unbell { handle } => {
                self.bells.remove(&handle);
                Ok((Reply::Done, None))
            }
        }
    }

    /// The object that the client calls so.
    fn object(&self, handle: u32) -> Result<Arc<Object>> {
        let object = self.shared.table.get(handle);
        object.ok_or(CallError::Errno { errno: libc::EBADF })
    }

    fn found(&self, object: Option<Arc<Object>>, fd: bool) -> Result<Answer> {
        match object {
            None => Ok((Reply::Nothing, None)),
            Some(object) if fd => self.described(&object),
            Some(object) => {
                let description = Box::new(self.description(&object)?);
                Ok((Reply::Object(description), None))
            }
        }
    }

    fn description(&self, object: &Object) -> Result<Description> {
        let description = self.shared.table.describe(object);
        description.ok_or(CallError::Errno { errno: libc::EBADF })
    }

    /// An object with a descriptor.
    fn described(&self, object: &Arc<Object>) -> Result<Answer> {
        let fd = Registry::get()?.export(object, Access::Both)?;
        let description = Box::new(self.description(object)?);
        Ok((Reply::Object(description), Some(fd)))
    }

    fn lease(&mut self, len: u64, low: bool) -> Result<Answer> {
        let core = self.shared.vm.core();
        let block = if low {
            let block = core.arena.alloc_low(len, 4096);
            block.ok_or(CallError::NoMemory { wanted: len })?
        } else {
            core.alloc(len, 4096)?
        };
        block.populate(POPULATED);
        let (offset, len) = (block.offset(), block.len());
        self.leases.push(block);
        Ok((Reply::Leased { offset, len }, None))
    }

    fn create_map(&self, record: &[u8], keeps: &[u32], empties: bool) -> Result<Answer> {
        let mut record = MapRecord::read_from_bytes(record)
            .map_err(|_| CallError::Invalid("the record of a map has another size"))?;
        if keeps.len() > 1 || keeps.first().copied().unwrap_or(0) != record.inner {
            return errno(libc::EINVAL);
        }
        let keeps = keeps.iter().map(|&h| self.object(h));
        let keeps = keeps.collect::<Result<_>>()?;
        let vm = &self.shared.vm;
        let storage = vm.alloc(record.storage_len, 4096)?;
        let object = vm.create_map(record, storage, keeps)?;
        let links = Arc::new(Links::new(empties));
        object.accompany(links.clone());
        record.storage = object.storage().map_or(0, |s| s.offset());
        let note = record.as_bytes().to_vec();
        self.shared.table.add(&object, Arc::downgrade(&links), note);
        self.described(&object)
    }

    fn load(&self, at: u64, maps: &[u32], note: Vec<u8>) -> Result<Answer> {
        if maps.len() > USED_MAPS || note.len() > NOTE {
            return errno(libc::E2BIG);
        }
        let core = self.shared.vm.core();
        let maps = maps.iter().map(|&h| self.object(h));
        let maps = maps.collect::<Result<_>>()?;
        let object = match load::load_at(core, at, maps)? {
            Ok(object) => object,
            Err(errno) => return Ok((Reply::Rejected(-errno), None)),
        };
        let mut record = LoadRecord::new_zeroed();
        core.shared.read(at, record.as_mut_bytes())?;
        let mut whole = record.as_bytes().to_vec();
        whole.extend(note);
        self.shared.table.add(&object, Weak::new(), whole);
        self.described(&object)
    }

    fn identify(&self, fd: Option<OwnedFd>) -> Result<Answer> {
        let fd = fd.ok_or(CallError::Errno { errno: libc::EBADF })?;
        let found = Registry::get()?.resolve(fd.as_raw_fd());
        let ours = |(o, _): &(Arc<Object>, Access)| o.vm_id() == self.shared.vm.id();
        match found.ok().filter(ours) {
            None => Ok((Reply::Nothing, None)),
            Some((object, access)) => {
                let fd = Registry::get()?.export(&object, Access::Both)?;
                let description = Box::new(self.description(&object)?);
                Ok((Reply::Identified(description, access), Some(fd)))
            }
        }
    }

    fn bell(&mut self, handles: &[u32]) -> Result<Answer> {
        let Some(&handle) = handles.first() else {
            return errno(libc::EINVAL);
        };
        for &handle in handles {
            self.object(handle)?;
        }
        let bell = Bell::new(self.shared.vm.core(), handles.to_vec());
        let bell = bell.map_err(|e| CallError::Os {
            step: "create an eventfd",
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })?;
        let Some(bell) = bell else {
            return Ok((Reply::Nothing, None));
        };
        let copy = bell.as_fd().try_clone_to_owned();
        let copy = copy.map_err(|e| CallError::Os {
            step: "copy an eventfd",
            errno: e.raw_os_error().unwrap_or(libc::EIO),
        })?;
        self.bells.insert(handle, bell);
        Ok((Reply::Done, Some(copy)))
    }
}
