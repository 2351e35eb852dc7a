//! Ring buffers: a stream of records from programs.

use super::Map;
use super::view::Writer;
use crate::error::{CallerError, Result};
use crate::vm::died;
use bpf_core::map::{ReadError, RingConsumer};
use bpf_core::uapi::errno;
use bpfvisor_vmm::Bell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// How often an empty ring is looked at before [`RingBuffer::next`] sleeps.
const SPINS: u32 = 2000;

/// The consumer of a `BPF_MAP_TYPE_RINGBUF`; there is one at a time.
///
/// Records come in the order in which programs reserved them. While the consumer
/// keeps up, a record costs neither a system call nor an exit of the VM; a
/// program rings only for a consumer that sleeps, by Linux's rules
/// (`BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`).
///
/// ```no_run
/// # fn main() -> bpfvisor::Result<()> {
/// # let vm = bpfvisor::Vm::builder().boot()?;
/// let events = vm.create_map(bpfvisor::MapSpec::ringbuf("events", 1 << 16))?;
/// let mut ring = events.ring_buffer()?;
/// while let Some(record) = ring.next(Some(std::time::Duration::from_secs(1)))? {
///     println!("{} bytes", record.len());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # With poll, epoll or an event loop
/// The descriptor ([`AsFd`]) becomes readable when a record was committed after
/// [`RingBuffer::arm`] had said that there is none: take records with
/// [`RingBuffer::try_next`] until there are no more, `arm`, and wait for the
/// descriptor only if that gave `true`.
#[derive(Debug)]
pub struct RingBuffer {
    map: Map,
    consumer: Consumer,
    bell: Bell,
    _writer: Writer,
}

/// One ring's end, and the record last taken from it.
pub(super) struct Consumer {
    ring: RingConsumer,
    record: Vec<u8>,
    skipped: u64,
}

impl Consumer {
    /// EINVAL for maps of other types.
    pub fn new(map: &Map) -> Result<Self> {
        let reader = map.core().info.reader.as_ref();
        let ring = reader.and_then(|r| r.consumer());
        Ok(Self {
            ring: ring.ok_or_else(|| refused(errno::EINVAL))?,
            record: Vec::new(),
            skipped: 0,
        })
    }

    /// Takes the next record. Where the ring makes no sense (only a program run
    /// without verification can do that), what is in it is given up.
    pub fn step(&mut self) -> bool {
        match self.ring.next(&mut self.record) {
            Ok(there) => there,
            Err(ReadError::AskGuest | ReadError::Map(_)) => {
                self.skipped += 1;
                false
            }
        }
    }

    /// The record taken.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Whether there is a record.
    pub fn ready(&self) -> bool {
        self.ring.ready()
    }

    pub fn set_asleep(&mut self, asleep: bool) {
        self.ring.set_asleep(asleep);
    }

    /// Records that found no room.
    pub fn lost(&self) -> u64 {
        self.ring.lost()
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer(at {})", self.ring.position())
    }
}

impl Map {
    /// The consumer's end of a ring buffer.
    ///
    /// # Errors
    /// EINVAL for maps of other types, EBUSY where there is a consumer already,
    /// EPERM for a map that is frozen or may not be read. As long as there is a
    /// consumer, the map can't be frozen.
    pub fn ring_buffer(&self) -> Result<RingBuffer> {
        let core = self.core();
        core.readable()?;
        // What is read is taken away.
        core.writable()?;
        let consumer = Consumer::new(self)?;
        let writer = Writer::new(self)?;
        let vm = &core.vm.inner;
        let bell = vm.vmm.bell(&[&core.object]);
        let bell = bell.map_err(|e| vm.failed("ring buffer", e))?;
        Ok(RingBuffer {
            map: self.clone(),
            consumer,
            bell: bell.ok_or_else(|| refused(errno::EBUSY))?,
            _writer: writer,
        })
    }

    /// The report of a VM that died.
    pub(super) fn check_alive(&self) -> Result<()> {
        let vmm = &self.core().vm.inner.vmm;
        match vmm.fault() {
            Some(report) if !vmm.is_alive() => Err(died(&report)),
            _ => Ok(()),
        }
    }
}

fn refused(errno: i32) -> crate::Error {
    let op = "ring buffer";
    CallerError::Refused { op, errno }.into()
}

impl RingBuffer {
    /// The map.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The next record, if there is one now.
    pub fn try_next(&mut self) -> Option<&[u8]> {
        self.step().then(|| self.consumer.record())
    }

    /// Takes the next record, if there is one.
    pub(super) fn step(&mut self) -> bool {
        self.consumer.step()
    }

    /// The record that was taken.
    #[cfg(feature = "tokio")]
    pub(super) fn record(&self) -> &[u8] {
        self.consumer.record()
    }

    /// The next record; waits for it, for `timeout` at most (for ever, without
    /// one). `None` when the time is up.
    ///
    /// # Errors
    /// [`Error::Guest`](crate::Error::Guest) when the VM has died, and there are
    /// no more records.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<&[u8]>> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        loop {
            if self.look(deadline) {
                return Ok(Some(self.consumer.record()));
            }
            if self.arm() {
                let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
                if left.is_some_and(|left| left.is_zero()) {
                    self.disarm();
                    // What came between the last look and now is not lost.
                    return Ok(self.consumer.step().then(|| self.consumer.record()));
                }
                self.map.check_alive()?;
                self.bell.wait(left);
                self.disarm();
            }
        }
    }

    /// Looks for a record for a short time.
    fn look(&mut self, deadline: Option<Instant>) -> bool {
        for _ in 0..SPINS {
            if self.consumer.step() {
                return true;
            }
            std::hint::spin_loop();
        }
        // Not to be missed where the time is up before the first look.
        deadline.is_some_and(|d| d <= Instant::now()) && self.consumer.step()
    }

    /// Says that the consumer is going to wait for the descriptor. `false` where
    /// there is a record already, and nothing to wait for.
    pub fn arm(&mut self) -> bool {
        self.bell.clear();
        self.consumer.ring.set_asleep(true);
        if !self.consumer.ring.ready() {
            return true;
        }
        self.disarm();
        false
    }

    pub(super) fn disarm(&mut self) {
        self.consumer.ring.set_asleep(false);
    }

    /// All records that are there now; `each` may not keep them.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while self.consumer.step() {
            each(self.consumer.record());
            count += 1;
        }
        // Their room is free at once.
        self.consumer.ring.publish();
        count
    }

    /// Bytes between the consumer and the producers, headers included.
    #[doc(alias = "BPF_RB_AVAIL_DATA")]
    pub fn available(&self) -> u64 {
        self.consumer.ring.available()
    }

    /// Records that programs could not place since the map was created, because
    /// the ring was full (or the record larger than it).
    pub fn dropped(&self) -> u64 {
        self.consumer.ring.lost()
    }

    /// How often a ring that made no sense was given up.
    pub fn corrupted(&self) -> u64 {
        self.consumer.skipped
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl AsRawFd for RingBuffer {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_fd().as_raw_fd()
    }
}
