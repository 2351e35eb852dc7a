//! Running programs on packets, one or many.
//!
//! The ranges that a caller gives are checked before the guest sees them, those
//! that the guest answers before the caller does.

use std::sync::Arc;

use bpfvisor_abi::layout::LOW_SHARED;
use bpfvisor_abi::op::{Packet, Run, RunResult, code};
use zerocopy::{FromZeros, IntoBytes};

use crate::core::Core;
use crate::error::CallError;
use crate::fault::{Cause, FaultReport};
use crate::lane::{Lane, Turn, succeeded};
use crate::object::{Kind, Object};

/// Most packets in one request.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = (BATCH * size_of::<Packet>()) as u64;

impl Core {
    fn check_program(&self, program: &Object) -> Result<(), CallError> {
        if program.vm_id() != self.id {
            return Err(CallError::Invalid("a program of another VM"));
        }
        if program.kind() != Kind::Program {
            return Err(CallError::Invalid("not a program"));
        }
        Ok(())
    }

    /// The buffer and its data must lie in the low part of shared memory.
    #[inline]
    fn check_packet(&self, packet: &Packet) -> Result<(), CallError> {
        let end = u64::from(packet.off) + u64::from(packet.cap);
        let ctx_end = u64::from(packet.ctx_or_target) + u64::from(packet.ctx_len_or_via);
        if end.max(ctx_end) > self.shared.len().min(LOW_SHARED) {
            return Err(CallError::Invalid("a packet outside low shared memory"));
        }
        if !inside(packet.data, packet.len, packet.cap) {
            return Err(CallError::Invalid("data outside its packet buffer"));
        }
        Ok(())
    }

    fn lied(&self, lane: &Lane, what: &str) -> CallError {
        self.die(FaultReport::plain(Cause::Protocol, lane.index(), what))
    }

    /// Runs a program on one packet.
    #[inline]
    pub(crate) fn run(&self, program: &Object, mut run: Run) -> Result<RunResult, CallError> {
        self.check_program(program)?;
        self.check_packet(&run.packet)?;
        run.prog = program.handle();
        let arg: [u64; 7] = zerocopy::transmute!(run);
        self.with_lane(|lane, turn| {
            let request = (code::RUN, &arg);
            let answer = succeeded(lane.call(self, turn, request, self.config.call_timeout)?)?;
            let result: RunResult = zerocopy::transmute!(answer.val);
            if !inside(result.data, result.len, run.packet.cap) {
                return Err(self.lied(lane, "a run left its data outside the packet buffer"));
            }
            Ok(result)
        })
    }

    /// Runs a program on many packets and fills in their results (whoever runs them
    /// again sets the members anew that come in and go out with another meaning).
    pub(crate) fn run_batch(
        &self,
        program: &Arc<Object>,
        packets: &mut [Packet],
    ) -> Result<(), CallError> {
        self.check_program(program)?;
        packets
            .iter()
            .try_for_each(|packet| self.check_packet(packet))?;
        let handle = program.handle();
        self.with_lane(|lane, turn| {
            packets
                .chunks_mut(BATCH)
                .try_for_each(|part| self.run_part(lane, turn, handle, part))
        })
    }

    fn run_part(
        &self,
        lane: &Lane,
        turn: &mut Turn,
        handle: u32,
        packets: &mut [Packet],
    ) -> Result<(), CallError> {
        let room = match turn.packets.take() {
            Some(room) => room,
            None => self.packet_room()?,
        };
        let offset = room.offset();
        turn.packets = Some(room);
        self.shared.write(offset, packets.as_bytes())?;
        let arg = [u64::from(handle), offset, packets.len() as u64, 0, 0, 0, 0];
        let request = (code::RUN_BATCH, &arg);
        succeeded(lane.call(self, turn, request, self.config.call_timeout)?)?;
        let mut answers = [Packet::new_zeroed(); 32];
        for (nth, part) in packets.chunks_mut(answers.len()).enumerate() {
            let at = offset + (nth * size_of_val(&answers)) as u64;
            let answers = &mut answers[..part.len()];
            self.shared.read(at, answers.as_mut_bytes())?;
            for (packet, answer) in part.iter_mut().zip(answers) {
                if !inside(answer.data, answer.len, packet.cap) {
                    return Err(self.lied(lane, "a batch left data outside its packet buffer"));
                }
                if !(-4095..=0).contains(&answer.status) {
                    return Err(self.lied(lane, "a packet has a status that is no errno"));
                }
                packet.data = answer.data;
                packet.len = answer.len;
                packet.retval = answer.retval;
                packet.status = answer.status;
                packet.redirect = answer.redirect;
                packet.ctx_or_target = answer.ctx_or_target;
                packet.ctx_len_or_via = answer.ctx_len_or_via;
            }
        }
        Ok(())
    }

    fn packet_room(&self) -> Result<crate::Block, CallError> {
        let room = self.arena.alloc(BATCH_BYTES, 4096);
        let room = room.ok_or(CallError::NoMemory {
            wanted: BATCH_BYTES,
        })?;
        room.populate(BATCH_BYTES);
        Ok(room)
    }
}

#[inline]
fn inside(start: u32, len: u32, cap: u32) -> bool {
    start.checked_add(len).is_some_and(|end| end <= cap)
}
