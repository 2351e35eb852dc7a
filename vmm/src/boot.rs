//! From a configuration to a running VM.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bpfvisor_abi::boot::{BootInfo, boot_flags};
use bpfvisor_abi::{PROTOCOL_VERSION, layout};
use vm_memory::VolatileMemoryError;

use crate::config::Config;
use crate::core::Core;
use crate::error::BootError;
use crate::host::Host;
use crate::image::Image;
use crate::machine::Machine;
use crate::memory::{Places, Private};
use crate::shared::SharedMemory;
use crate::vcpu::{Ready, Vcpu};
use crate::{descriptors, paging, random};

/// Longest time the guest may take to announce itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Boots `image`; on failure nothing is left behind.
pub(crate) fn boot(config: &Config, image: &Image) -> Result<Arc<Core>, BootError> {
    let config = config.checked()?;
    let host = Host::get()?;
    let places = Places::new(&config);
    let private = Private::new(places)?;
    write_tables(&private, image).map_err(|e| BootError::Memory {
        step: "write the tables",
        source: io::Error::other(e),
    })?;
    image.load(&private.mapping)?;
    private.populate_stacks();
    let shared = Arc::new(SharedMemory::new(config.shared_bytes)?);
    shared.populate(0, layout::queue_block(config.vcpus));
    let info = boot_info(&config)?;
    shared.set_boot_info(&info).map_err(|_| BootError::Memory {
        step: "write the boot record",
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let machine = Arc::new(Machine::new(host, private, Arc::clone(&shared))?);
    let core = Core::new(config, shared).map_err(|source| BootError::Kvm {
        step: "create the doorbells",
        source,
    })?;
    let core = Arc::new(core);
    let started = start(host, &core, &machine, image.entry());
    if started.is_err() {
        stop(&core);
    }
    started.map(|()| core)
}

/// Ends all vCPU threads.
pub(crate) fn stop(core: &Core) {
    use crate::fault::{Cause, FaultReport};
    core.die(FaultReport::plain(Cause::Shutdown, 0, ""));
    core.lanes.iter().for_each(crate::lane::Lane::join);
}

fn write_tables(private: &Private, image: &Image) -> Result<(), VolatileMemoryError> {
    let memory = private.mapping.slice();
    paging::write(&memory, &private.places, image)?;
    descriptors::write(&memory, private.places.vcpus)
}

fn boot_info(config: &Config) -> Result<BootInfo, BootError> {
    let flag = |on, bit| if on { bit } else { 0 };
    Ok(BootInfo {
        version: PROTOCOL_VERSION,
        flags: flag(config.verifier_off, boot_flags::VERIFIER_OFF)
            | flag(config.interpret, boot_flags::INTERPRET),
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

/// Starts the first vCPU, which sets up the runtime, then all others.
fn start(
    host: &'static Host,
    core: &Arc<Core>,
    machine: &Arc<Machine>,
    entry: u64,
) -> Result<(), BootError> {
    let (sender, receiver) = sync_channel(core.lanes.len());
    spawn(host, core, machine, (0, entry), &sender)?;
    wait(&receiver)?;
    for index in 1..core.config.vcpus {
        spawn(host, core, machine, (index, entry), &sender)?;
    }
    (1..core.config.vcpus).try_for_each(|_| wait(&receiver))
}

fn wait(receiver: &Receiver<Ready>) -> Result<(), BootError> {
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|e| {
        let text = match e {
            RecvTimeoutError::Timeout => "did not announce itself in time",
            RecvTimeoutError::Disconnected => "ended before it announced itself",
        };
        Err(BootError::Guest { text: text.into() })
    })
}

/// Starts the thread of one vCPU, which creates the vCPU itself, as KVM likes it.
fn spawn(
    host: &'static Host,
    core: &Arc<Core>,
    machine: &Arc<Machine>,
    (index, entry): (u32, u64),
    sender: &SyncSender<Ready>,
) -> Result<(), BootError> {
    let lane = core.lanes.get(index as usize);
    let lane = lane.ok_or(BootError::Protocol {
        text: format!("no lane for vCPU {index}"),
    })?;
    let (parts, sender) = ((Arc::clone(core), Arc::clone(machine)), sender.clone());
    let body = move || match Vcpu::new(host, parts, (index, entry), sender.clone()) {
        Ok(vcpu) => vcpu.run(),
        Err(error) => drop(sender.send(Err(error))),
    };
    let thread = std::thread::Builder::new()
        .name(format!("bpfvisor-vcpu{index}"))
        .spawn(body)
        .map_err(|source| BootError::Kvm {
            step: "start a vCPU's thread",
            source,
        })?;
    lane.set_thread(thread);
    Ok(())
}
