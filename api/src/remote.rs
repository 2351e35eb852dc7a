//! The VM of a daemon (`bpfvisor-vmm`): connecting, and finding what others have
//! made in it.

use crate::error::{CallerError, Error, GuestError, HostError, Result};
use crate::map::{Map, MapCore, MapInfo};
use crate::pins::not_pinned;
use crate::program::{Program, ProgramCore, ProgramInfo};
use crate::registry::Known;
use crate::vm::{Vm, VmInner};
use bpf_core::uapi::{MapType, ProgType, errno};
use bpfvisor_vmm::daemon::Description;
use bpfvisor_vmm::{Access, CallError, ConnectError, Kind, Object};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Which object of a daemon's VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one with this id.
    Id(u32),
    /// The one that was pinned under this name.
    Pinned(&'a str),
    /// The one that was created with this name, if there is only one.
    Name(&'a str),
}

/// An object, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its number among its kind.
    pub id: u32,
    /// The name it was created with.
    pub name: String,
    /// Names it is pinned under.
    pub pins: Vec<String>,
    /// When it was made, since the host's boot.
    pub made: Duration,
    /// What it is.
    pub what: What,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A map.
    Map {
        /// Its type.
        map_type: MapType,
        /// Bytes per key.
        key_size: u32,
        /// Bytes per value.
        value_size: u32,
        /// Capacity.
        max_entries: u32,
        /// `map_flags`.
        flags: u32,
        /// Bytes of memory that it takes.
        memory: u64,
    },
    /// A program.
    Program {
        /// Its type.
        prog_type: ProgType,
        /// Its tag, as in `bpftool prog list`.
        tag: [u8; 8],
        /// Whether its license is compatible with the GPL.
        gpl: bool,
        /// Bytes of instructions after rewriting, and of machine code.
        lengths: (u32, u32),
        /// The maps it uses.
        map_ids: Vec<u32>,
    },
}

