//! The heap: talc over the heap region, taken in steps of a region's size so
//! that an idle VM stays small.
#![allow(unsafe_code)]
use crate::kvm::{Kvm, shared};
use bpfvisor_abi::{boot::BootInfo, layout};
use bpfvisor_guest::hal::Machine;
use core::alloc::Layout;
use core::ptr::NonNull;
use talc::{TalcLock, base::Talc, base::binning::Binning, source::Source};

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Steps> = TalcLock::new(Steps { end: 0, next: 0 });

/// What of the heap region was handed to the allocator.
#[derive(Debug)]
struct Steps {
    /// Address of the heap's end in the allocator's terms, 0 before the first step.
    end: usize,
    /// First address not handed out yet, 0 before the first step.
    next: u64,
}

// SAFETY: `acquire` uses nothing that allocates.
unsafe impl Source for Steps {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let begin = if talc.source.next == 0 {
            layout::HEAP
        } else {
            talc.source.next
        };
        let want = layout.size().checked_add(layout.align()).ok_or(())?;
        // Room for the allocator's own bookkeeping beside the block.
        let step = (want as u64 + 0x4000)
            .checked_next_multiple_of(layout::REGION)
            .ok_or(())?;
        let end = begin
            .checked_add(step)
            .filter(|&e| e <= heap_end())
            .ok_or(())?;
        // The VMM has populated the first region itself.
        for region in (begin..end).step_by(layout::REGION as usize) {
            if region != layout::HEAP {
                Kvm.populate(region);
            }
        }
        // SAFETY: [begin, end) is mapped writable by the VMM (the heap's length
        // is from the boot record), used by nobody else, and adjoins what was
        // claimed before.
        let claimed = match NonNull::new(talc.source.end as *mut u8) {
            Some(old) => Some(unsafe { talc.extend(old, end as *mut u8) }),
            None => unsafe { talc.claim(begin as *mut u8, step as usize) },
        };
        talc.source.end = claimed.map_or(0, |p| p.as_ptr() as usize);
        talc.source.next = end;
        claimed.map(|_| ()).ok_or(())
    }
}

fn heap_end() -> u64 {
    let info: Option<BootInfo> = shared().read(layout::BOOT_INFO);
    layout::HEAP + info.map_or(0, |i| i.heap_len.min(layout::HEAP_MAX))
}
