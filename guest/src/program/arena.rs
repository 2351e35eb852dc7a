//! Where compiled programs lie: the code region, handed out in pieces.
use crate::hal::Machine;
use alloc::vec::Vec;
use spin::Mutex;

/// Pieces begin at multiples of a cache line.
const ALIGN: u64 = 64;
const REGION: u64 = bpfvisor_abi::layout::REGION;

/// The code region.
pub struct Arena {
    machine: &'static dyn Machine,
    state: Mutex<State>,
}

struct State {
    /// Free pieces (begin, end) by rising address, never adjacent.
    free: Vec<(u64, u64)>,
    /// End of what the machine was asked to populate.
    populated: u64,
}

/// A piece of the code region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub addr: u64,
    /// Bytes of code.
    pub len: u64,
}

/// The code region has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Arena {
    /// All of `[base, base + len)` is free.
    pub fn new(machine: &'static dyn Machine, base: u64, len: u64) -> Self {
        let state = State {
            free: alloc::vec![(base, base + len)],
            // The VMM has populated the first region itself.
            populated: base + REGION,
        };
        Self {
            machine,
            state: Mutex::new(state),
        }
    }

    /// Places the code that `make` produces, given the address where it will be.
    pub fn place<E: From<Full>>(
        &self,
        make: impl FnOnce(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Span, E> {
        let mut state = self.state.lock();
        let largest = state
            .free
            .iter()
            .enumerate()
            .max_by_key(|(_, (b, e))| e - b);
        let (i, &(begin, end)) = largest.ok_or(Full)?;
        let mut bytes = make(begin)?;
        let len = bytes.len() as u64;
        // What follows the code traps.
        bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0xcc);
        let next = begin + bytes.len() as u64;
        if next > end {
            return Err(Full.into());
        }
        while state.populated < next {
            self.machine.populate(state.populated);
            state.populated += REGION;
        }
        if !self.machine.write_code(begin, &bytes) {
            return Err(Full.into());
        }
        if next == end {
            state.free.remove(i);
        } else if let Some(piece) = state.free.get_mut(i) {
            piece.0 = next;
        }
        Ok(Span { addr: begin, len })
    }

    /// Gives a piece back. Nothing may run in it any more.
    pub fn release(&self, span: Span) {
        let end = span.addr + span.len.next_multiple_of(ALIGN);
        let mut state = self.state.lock();
        let at = state.free.partition_point(|&(b, _)| b < span.addr);
        state.free.insert(at, (span.addr, end));
        state.free.dedup_by(|next, prev| {
            let touches = prev.1 == next.0;
            if touches {
                prev.1 = next.1;
            }
            touches
        });
    }
}
