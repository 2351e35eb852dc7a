//! From a configuration to a running VM.

use std::io;
use std::sync::Arc;

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
    let host = Host::get()?;
    let private = Arc::new(Private::new(Places::new(&config))?);
    let shared = Arc::new(SharedMemory::new(config.shared_bytes)?);
    let mut crew = Crew::new(config.vcpus);
    // KVM takes long to create its things; memory is filled meanwhile.
    crew.start(fill((&config, host.bmi2), image, &private, &shared))?;
    // The slots come before any vCPU: KVM waits long to change them under one.
    let machine = Arc::new(Machine::new(host, private, Arc::clone(&shared))?);
    for index in 1..config.vcpus {
        let machine = Arc::clone(&machine);
        crew.start(move || Vcpu::new(host, machine, index).map(Some))?;
    }
    let first = Vcpu::new(host, machine, 0)?;
    let core = Core::new(config, shared).map_err(|source| BootError::Kvm {
        step: "create the doorbells",
        source,
    })?;
    let core = Arc::new(core);
    let launched = crew.launch(&core, image.entry(), first);
    if launched.is_err() {
        stop(&core);
    }
    launched.map(|()| core)
}

/// The job of filling both slots.
fn fill(
    (config, bmi2): (&Config, bool),
    image: &Image,
    private: &Arc<Private>,
    shared: &Arc<SharedMemory>,
) -> impl FnOnce() -> Result<Option<Vcpu>, BootError> + Send + use<> {
    let (config, image) = (config.clone(), image.clone());
    let (private, shared) = (Arc::clone(private), Arc::clone(shared));
    move || {
        fill_private(&private, &image)?;
        fill_shared(&shared, &config, bmi2)?;
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

fn fill_shared(shared: &SharedMemory, config: &Config, bmi2: bool) -> Result<(), BootError> {
    shared.populate(0, layout::queue_block(config.vcpus));
    shared
        .set_boot_info(&boot_info(config, bmi2)?)
        .map_err(|_| BootError::Memory {
            step: "write the boot record",
            source: io::ErrorKind::InvalidInput.into(),
        })
}

/// Ends all vCPU threads.
pub(crate) fn stop(core: &Core) {
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
        seed: random::seed().map_err(|source| BootError::Memory {
            step: "read random bytes",
            source,
        })?,
        ..BootInfo::default()
    })
}
