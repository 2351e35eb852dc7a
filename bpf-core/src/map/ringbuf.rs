//! Ring buffers: programs produce, the host consumes.
//!
//! Positions count bytes for ever; a record lies at its position modulo the
//! ring's size and may run on behind the ring's end, where there is room for it
//! ([`RingLayout`]). It begins with the header of Linux: a length with the bits
//! [`BUSY`] and [`DISCARD`], and the record's page.
//!
//! The consumer's position is the consumer's word alone, everything else the
//! producers'. Neither side believes the other's: a wrong position makes
//! producers find the ring full, or the consumer skip to its end.

use super::error::{MapError, ReadError};
use super::geometry::{PAGE, RingLayout};
use super::mend::damage;
use super::region::Region;
use crate::uapi::errno;
use alloc::vec::Vec;
use ring_flags as rf;

/// Flags of `bpf_ringbuf_output`, `_submit` and `_discard`, and what
/// `bpf_ringbuf_query` is asked.
pub mod ring_flags {
    /// `BPF_RB_NO_WAKEUP`.
    pub const NO_WAKEUP: u64 = 1;
    /// `BPF_RB_FORCE_WAKEUP`.
    pub const FORCE_WAKEUP: u64 = 2;
    /// `BPF_RB_AVAIL_DATA`: bytes not yet consumed.
    pub const AVAIL_DATA: u64 = 0;
    /// `BPF_RB_RING_SIZE`.
    pub const RING_SIZE: u64 = 1;
    /// `BPF_RB_CONS_POS`.
    pub const CONS_POS: u64 = 2;
    /// `BPF_RB_PROD_POS`.
    pub const PROD_POS: u64 = 3;
}

/// `BPF_RINGBUF_BUSY_BIT`: reserved, not committed.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: to be skipped.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: u64 = 8;
/// `RINGBUF_MAX_RECORD_SZ`.
const MAX_RECORD: u64 = u32::MAX as u64 / 4;

/// The consumer's position.
const CONSUMER: u64 = 0;
/// Not 0 while the consumer sleeps, or is about to, and wants to be woken. A
/// producer that wakes it takes the mark.
const ASLEEP: u64 = 8;
/// The producers' position: behind the last reserved record.
const PRODUCER: u64 = PAGE;
/// The oldest record that was not committed when last looked at.
const PENDING: u64 = PAGE + 8;
/// The producers' lock.
const LOCK: u64 = PAGE + 16;
/// Records for which there was no room.
const LOST: u64 = PAGE + 24;

/// A ring buffer's storage.
#[derive(Clone)]
pub(super) struct Ring {
    region: Region,
    l: RingLayout,
}

impl Ring {
    pub(super) fn new(l: RingLayout, region: Region) -> Ring {
        Ring { region, l }
    }

    fn record(&self, position: u64) -> u64 {
        self.l.data + (position & self.l.mask & !7)
    }

    /// Bytes that a record of `len` bytes takes.
    fn size(len: u32) -> u64 {
        (u64::from(len & !(BUSY | DISCARD)) + HEADER).next_multiple_of(8)
    }

    pub(super) fn reserve(&self, size: u64) -> Option<u64> {
        let off = self.take(size);
        if off.is_none() {
            self.region.fetch_add_u64(LOST, 1);
        }
        Some(self.region.addr(off? + HEADER))
    }

    fn take(&self, size: u64) -> Option<u64> {
        if size > MAX_RECORD || (size + HEADER).next_multiple_of(8) > self.l.mask + 1 {
            return None;
        }
        if !self.region.lock(LOCK) {
            return None;
        }
        let off = self.advance(size as u32);
        self.region.unlock(LOCK);
        off
    }

    /// Makes a busy record, with the lock held. Gives its offset.
    fn advance(&self, len: u32) -> Option<u64> {
        let r = &self.region;
        let producer = r.load_u64(PRODUCER);
        let new = producer.wrapping_add(Self::size(len));
        let consumer = r.load_u64(CONSUMER);
        let pending = self.first_pending(producer);
        if new.wrapping_sub(consumer) > self.l.mask || new.wrapping_sub(pending) > self.l.mask {
            return None;
        }
        let off = self.record(producer);
        r.store_u32(off, len | BUSY);
        r.store_u32(off + 4, (off / PAGE) as u32);
        r.store_u64(PRODUCER, new);
        Some(off)
    }