impl Vm {
    /// Connects to the VM of the daemon that listens at `path`. It is used as one
    /// of this process: programs are run and maps read through shared memory,
    /// with the daemon off the path; objects are real descriptors that can be
    /// passed to other clients, and live until all of them have closed theirs.
    ///
    /// ```no_run
    /// # fn main() -> bpfvisor::Result<()> {
    /// let vm = bpfvisor::Vm::connect("/run/bpfvisor/vm.sock")?;
    /// for map in vm.maps()? {
    ///     println!("{} {}", map.id, map.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`HostError::Daemon`]: ENOENT or ECONNREFUSED where no daemon listens,
    /// EACCES where it does not admit this user, EBUSY where it has all the
    /// clients it takes, EPROTONOSUPPORT where it is of another version.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(bpfvisor_vmm::Vm::connect(path.as_ref())?))
    }

    /// Whether a daemon runs it, not this process.
    pub fn is_remote(&self) -> bool {
        self.inner.vmm.is_remote()
    }

    /// All maps of a daemon's VM, by id.
    ///
    /// # Errors
    /// EINVAL for a VM of this process.
    #[doc(alias = "BPF_MAP_GET_NEXT_ID")]
    pub fn maps(&self) -> Result<Vec<Described>> {
        self.list(Kind::Map)
    }

    /// All programs of a daemon's VM, by id.
    ///
    /// # Errors
    /// EINVAL for a VM of this process.
    #[doc(alias = "BPF_PROG_GET_NEXT_ID")]
    pub fn programs(&self) -> Result<Vec<Described>> {
        self.list(Kind::Program)
    }

    fn list(&self, kind: Kind) -> Result<Vec<Described>> {
        let vm = &self.inner;
        let all = vm.vmm.list(kind).map_err(|e| vm.failed("list", e))?;
        Ok(all.iter().filter_map(|d| describe(vm, d)).collect())
    }

    /// A map of a daemon's VM.
    ///
    /// # Errors
    /// ENOENT where there is none, EINVAL where several have that name.
    #[doc(alias = "BPF_MAP_GET_FD_BY_ID")]
    pub fn open_map(&self, which: Which<'_>) -> Result<Map> {
        let object = self.find(Kind::Map, which)?;
        let Some(Known::Map(info)) = self.inner.known(&object) else {
            return Err(none(Kind::Map, which));
        };
        let fd = self.export(&object)?;
        let (vm, access) = (self.clone(), Access::Both);
        let core = MapCore {
            vm,
            object,
            info,
            access,
        };
        Ok(Map::new(core, fd))
    }

    /// A program of a daemon's VM.
    ///
    /// # Errors
    /// As [`Vm::open_map`].
    #[doc(alias = "BPF_PROG_GET_FD_BY_ID")]
    pub fn open_program(&self, which: Which<'_>) -> Result<Program> {
        let object = self.find(Kind::Program, which)?;
        let Some(Known::Program(info)) = self.inner.known(&object) else {
            return Err(none(Kind::Program, which));
        };
        let fd = self.export(&object)?;
        let vm = self.clone();
        Ok(Program::new(ProgramCore { vm, object, info }, fd))
    }

    fn find(&self, kind: Kind, which: Which<'_>) -> Result<Arc<Object>> {
        let vmm = &self.inner.vmm;
        let found = match which {
            Which::Id(id) => vmm.open_id(kind, id),
            Which::Pinned(name) => Ok(Some(self.pinned_there(name)?)),
            Which::Name(name) => vmm.open_id(kind, self.id_of(kind, name)?),
        };
        let found = found.map_err(|e| self.inner.failed("open", e))?;
        let found = found.filter(|object| object.kind() == kind);
        found.ok_or_else(|| none(kind, which))
    }

    /// The id of the only object of a name.
    fn id_of(&self, kind: Kind, name: &str) -> Result<u32> {
        let mut all = self.list(kind)?;
        all.retain(|d| d.name == name);
        match all.as_slice() {
            [one] => Ok(one.id),
            [] => Err(none(kind, Which::Name(name))),
            several => Err(Error::argument(format!(
                "{} objects have the name {name:?}: use an id ({})",
                several.len(),
                several
                    .iter()
                    .map(|d| d.id.to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    pub(crate) fn pin_there(&self, path: &str, object: &Object) -> Result<()> {
        let done = self.inner.vmm.pin(object, path);
        done.map_err(|e| match e {
            CallError::Errno {
                errno: errno::EEXIST,
            } => CallerError::Create {
                what: format!("{path:?} is pinned already"),
                errno: errno::EEXIST,
            }
            .into(),
            e => self.inner.failed("pin", e),
        })
    }

    pub(crate) fn unpin_there(&self, path: &str) -> Result<()> {
        let done = self.inner.vmm.unpin(path);
        done.map_err(|e| match e {
            CallError::Errno {
                errno: errno::ENOENT,
            } => not_pinned(path),
            e => self.inner.failed("unpin", e),
        })
    }

    pub(crate) fn pinned_there(&self, path: &str) -> Result<Arc<Object>> {
        let found = self.inner.vmm.open_pin(path);
        let found = found.map_err(|e| self.inner.failed("open", e))?;
        found.ok_or_else(|| not_pinned(path))
    }

    pub(crate) fn pins_there(&self) -> Vec<String> {
        let kinds = [Kind::Map, Kind::Program].into_iter();
        let all = kinds.flat_map(|kind| self.inner.vmm.list(kind).unwrap_or_default());
        let mut names: Vec<_> = all.flat_map(|d| d.pins).collect();
        names.sort();
        names
    }
}

impl VmInner {
    /// What is known about an object, here or by its daemon.
    pub fn known(&self, object: &Arc<Object>) -> Option<Known> {
        if let Some(known) = self.registry.get(object.handle()) {
            return Some(known);
        }
        let d = object.description()?;
        let known = match d.kind {
            Kind::Map => Known::Map(MapInfo::described(self, object, d)?),
            Kind::Program => Known::Program(ProgramInfo::described(d)?),
        };
        self.registry.add(object, known.clone());
        Some(known)
    }
}

fn none(kind: Kind, which: Which<'_>) -> Error {
    let kind = match kind {
        Kind::Map => "map",
        Kind::Program => "program",
    };
    let which = match which {
        Which::Id(id) => format!("with id {id}"),
        Which::Pinned(name) => format!("pinned as {name:?}"),
        Which::Name(name) => format!("named {name:?}"),
    };
    CallerError::Create {
        what: format!("there is no {kind} {which}"),
        errno: errno::ENOENT,
    }
    .into()
}

fn describe(vm: &VmInner, d: &Description) -> Option<Described> {
    let (name, what) = match d.kind {
        Kind::Map => {
            let (name, g) = MapInfo::attributes(vm, d)?;
            let what = What::Map {
                map_type: g.map_type,
                key_size: g.key_size,
                value_size: g.value_size,
                max_entries: g.max_entries,
                flags: g.flags,
                memory: d.storage.1,
            };
            (name, what)
        }
        Kind::Program => {
            let info = ProgramInfo::described(d)?;
            let what = What::Program {
                prog_type: info.prog_type,
                tag: info.tag,
                gpl: info.gpl,
                lengths: (info.load.xlated_insns * 8, info.load.jited_len),
                map_ids: d.maps.clone(),
            };
            (info.name.clone(), what)
        }
    };
    Some(Described {
        id: d.id,
        name,
        pins: d.pins.clone(),
        made: Duration::from_nanos(d.made_ns),
        what,
    })
}

impl From<ConnectError> for Error {
    fn from(e: ConnectError) -> Self {
        let what = e.to_string();
        let errno = match &e {
            ConnectError::NoDaemon { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            ConnectError::Refused { errno, .. } => *errno,
            ConnectError::Protocol { .. } => return GuestError::Protocol(what).into(),
            _ => libc::ENOMEM,
        };
        HostError::Daemon { what, errno }.into()
    }
}
