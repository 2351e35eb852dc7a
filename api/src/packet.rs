//! Packet buffers in shared memory.
//!
//! ```text
//! off        off + data          off + data + len       off + cap
//!  | headroom |      packet       |      tailroom        |
//! ```
//! As in Linux's `BPF_PROG_TEST_RUN`, a packet has 256 bytes of headroom in a
//! frame of 4096 bytes, whose last 320 are not for packets. Longer packets get a
//! longer, still linear, buffer.

use crate::error::{CallerError, Error, Result};
use crate::redirect::Redirect;
use crate::vm::Vm;
use bpf_core::uapi::{ProgType, errno};
use bpfvisor_vmm::{Block, Packet};

/// `XDP_PACKET_HEADROOM`.
pub(crate) const HEADROOM: u32 = 256;
/// Size of a page, and of an XDP frame.
const FRAME: u32 = 4096;
/// What the kernel keeps at a frame's end (`struct skb_shared_info`).
const SHARED_INFO: u32 = 320;
/// Longest packet.
pub const MAX_PACKET: usize = 64 << 10;
/// `ETH_HLEN`: the kernel refuses to run over shorter packets.
pub const MIN_FRAME: usize = 14;

/// How a program type wants its data to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    headroom: u32,
    cap: u32,
}

impl Place {
    /// For data of up to `len` bytes.
    pub fn new(prog_type: ProgType, len: usize) -> Self {
        let len = len as u32;
        if prog_type == ProgType::Flat {
            return Self {
                headroom: 0,
                cap: len,
            };
        }
        let frame = (HEADROOM + len + SHARED_INFO).next_multiple_of(FRAME);
        Self {
            headroom: HEADROOM,
            cap: frame - SHARED_INFO,
        }
    }

    fn stride(&self) -> u64 {
        u64::from(self.cap).next_multiple_of(64).max(64)
    }
}

/// Checks the length of a packet for a program type, as the kernel does.
pub(crate) fn check_len(prog_type: ProgType, len: usize) -> Result<()> {
    let least = match prog_type {
        ProgType::Flat => 0,
        _ => MIN_FRAME,
    };
    if (least..=MAX_PACKET).contains(&len) {
        return Ok(());
    }
    Err(Error::argument(format!(
        "data has {len} bytes, expected {least} to {MAX_PACKET}"
    )))
}

/// Packets in shared memory, to be run over and used again. Nothing is allocated
/// per packet.
#[derive(Debug)]
pub struct Buffer {
    vm: Vm,
    place: Place,
    block: Block,
    slots: usize,
    packets: Vec<Packet>,
    /// A program moved a packet's start: the headroom may hold remains.
    dirty: bool,
}

/// One packet's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program's 32-bit return value.
    pub retval: u32,
    /// Length of the packet now.
    pub len: usize,
    /// Where it is to go, if it is to be redirected.
    pub redirect: Option<Redirect>,
    /// 0, or the errno for which the program did not run over this packet.
    pub errno: i32,
}

impl Vm {
    /// Room for `slots` packets of at most `max_len` bytes, for programs of type
    /// `prog_type`.
    ///
    /// # Errors
    /// ENOMEM where the VM has not that much memory.
    pub fn packet_buffer(
        &self,
        prog_type: ProgType,
        slots: usize,
        max_len: usize,
    ) -> Result<Buffer> {
        if slots == 0 || max_len > MAX_PACKET {
            return Err(Error::argument(format!(
                "a buffer of {slots} packets of {max_len} bytes: expected at least 1 packet of \
                 at most {MAX_PACKET} bytes"
            )));
        }
        Buffer::with_slots(self, Place::new(prog_type, max_len), slots)
    }
}

impl Buffer {
    pub(crate) fn new(vm: &Vm, place: Place) -> Result<Self> {
        Self::with_slots(vm, place, 1)
    }

    fn with_slots(vm: &Vm, place: Place, slots: usize) -> Result<Self> {
        let len = place.stride().checked_mul(slots as u64);
        let len = len.ok_or_else(|| Error::argument("packet buffer too large"))?;
        let block = vm
            .inner
            .vmm
            .alloc_low(len, 64)
            .map_err(|e| vm.inner.failed("packet buffer", e))?;
        Ok(Self {
            vm: vm.clone(),
            place,
            block,
            slots,
            packets: Vec::with_capacity(slots),
            dirty: false,
        })
    }

