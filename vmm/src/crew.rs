//! The threads of a VM's vCPUs, from their start to their first instruction.
//!
//! Creating a vCPU is what takes KVM longest, so each thread creates its own
//! while memory is being prepared elsewhere, and then waits for its orders.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::core::Core;
use crate::error::BootError;
use crate::host::Host;
use crate::machine::Machine;
use crate::signal;
use crate::vcpu::Vcpu;

/// Longest time a vCPU may take to announce itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A vCPU has announced itself, or why there is none.
pub(crate) type Ready = Result<(), BootError>;

/// What a waiting vCPU needs to run.
pub(crate) struct Orders {
    pub(crate) core: Arc<Core>,
    pub(crate) entry: u64,
    pub(crate) ready: SyncSender<Ready>,
}

/// Threads that wait for orders. Dropped, they are sent home.
pub(crate) struct Crew {
    members: Vec<Member>,
    ready: Receiver<Ready>,
    sender: SyncSender<Ready>,
}

struct Member {
    /// Given up to send the thread home.
    orders: Option<SyncSender<Orders>>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads, which create their vCPUs.
    pub(crate) fn start(
        host: &'static Host,
        machine: &Arc<Machine>,
        vcpus: u32,
    ) -> Result<Self, BootError> {
        let (sender, ready) = sync_channel(vcpus as usize);
        let mut crew = Self {
            members: Vec::new(),
            ready,
            sender,
        };
        for index in 0..vcpus {
            let (orders, receiver) = sync_channel(1);
            let (machine, ready) = (Arc::clone(machine), crew.sender.clone());
            let thread = Builder::new()
                .name(format!("bpfvisor-vcpu{index}"))
                .spawn(move || serve(host, machine, index, (&receiver, ready)))
                .map_err(|source| BootError::Kvm {
                    step: "start a vCPU's thread",
                    source,
                })?;
            crew.members.push(Member {
                orders: Some(orders),
                thread: Some(thread),
            });
        }
        Ok(crew)
    }

    /// Lets the first vCPU run, which sets up the runtime, then all others. Gives
    /// the threads to their lanes.
    pub(crate) fn launch(mut self, core: &Arc<Core>, entry: u64) -> Result<(), BootError> {
        for (lane, member) in core.lanes.iter().zip(&mut self.members) {
            lane.set_thread(member.thread.take());
        }
        let orders = || Orders {
            core: Arc::clone(core),
            entry,
            ready: self.sender.clone(),
        };
        let (first, others) = self.members.split_at(self.members.len().min(1));
        for part in [first, others] {
            // A member that is gone has said why.
            part.iter()
                .flat_map(|m| &m.orders)
                .for_each(|tell| drop(tell.send(orders())));
            part.iter().try_for_each(|_| self.wait())?;
        }
        Ok(())
    }

    fn wait(&self) -> Ready {
        self.ready.recv_timeout(PATIENCE).unwrap_or_else(|e| {
            let text = match e {
                RecvTimeoutError::Timeout => "did not announce itself in time",
                RecvTimeoutError::Disconnected => "ended before it announced itself",
            };
            Err(BootError::Guest { text: text.into() })
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.orders = None;
            if let Some(thread) = member.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// The body of a vCPU's thread.
fn serve(
    host: &Host,
    machine: Arc<Machine>,
    index: u32,
    (orders, ready): (&Receiver<Orders>, SyncSender<Ready>),
) {
    signal::unblock();
    match Vcpu::new(host, machine, index) {
        Ok(vcpu) => {
            drop(ready);
            if let Ok(orders) = orders.recv() {
                vcpu.run(orders);
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}
