//! From a configuration to a running VM.

use std::io;
use std::sync::{Arc, PoisonError};

use bpfvisor_abi::boot::{BootInfo, boot_flags};
use bpfvisor_abi::{PROTOCOL_VERSION, layout};
use vm_memory::VolatileMemoryError;

use crate::config::Config;
use crate::core::Core;
use crate::crew::Crew;
use crate::error::BootError;
use crate::fault::{Cause, FaultReport};
use crate::host::Host;
use crate::image::Image;
use crate::lane::Lane;
use crate::machine::Machine;
use crate::memory::{Places, Private};
use crate::shared::SharedMemory;
use crate::vcpu::Vcpu;
use crate::{descriptors, paging, random};

/// Boots `image`; on failure nothing is left behind.
pub(crate) fn boot(config: &Config, image: &Image) -> Result<Arc<Core>, BootError> {
    let config = config.checked()?;
    let shared = Arc::new(SharedMemory::new(config.shared_bytes)?);
    let core = Core::new(config, image.clone(), shared).map_err(|source| BootError::Kvm {
        step: "create the doorbells",
        source,
    })?;
    let (crew, first) = prepare(&core, 0)?;
    let launched = crew.launch(&core, image.entry(), first);
    if launched.is_err() {
        stop(&core);
    }
    launched.map(|()| core)
}

/// A machine that is ready to run: the threads of its vCPUs, and the first vCPU.
/// The queues of shared memory are zero; handles below `kept_indices` are left
/// for objects of an earlier life.
pub(crate) fn prepare(core: &Arc<Core>, kept_indices: u32) -> Result<(Crew, Vcpu), BootError> {
    let config = &core.config;
    let host = Host::get()?;
    let private = Arc::new(Private::new(Places::new(config))?);
    let mut crew = Crew::new(config.vcpus);
    // KVM takes long to create its things; memory is filled meanwhile.
    crew.start(fill(core, &private, (host.bmi2, kept_indices)))?;
    // The slots come before any vCPU: KVM waits long to change them under one.
    let machine = Arc::new(Machine::new(host, private, Arc::clone(&core.shared))?);
    for index in 1..config.vcpus {
        let machine = Arc::clone(&machine);
        crew.start(move || Vcpu::new(host, machine, index).map(Some))?;
    }
    Ok((crew, Vcpu::new(host, machine, 0)?))
}

/// The job of filling both slots.
fn fill(
    core: &Arc<Core>,
    private: &Arc<Private>,
    (bmi2, kept_indices): (bool, u32),
) -> impl FnOnce() -> Result<Option<Vcpu>, BootError> + Send + use<> {
    let (core, private) = (Arc::clone(core), Arc::clone(private));
    move || {
        fill_private(&private, &core.image)?;
        let info = BootInfo {
            kept_indices,
            ..boot_info(&core.config, bmi2)?
        };
        fill_shared(&core.shared, core.config.vcpus, &info)?;
        Ok(None)
    }
}

fn fill_private(private: &Private, image: &Image) -> Result<(), BootError> {
    write_tables(private, image).map_err(|e| BootError::Memory {
        step: "write the tables",
        source: io::Error::other(e),
    })?;
    private.expect_image(image);
    image.load(&private.mapping)?;
    private.populate_for_boot();
    Ok(())
}

fn fill_shared(shared: &SharedMemory, vcpus: u32, info: &BootInfo) -> Result<(), BootError> {
    shared.populate(0, layout::queue_block(vcpus));
    shared.set_boot_info(info).map_err(|_| BootError::Memory {
        step: "write the boot record",
        source: io::ErrorKind::InvalidInput.into(),
    })
}

/// Ends all vCPU threads, for good.
pub(crate) fn stop(core: &Core) {
    core.life.no_more();
    // Whoever is rebuilding it comes first.
    let _history = core.history.lock().unwrap_or_else(PoisonError::into_inner);
    core.die(FaultReport::plain(Cause::Shutdown, 0, ""));
    core.lanes.iter().for_each(Lane::join);
}

fn write_tables(private: &Private, image: &Image) -> Result<(), VolatileMemoryError> {
    let memory = private.mapping.slice();
    paging::write(&memory, &private.places, image)?;
    descriptors::write(&memory, private.places.vcpus)
}

fn boot_info(config: &Config, bmi2: bool) -> Result<BootInfo, BootError> {
    let flag = |on, bit| if on { bit } else { 0 };
    Ok(BootInfo {
        version: PROTOCOL_VERSION,
        flags: flag(config.verifier_off, boot_flags::VERIFIER_OFF)
            | flag(config.interpret, boot_flags::INTERPRET)
            | flag(bmi2, boot_flags::BMI2),
        vcpus: config.vcpus,
        idle_polls: config.guest_idle_polls,
        shared_len: config.shared_bytes,
        heap_len: config.heap_bytes,
        pairs: config.pairs(),
        seed: random::seed().map_err(|source| BootError::Memory {
            step: "read random bytes",
            source,
        })?,
        ..BootInfo::default()
    })
}
