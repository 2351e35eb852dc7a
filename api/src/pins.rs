//! Names for objects: what is pinned lives until it is unpinned, or the VM ends.
//!
//! In Linux a pin is a file in a bpf file system. Here it is a name inside one
//! VM: any text, by habit a path below `/sys/fs/bpf`. There are no folders to be
//! made first.

use crate::error::{CallerError, Error, Result};
use crate::map::MapCore;
use crate::program::ProgramCore;
use crate::registry::{Known, Pinned};
use crate::vm::Vm;
use crate::{Map, Program};
use bpf_core::uapi::errno;
use bpfvisor_vmm::{Access, FdError, Object};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// `PATH_MAX`, final zero included.
pub(crate) const LONGEST_PATH: usize = 4096;

fn refused(what: String, errno: i32) -> Error {
    CallerError::Create { what, errno }.into()
}

impl Vm {
    /// Gives a map or program a name, under which others can have it; it lives
    /// at least until [`Vm::unpin`].
    ///
    /// # Errors
    /// EEXIST where the name is taken, EINVAL for what is no object of this VM,
    /// ENOENT for an empty name, ENAMETOOLONG for one of 4096 bytes or more.
    #[doc(alias = "BPF_OBJ_PIN")]
    pub fn pin(&self, path: &str, object: &impl AsFd) -> Result<()> {
        let object = self.any_object(object.as_fd().as_raw_fd())?;
        self.pin_any(path, Pinned::Object(object))
    }

    pub(crate) fn pin_any(&self, path: &str, object: Pinned) -> Result<()> {
        check_path(path)?;
        if self.is_remote() {
            return match object {
                Pinned::Object(object) => self.pin_there(path, &object),
                Pinned::Link(_) => Err(Error::unsupported("links can't be pinned in a daemon")),
            };
        }
        if self.inner.registry.pin(path, object) {
            return Ok(());
        }
        Err(refused(
            format!("{path:?} is pinned already"),
            errno::EEXIST,
        ))
    }

    /// Takes a name away, as `unlink` does in Linux.
    ///
    /// # Errors
    /// ENOENT where there is no such name.
    pub fn unpin(&self, path: &str) -> Result<()> {
        if self.is_remote() {
            return self.unpin_there(path);
        }
        let object = self.inner.registry.unpin(path);
        object.map(drop).ok_or_else(|| not_pinned(path))
    }

    /// All names, sorted. (Of an object of a daemon, the first eight.)
    pub fn pins(&self) -> Vec<String> {
        if self.is_remote() {
            return self.pins_there();
        }
        self.inner.registry.pins()
    }

    /// The map of this name, with a descriptor of its own.
    ///
    /// # Errors
    /// ENOENT where there is no such name, EINVAL where it is no map's.
    #[doc(alias = "BPF_OBJ_GET")]
    pub fn pinned_map(&self, path: &str) -> Result<Map> {
        let object = self.pinned_object(path)?;
        let core = MapCore::of(self, object)
            .ok_or_else(|| Error::argument(format!("{path:?} is not a map")))?;
        let fd = self.export(&core.object)?;
        Ok(Map::new(core, fd))
    }

    /// The program of this name, with a descriptor of its own.
    ///
    /// # Errors
    /// ENOENT where there is no such name, EINVAL where it is no program's.
    #[doc(alias = "BPF_OBJ_GET")]
    pub fn pinned_program(&self, path: &str) -> Result<Program> {
        let object = self.pinned_object(path)?;
        let core = ProgramCore::of(self, object)
            .ok_or_else(|| Error::argument(format!("{path:?} is not a program")))?;
        let fd = self.export(&core.object)?;
        Ok(Program::new(core, fd))
    }

    fn pinned_object(&self, path: &str) -> Result<Arc<Object>> {
        match self.pinned(path)? {
            Pinned::Object(object) => Ok(object),
            Pinned::Link(_) => Err(Error::argument(format!("{path:?} is a link"))),
        }
    }

    pub(crate) fn pinned(&self, path: &str) -> Result<Pinned> {
        check_path(path)?;
        if self.is_remote() {
            return self.pinned_there(path).map(Pinned::Object);
        }
        let found = self.inner.registry.pinned(path);
        found.ok_or_else(|| not_pinned(path))
    }

    /// The object of this VM behind a descriptor, whatever it is.
    pub(crate) fn any_object(&self, fd: RawFd) -> Result<Arc<Object>> {
        self.inner.vmm.resolve(fd).map_err(|e| match e {
            FdError::OtherVm(_) => {
                refused(format!("fd {fd} is an object of another VM"), errno::EXDEV)
            }
            FdError::NotOpen(_) | FdError::NotOurs(_) => {
                Error::argument(format!("fd {fd} is no object of this VM"))
            }
        })
    }

    /// One more descriptor for an object.
    pub(crate) fn export(&self, object: &Arc<Object>) -> Result<OwnedFd> {
        self.export_for(object, Access::Both)
    }

    /// [`Vm::export`] for one that is good for less.
    pub(crate) fn export_for(&self, object: &Arc<Object>, access: Access) -> Result<OwnedFd> {
        let vm = &self.inner;
        let fd = vm.vmm.export_for(object, access);
        fd.map_err(|e| vm.failed("descriptor", e))
    }
}

impl MapCore {
    /// An object, where it is a map.
    pub fn of(vm: &Vm, object: Arc<Object>) -> Option<Self> {
        match vm.inner.known(&object) {
            Some(Known::Map(info)) => Some(Self {
                vm: vm.clone(),
                object,
                info,
                access: Access::Both,
            }),
            _ => None,
        }
    }
}

impl ProgramCore {
    /// An object, where it is a program.
    pub fn of(vm: &Vm, object: Arc<Object>) -> Option<Self> {
        match vm.inner.known(&object) {
            Some(Known::Program(info)) => Some(Self {
                vm: vm.clone(),
                object,
                info,
            }),
            _ => None,
        }
    }
}

pub(crate) fn not_pinned(path: &str) -> Error {
    refused(format!("nothing is pinned at {path:?}"), errno::ENOENT)
}

fn check_path(path: &str) -> Result<()> {
    match path.len() {
        0 => Err(refused("an empty name".into(), errno::ENOENT)),
        len if len >= LONGEST_PATH => Err(refused(
            format!("a name of {len} bytes, expected less than {LONGEST_PATH}"),
            errno::ENAMETOOLONG,
        )),
        _ => Ok(()),
    }
}