    /// The oldest record that is still busy. Its space, too, can't be reused,
    /// even where the consumer claims to be past it.
    fn first_pending(&self, producer: u64) -> u64 {
        let mut pending = self.region.load_u64(PENDING);
        if producer.wrapping_sub(pending) > self.l.mask + 1 {
            return pending;
        }
        while pending != producer {
            let header = self.region.load_u32(self.record(pending));
            if header & BUSY != 0 || Self::size(header) > producer.wrapping_sub(pending) {
                break;
            }
            pending = pending.wrapping_add(Self::size(header));
        }
        self.region.store_u64(PENDING, pending);
        pending
    }

    pub(super) fn commit(&self, addr: u64, flags: u64, discard: bool) -> Result<bool, MapError> {
        let off = self
            .region
            .offset_of(addr.wrapping_sub(HEADER))
            .filter(|o| *o >= self.l.data && *o <= self.l.data + self.l.mask && o % 8 == 0)
            .ok_or(MapError::invalid(
                "the address is no record of this ring buffer",
            ))?;
        let header = self.region.load_u32(off);
        if header & BUSY == 0 {
            return Err(MapError::invalid("the record is committed already"));
        }
        let len = header & !BUSY;
        // An exchange, so that the consumer's position is read after it: either
        // the consumer sees the record or it is seen to wait for it.
        self.region
            .swap_u32(off, if discard { len | DISCARD } else { len });
        let waits_for_this = self.region.load_u64(CONSUMER) & self.l.mask == off - self.l.data;
        let wake = flags & rf::FORCE_WAKEUP != 0 || (waits_for_this && flags & rf::NO_WAKEUP == 0);
        Ok(wake && self.region.load_u32(ASLEEP) != 0 && self.region.swap_u32(ASLEEP, 0) != 0)
    }

    pub(super) fn output(&self, data: &[u8], more: &[u8], flags: u64) -> Result<bool, MapError> {
        if flags & !(rf::NO_WAKEUP | rf::FORCE_WAKEUP) != 0 {
            return Err(MapError::FLAGS);
        }
        let addr = self
            .reserve(data.len() as u64 + more.len() as u64)
            .ok_or(MapError::new(errno::EAGAIN, "the ring buffer is full"))?;
        if let Some(off) = self.region.offset_of(addr) {
            self.region.copy_in(off, data);
            let behind = off + data.len() as u64;
            for (b, at) in more.iter().zip(behind..) {
                self.region.store_u8(at, *b);
            }
        }
        self.commit(addr, flags, false)
    }

    /// See [`mend`](super::mend). Gives how many records were never committed.
    pub(super) fn mend(&self) -> Result<u32, MapError> {
        let r = &self.region;
        let (producer, mut at) = (r.load_u64(PRODUCER), r.load_u64(CONSUMER));
        let mut left = producer.wrapping_sub(at);
        if left > self.l.mask + 1 || producer % 8 != 0 || at % 8 != 0 {
            return Err(damage("a position of the ring buffer is out of range"));
        }
        let mut lost = 0;
        while left != 0 {
            let off = self.record(at);
            let header = r.load_u32(off);
            let size = Self::size(header);
            if size > left {
                return Err(damage("a record of the ring buffer is too long"));
            }
            if header & BUSY != 0 {
                r.store_u32(off, header & !BUSY | DISCARD);
                lost += 1;
            }
            (at, left) = (at.wrapping_add(size), left - size);
        }
        r.store_u64(PENDING, producer);
        r.unlock(LOCK);
        Ok(lost)
    }

    pub(super) fn query(&self, what: u64) -> u64 {
        let (consumer, producer) = (
            self.region.load_u64(CONSUMER),
            self.region.load_u64(PRODUCER),
        );
        match what {
            rf::AVAIL_DATA => producer.wrapping_sub(consumer),
            rf::RING_SIZE => self.l.mask + 1,
            rf::CONS_POS => consumer,
            rf::PROD_POS => producer,
            _ => 0,
        }
    }
}

