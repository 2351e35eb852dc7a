//! Text of `bpf_trace_printk`, from the vCPUs' trace rings.

use std::sync::atomic::{AtomicU64, Ordering};

use bpfvisor_abi::layout;
use bpfvisor_abi::ring::block::{TRACE, TRACE_HEAD, TRACE_LEN};
use vm_memory::{Bytes, VolatileMemory, VolatileMemoryError};

use crate::shared::SharedMemory;

/// How far each vCPU's ring has been read.
#[derive(Debug)]
pub(crate) struct Reader {
    tails: Vec<u64>,
}

impl Reader {
    pub(crate) fn new(vcpus: u32) -> Self {
        Self {
            tails: vec![0; vcpus as usize],
        }
    }

    /// What was written since the last call, vCPU by vCPU. What the rings had no
    /// room for is lost.
    pub(crate) fn take(&mut self, shared: &SharedMemory) -> String {
        let mut text = Vec::new();
        for (vcpu, tail) in (0..).zip(&mut self.tails) {
            // Outside shared memory there is no text.
            let _ = take_one(shared, vcpu, tail, &mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn take_one(
    shared: &SharedMemory,
    vcpu: u32,
    tail: &mut u64,
    text: &mut Vec<u8>,
) -> Result<(), VolatileMemoryError> {
    let queue = layout::queue_block(vcpu) as usize;
    let slice = shared.slice();
    let head = slice.get_atomic_ref::<AtomicU64>(queue + TRACE_HEAD as usize)?;
    let head = head.load(Ordering::Acquire);
    // A head that went back, or ran further than the ring is long, is either
    // lost text or a lie; both cost text only.
    let start = if head < *tail {
        head
    } else {
        (*tail).max(head.saturating_sub(TRACE_LEN))
    };
    *tail = head;
    for at in start..head {
        let mut byte = [0];
        slice.read_slice(&mut byte, queue + (TRACE + at % TRACE_LEN) as usize)?;
        text.push(byte[0]);
    }
    Ok(())
}