    pub(crate) fn fits(&self, place: &Place) -> bool {
        self.place == *place
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.packets.clear();
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether no further packet fits.
    pub fn is_full(&self) -> bool {
        self.packets.len() == self.slots
    }

    /// Longest packet that fits.
    pub fn max_len(&self) -> usize {
        (self.place.cap - self.place.headroom) as usize
    }

    /// Copies a packet in.
    ///
    /// # Errors
    /// ENOSPC where the buffer is full, EINVAL where the packet is too long.
    pub fn push(&mut self, data: &[u8]) -> Result<()> {
        if self.is_full() {
            return Err(CallerError::Refused {
                op: "push",
                errno: errno::ENOSPC,
            }
            .into());
        }
        if data.len() > self.max_len() {
            return Err(Error::argument(format!(
                "packet of {} bytes in a buffer for {}",
                data.len(),
                self.max_len()
            )));
        }
        let off = self.block.offset() + self.packets.len() as u64 * self.place.stride();
        if self.dirty {
            self.write(off, &[0; HEADROOM as usize][..self.place.headroom as usize])?;
        }
        self.write(off + u64::from(self.place.headroom), data)?;
        self.packets.push(Packet {
            off: off as u32,
            cap: self.place.cap,
            data: self.place.headroom,
            len: data.len() as u32,
            ..Packet::default()
        });
        Ok(())
    }

    fn write(&self, off: u64, bytes: &[u8]) -> Result<()> {
        let vm = &self.vm.inner;
        vm.vmm
            .shared()
            .write(off, bytes)
            .map_err(|e| vm.failed("packet", e))
    }

    /// What came of each packet, in order.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.packets.iter().map(|p| Outcome {
            retval: p.retval,
            len: p.len as usize,
            redirect: Redirect::new(
                &self.vm.inner.registry,
                p.ctx_or_target,
                p.ctx_len_or_via,
                p.redirect,
            ),
            errno: i32::from(p.status).saturating_neg(),
        })
    }

    /// Copies packet `index`, as it is now, into `into`.
    ///
    /// # Errors
    /// EINVAL where there is no such packet.
    pub fn read(&self, index: usize, into: &mut Vec<u8>) -> Result<()> {
        let p = self
            .packets
            .get(index)
            .ok_or_else(|| Error::argument(format!("no packet {index} in the buffer")))?;
        into.clear();
        into.resize(p.len as usize, 0);
        let vm = &self.vm.inner;
        vm.vmm
            .shared()
            .read(u64::from(p.off) + u64::from(p.data), into)
            .map_err(|e| vm.failed("packet", e))
    }

    /// The packets, for the VMM to run.
    pub(crate) fn packets(&mut self) -> &mut [Packet] {
        for p in &mut self.packets {
            // There may be the target of an earlier run.
            (p.ctx_or_target, p.ctx_len_or_via) = (0, 0);
        }
        &mut self.packets
    }

    /// Whether this buffer is memory of that VM.
    pub(crate) fn of(&self, vm: &Vm) -> bool {
        self.vm.id() == vm.id()
    }

    /// Believes nothing of what came back: each packet must still lie in its
    /// part of the buffer.
    pub(crate) fn check(&mut self) -> Result<()> {
        for i in 0..self.packets.len() {
            let off = self.block.offset() + i as u64 * self.place.stride();
            let p = &mut self.packets[i];
            p.off = off as u32;
            p.cap = self.place.cap;
            let (data, len) = (p.data, p.len);
            self.settle(i, data, len)?;
        }
        Ok(())
    }

    /// Notes where packet `index` lies now, if it can lie there.
    pub(crate) fn settle(&mut self, index: usize, data: u32, len: u32) -> Result<()> {
        let inside = data
            .checked_add(len)
            .is_some_and(|end| end <= self.place.cap);
        if !inside {
            return Err(Error::protocol(format!(
                "packet {index} came back at {data}+{len} in a buffer of {}",
                self.place.cap
            )));
        }
        self.dirty |= data != self.place.headroom;
        let p = &mut self.packets[index];
        (p.data, p.len) = (data, len);
        Ok(())
    }
}
