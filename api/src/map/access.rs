//! What a descriptor of a map is good for.

use super::{Map, MapCore};
use crate::error::{CallerError, Error, Result};
use bpf_core::uapi::{errno, map_flags};
use bpfvisor_vmm::Access;

/// The flags that say so, wherever Linux takes them.
pub(crate) const MODE: u32 = map_flags::RDONLY | map_flags::WRONLY;

/// `bpf_get_file_flag`: what flags ask for. Other bits are not looked at.
pub(crate) fn of_flags(flags: u32) -> Result<Access> {
    match flags & MODE {
        0 => Ok(Access::Both),
        map_flags::RDONLY => Ok(Access::Read),
        map_flags::WRONLY => Ok(Access::Write),
        _ => Err(Error::argument("BPF_F_RDONLY and BPF_F_WRONLY together")),
    }
}

impl Map {
    /// What its descriptor, and all copies of that, are good for.
    pub fn access(&self) -> Access {
        self.core().access
    }

    /// The same map by a new descriptor that is good for less, to be given to
    /// somebody who may only read it, or only write it. Programs are not concerned
    /// (`BPF_F_RDONLY_PROG` and `BPF_F_WRONLY_PROG` are for them).
    ///
    /// # Errors
    /// EPERM for what this descriptor is not good for itself.
    #[doc(alias = "BPF_F_RDONLY")]
    #[doc(alias = "BPF_F_WRONLY")]
    pub fn reopen(&self, access: Access) -> Result<Self> {
        let core = self.core();
        if core.access != Access::Both && core.access != access {
            let (op, errno) = ("reopen", errno::EPERM);
            return Err(CallerError::Refused { op, errno }.into());
        }
        let fd = core.vm.export_for(&core.object, access)?;
        let core = MapCore {
            access,
            ..core.clone()
        };
        Ok(Self::new(core, fd))
    }
}
