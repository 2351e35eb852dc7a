//! Perf event arrays: streams of events from programs, one for each vCPU.

use super::Map;
use super::ring::Consumer;
use crate::error::{Error, Result};
use crate::spec::MapSpec;
use bpf_core::uapi::{MapType, elem_flags};
use bpfvisor_vmm::Bell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// The consumer of a `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
///
/// What is a perf event in Linux is a ring buffer here: slot *n* of the array
/// names that of vCPU *n*, and `bpf_perf_event_output` writes there. Events of one
/// vCPU come in order; between vCPUs there is none.
///
/// ```no_run
/// # fn main() -> bpfvisor::Result<()> {
/// # let vm = bpfvisor::Vm::builder().boot()?;
/// let map = vm.create_map(bpfvisor::MapSpec::perf_event_array("events", vm.vcpus()))?;
/// let mut events = map.event_stream(64 << 10)?;
/// while let Some(event) = events.next(Some(std::time::Duration::from_secs(1)))? {
///     println!("vCPU {}: {} bytes", event.cpu, event.data.len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// With poll, epoll or an event loop it works as [`RingBuffer`](crate::RingBuffer)
/// does: take events until there are no more, [`arm`](EventStream::arm), wait for
/// the descriptor.
#[derive(Debug)]
#[doc(alias = "perf_buffer")]
pub struct EventStream {
    map: Map,
    sources: Vec<Source>,
    bell: Bell,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Source {
    /// Keeps the ring alive.
    _ring: Map,
    consumer: Consumer,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The slot of the array: the vCPU, where the program asked for its own.
    pub cpu: u32,
    /// What the program gave, and behind it the bytes of the packet that it asked
    /// for. (Linux pads both together to 4 bytes less than a multiple of 8.)
    pub data: &'a [u8],
}

impl Map {
    /// Makes a ring buffer of `bytes` (a power of two and a multiple of 4096) for
    /// each vCPU, puts them into the array's slots, and consumes them. What was in
    /// the slots before goes.
    ///
    /// # Errors
    /// EINVAL for maps of other types and other sizes, ENOMEM, and what
    /// [`Map::update`] answers.
    pub fn event_stream(&self, bytes: u32) -> Result<EventStream> {
        if self.map_type() != MapType::PerfEventArray {
            return Err(Error::argument("the map is no perf event array"));
        }
        let vm = self.vm();
        let slots = self.max_entries().min(vm.vcpus());
        let rings: Vec<Map> = (0..slots)
            .map(|cpu| {
                let ring = vm.create_map(MapSpec::ringbuf("events", bytes))?;
                let fd = ring.as_fd().as_raw_fd();
                self.update(&cpu.to_ne_bytes(), &fd.to_ne_bytes(), elem_flags::ANY)?;
                Ok(ring)
            })
            .collect::<Result<_>>()?;
        let objects: Vec<_> = rings.iter().map(|r| &*r.core().object).collect();
        let bell = vm.inner.vmm.bell(&objects);
        let bell = bell.map_err(|e| vm.inner.failed("event stream", e))?;
        let sources = rings.into_iter().map(|ring| {
            let consumer = Consumer::new(&ring)?;
            let _ring = ring;
            Ok(Source { _ring, consumer })
        });
        Ok(EventStream {
            map: self.clone(),
            sources: sources.collect::<Result<_>>()?,
            bell: bell.ok_or_else(|| Error::argument("the rings have a consumer already"))?,
            turn: 0,
        })
    }
}

impl EventStream {
    /// The array.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The next event, if there is one now. vCPUs are asked in turn.
    pub fn try_next(&mut self) -> Option<Event<'_>> {
        let cpu = self.step()?;
        Some(self.event(cpu))
    }

    /// The vCPU whose next event was taken.
    pub(super) fn step(&mut self) -> Option<usize> {
        let count = self.sources.len();
        let found = (0..count)
            .map(|i| (self.turn + i) % count)
            .find(|&cpu| self.sources.get_mut(cpu).is_some_and(|s| s.consumer.step()))?;
        self.turn = found + 1;
        Some(found)
    }

    pub(super) fn event(&self, cpu: usize) -> Event<'_> {
        let data = self.sources.get(cpu).map(|s| s.consumer.record());
        Event {
            cpu: cpu as u32,
            data: data.unwrap_or_default(),
        }
    }

    /// The next event; waits for it, for `timeout` at most (for ever, without
    /// one). `None` when the time is up.
    ///
    /// # Errors
    /// [`Error::Guest`](crate::Error::Guest) when the VM has died, and there are
    /// no more events.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event<'_>>> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            if let Some(cpu) = self.step() {
                return Ok(Some(self.event(cpu)));
            }
            if !self.arm() {
                continue;
            }
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.disarm();
                // What came between the last look and now is not lost.
                let last = self.step();
                return Ok(last.map(|cpu| self.event(cpu)));
            }
            self.map.check_alive()?;
            self.bell.wait(left);
            self.disarm();
        }
    }

    /// Says that the consumer is going to wait for the descriptor. `false` where
    /// there is an event already, and nothing to wait for.
    pub fn arm(&mut self) -> bool {
        self.bell.clear();
        for s in &mut self.sources {
            s.consumer.set_asleep(true);
        }
        if self.sources.iter().all(|s| !s.consumer.ready()) {
            return true;
        }
        self.disarm();
        false
    }

    pub(super) fn disarm(&mut self) {
        for s in &mut self.sources {
            s.consumer.set_asleep(false);
        }
    }

    /// Events that programs could not place because a vCPU's ring was full: each
    /// got ENOSPC.
    #[doc(alias = "PERF_RECORD_LOST")]
    pub fn lost(&self) -> u64 {
        self.sources.iter().map(|s| s.consumer.lost()).sum()
    }
}

impl AsFd for EventStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl AsRawFd for EventStream {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_fd().as_raw_fd()
    }
}
