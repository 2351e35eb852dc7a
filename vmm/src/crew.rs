//! The threads of a VM's vCPUs, from their start to their first instruction.
//!
//! Each first does a part of the preparations, so that the machine is ready
//! sooner, and then waits for its orders.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::core::Core;
use crate::error::BootError;
use crate::jail;
use crate::signal;
use crate::vcpu::Vcpu;

/// Longest time a vCPU may take to announce itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A vCPU has announced itself, or why there is none.
pub(crate) type Ready = Result<(), BootError>;

/// What a waiting thread needs to run its vCPU.
pub(crate) struct Orders {
    pub(crate) core: Arc<Core>,
    pub(crate) entry: u64,
    pub(crate) ready: SyncSender<Ready>,
    /// The vCPU, if the thread has not created it itself.
    vcpu: Option<Vcpu>,
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
    pub(crate) fn new(vcpus: u32) -> Self {
        let (sender, ready) = sync_channel(vcpus as usize);
        Self {
            members: Vec::new(),
            ready,
            sender,
        }
    }

    /// Starts the next vCPU's thread with a job of preparation, which may be to
    /// create the vCPU.
    pub(crate) fn start(
        &mut self,
        job: impl FnOnce() -> Result<Option<Vcpu>, BootError> + Send + 'static,
    ) -> Result<(), BootError> {
        let (orders, receiver) = sync_channel(1);
        let thread = Builder::new()
            .name(format!("bpfvisor-vcpu{}", self.members.len()))
            .spawn(move || serve(job, &receiver))
            .map_err(|source| BootError::Kvm {
                step: "start a vCPU's thread",
                source,
            })?;
        self.members.push(Member {
            orders: Some(orders),
            thread: Some(thread),
        });
        Ok(())
    }

    /// Gives the threads to their lanes, lets the first run `vcpu`, which sets up
    /// the runtime, then lets all others run theirs.
    pub(crate) fn launch(
        mut self,
        core: &Arc<Core>,
        entry: u64,
        vcpu: Vcpu,
    ) -> Result<(), BootError> {
        for (lane, member) in core.lanes.iter().zip(&mut self.members) {
            lane.set_thread(member.thread.take());
        }
        let mut first = Some(vcpu);
        for part in [0..1, 1..self.members.len()] {
            let members = self.members.get(part).unwrap_or_default();
            for orders in members.iter().filter_map(|m| m.orders.as_ref()) {
                // A thread that is gone leaves the wait below unanswered.
                let _ = orders.send(Orders {
                    core: Arc::clone(core),
                    entry,
                    ready: self.sender.clone(),
                    vcpu: first.take(),
                });
            }
            members.iter().try_for_each(|_| self.wait())?;
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
fn serve(job: impl FnOnce() -> Result<Option<Vcpu>, BootError>, orders: &Receiver<Orders>) {
    signal::unblock();
    let done = job();
    let Ok(mut orders) = orders.recv() else {
        return;
    };
    match done {
        Err(error) => drop(orders.ready.send(Err(error))),
        Ok(own) => {
            if let Some(vcpu) = own.or(orders.vcpu.take()) {
                jail::confine(jail::Role::Vcpu);
                vcpu.run(orders);
            }
        }
    }
}