/// The host's end of a ring buffer.
///
/// Its position is its own; what the storage says of it is only written. Records
/// are copied out once and given whole.
///
/// # Waiting
/// When [`RingConsumer::next`] says that there is nothing, it has published its
/// position and looked again. Before it sleeps, the consumer says so with
/// [`RingConsumer::set_asleep`] and looks once more: either it finds the next
/// record, or the producer that commits that finds the mark and has it woken. A
/// consumer that doesn't sleep is never woken, which would cost an exit.
pub struct RingConsumer {
    ring: Ring,
    position: u64,
    /// The producers' position when it was last read, found plausible then.
    known: u64,
    published: u64,
}

impl RingConsumer {
    pub(super) fn new(ring: Ring) -> RingConsumer {
        let position = ring.region.load_u64(CONSUMER) & !7;
        RingConsumer {
            ring,
            position,
            known: position,
            published: position,
        }
    }

    /// The position up to which records were consumed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Copies the next committed record's data into `out`; `Ok(false)` where
    /// there is none now. Discarded records are skipped. `AskGuest` where the
    /// ring makes no sense: all that was in it is skipped.
    #[inline]
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        // Discarded records take 8 bytes at least, so this ends.
        for _ in 0..=self.ring.l.mask / HEADER {
            if self.position == self.known && !self.look()? {
                return Ok(false);
            }
            let off = self.ring.record(self.position);
            let header = self.ring.region.load_u32(off);
            if header & BUSY != 0 {
                if self.busy_still(off) {
                    return Ok(false);
                }
                continue;
            }
            let len = header & !DISCARD;
            let size = Ring::size(len);
            if size > self.known.wrapping_sub(self.position) {
                return Err(self.give_up());
            }
            if header & DISCARD == 0 {
                out.resize(len as usize, 0);
                self.ring.region.copy_out(off + HEADER, out);
            }
            self.position = self.position.wrapping_add(size);
            if self.position.wrapping_sub(self.published) > self.ring.l.mask / 4 {
                self.publish();
            }
            if header & DISCARD == 0 {
                return Ok(true);
            }
        }
        self.publish();
        Err(ReadError::AskGuest)
    }

    /// Gives the space of consumed records back to the producers at once.
    pub fn publish(&mut self) {
        if self.published != self.position {
            // An exchange: what is read after it is newer.
            self.ring.region.swap_u64(CONSUMER, self.position);
            self.published = self.position;
        }
    }

    /// Says whether the consumer is about to sleep, or has stopped to.
    pub fn set_asleep(&mut self, asleep: bool) {
        self.publish();
        self.ring.region.swap_u32(ASLEEP, u32::from(asleep));
    }

    /// How many records found no room since the map was created: what the
    /// producers say.
    pub fn lost(&self) -> u64 {
        self.ring.region.load_u64(LOST)
    }

    /// Whether the next record is committed.
    pub fn ready(&self) -> bool {
        let header = self.ring.region.load_u32(self.ring.record(self.position));
        self.available() != 0 && header & BUSY == 0
    }

    /// Bytes of records between the consumer and the producers.
    pub fn available(&self) -> u64 {
        let there = self
            .ring
            .region
            .load_u64(PRODUCER)
            .wrapping_sub(self.position);
        there.min(self.ring.l.mask + 1)
    }

    /// Reads the producers' position; whether there is more than was known.
    #[inline]
    fn look(&mut self) -> Result<bool, ReadError> {
        let mut producer = self.ring.region.load_u64(PRODUCER);
        if producer == self.position {
            self.publish();
            producer = self.ring.region.load_u64(PRODUCER);
        }
        let there = producer.wrapping_sub(self.position);
        if there > self.ring.l.mask + 1 || !there.is_multiple_of(8) {
            return Err(self.give_up());
        }
        self.known = producer;
        Ok(there != 0)
    }

    fn busy_still(&mut self, off: u64) -> bool {
        self.publish();
        self.ring.region.load_u32(off) & BUSY != 0
    }

    /// The ring makes no sense: all that is in it is skipped.
    #[cold]
    fn give_up(&mut self) -> ReadError {
        self.position = self.ring.region.load_u64(PRODUCER) & !7;
        self.known = self.position;
        self.publish();
        ReadError::AskGuest
    }
}
