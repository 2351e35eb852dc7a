//! The stack, byte by byte.
use super::engine::Verifier;
use super::memory::{Access, Named};
use super::reg::{Kind, MAX_VAR_OFF, Reg};
use super::reject::{Res, bail};
use super::state::{Byte, Frame, Slot};
use crate::uapi::errno::{EACCES, EINVAL};
use crate::uapi::limits;
use alloc::rc::Rc;

/// Bytes of one frame that an access may touch: `low..high` below R10.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub frame: usize,
    pub low: i32,
    pub high: i32,
    /// The offset is known.
    pub fixed: bool,
}

impl Verifier<'_> {
    /// Where an access through a stack pointer can fall.
    pub fn stack_span(&mut self, p: Named<'_>, off: i32, size: i32, write: bool) -> Res<Span> {
        let (nr, r) = (p.nr, p.reg);
        let base = i64::from(r.off) + i64::from(off);
        let kind = if write { "write to" } else { "read from" };
        let fixed = r.num.as_const();
        let (low, high) = match fixed {
            Some(c) => (base + c as i64, base + c as i64 + i64::from(size)),
            None => {
                if r.num.smax() >= MAX_VAR_OFF || r.num.smin() <= -MAX_VAR_OFF {
                    bail!(
                        EACCES,
                        "invalid unbounded variable-offset {kind} stack R{nr}"
                    );
                }
                (base + r.num.smin(), base + r.num.smax() + i64::from(size))
            }
        };
        if low < -i64::from(limits::STACK) || low > -1 || high > 0 || size < 0 {
            let variable = if fixed.is_some() {
                ""
            } else {
                "variable-offset "
            };
            // Linux tells falling out of the top from falling out of the bottom.
            let errno = if high > 0 && (-512..0).contains(&low) {
                EINVAL
            } else {
                EACCES
            };
            bail!(
                errno,
                "invalid {variable}{kind} stack R{nr} off={low} size={size}"
            );
        }
        let span = Span {
            frame: r.extra as usize,
            low: low as i32,
            high: high as i32,
            fixed: fixed.is_some(),
        };
        self.use_stack(span);
        Ok(span)
    }

    fn use_stack(&mut self, s: Span) {
        let Some(f) = self.st.frames.get(s.frame) else {
            return;
        };
        let (subprog, have) = (f.subprog, f.stack.len() * 8);
        self.fastcall_contract(subprog, s.low);
        let depth = &mut self.stack_depth[subprog];
        *depth = (*depth).max(-s.low as u32);
        if have < -s.low as usize {
            self.stack_frame(s.frame).grow(-s.low);
        }
    }

    /// Any frame, to be changed.
    pub fn stack_frame(&mut self, nr: usize) -> &mut Frame {
        Rc::make_mut(&mut self.st.frames[nr])
    }

    /// A load from the stack.
    pub fn stack_read(&mut self, nr: u8, off: i32, size: i32, what: Access) -> Res<Reg> {
        let p = *self.reg(nr);
        let span = self.stack_span(Named { nr, reg: &p }, off, size, false)?;
        self.mark_stack_read(span);
        if span.fixed {
            return self.fill(span, size, what);
        }
        let frame = &self.st.frames[span.frame];
        let zero = (span.low..span.high).all(|b| {
            let (slot, byte) = Frame::locate(b);
            frame.slot(slot).bytes[byte] == Byte::Zero
        });
        Ok(if zero { Reg::constant(0) } else { Reg::UNKNOWN })
    }

    fn fill(&mut self, span: Span, size: i32, what: Access) -> Res<Reg> {
        let (nr, byte) = Frame::locate(span.low);
        let slot = *self.st.frames[span.frame].slot(nr);
        let bytes = slot.bytes.get(byte..byte + size as usize).unwrap_or(&[]);
        if !slot.is_spill() {
            let zero = bytes.iter().all(|b| *b == Byte::Zero);
            return Ok(if zero { Reg::constant(0) } else { Reg::UNKNOWN });
        }
        let spilled = slot.bytes.iter().take_while(|b| **b == Byte::Spill).count() as i32;
        self.note_spill();
        if size == 8 && spilled == 8 {
            return Ok(slot.reg);
        }
        if !slot.reg.is_scalar() {
            bail!(EACCES, "invalid size of register fill");
        }
        if what == Access::Read {
            return Ok(Reg::UNKNOWN);
        }
        if size <= spilled && byte == 0 {
            let mut reg = slot.reg;
            if reg.bits() > size as u32 * 8 {
                reg.unlink();
            }
            return Ok(reg);
        }
        let spill_zero = slot.reg.is_null() && bytes.iter().all(|b| *b == Byte::Spill);
        if spill_zero {
            return Ok(Reg {
                node: slot.reg.node,
                ..Reg::constant(0)
            });
        }
        let zero = bytes.iter().all(|b| *b == Byte::Zero);
        Ok(if zero { Reg::constant(0) } else { Reg::UNKNOWN })
    }

    /// A store to the stack.
    pub fn stack_write(&mut self, nr: u8, off: i32, size: i32, what: Access) -> Res<()> {
        let p = *self.reg(nr);
        let span = self.stack_span(Named { nr, reg: &p }, off, size, true)?;
        if span.fixed {
            self.spill(span, size, what)
        } else {
            self.write_somewhere(span, what);
            Ok(())
        }
    }

    fn spill(&mut self, span: Span, size: i32, what: Access) -> Res<()> {
        let (nr, byte) = Frame::locate(span.low);
        let current = span.frame == self.st.depth();
        if size == 8 {
            self.st.written[span.frame] |= 1 << nr;
        }
        let value = match what {
            Access::Store(r) => {
                let bits = self.reg(r).bits();
                if byte == 0 && self.reg(r).is_scalar() && bits <= size as u32 * 8 {
                    self.assign_scalar_id(r);
                }
                let mut v = *self.reg(r);
                if v.is_scalar() && bits > size as u32 * 8 {
                    v.unlink();
                }
                Some(v)
            }
            Access::StoreImm(imm) => Some(Reg::constant(i64::from(imm) as u64)),
            _ => None,
        };
        match value {
            Some(v) if v.is_scalar() && byte == 0 => self.save(span.frame, nr, size, v),
            // Linux does not keep pointers to tracepoint buffers on the stack.
            Some(v) if v.is_pointer() && v.kind != Kind::TpBuffer => {
                if size != 8 {
                    bail!(EACCES, "invalid size of register spill");
                }
                if !current && v.kind == Kind::Stack {
                    bail!(
                        EINVAL,
                        "cannot spill pointers to stack into stack frame of the caller"
                    );
                }
                self.save(span.frame, nr, size, v);
            }
            _ => {
                let zero = value.is_some_and(|v| v.is_null());
                if let (true, Some(v)) = (zero, value) {
                    self.nodes.mark(v.node);
                }
                let slot = &mut self.stack_frame(span.frame).stack[nr];
                slot.scrub();
                let kind = if zero { Byte::Zero } else { Byte::Misc };
                for b in slot.bytes.iter_mut().skip(byte).take(size as usize) {
                    *b = kind;
                }
            }
        }
        Ok(())
    }

    /// Spills and fills make a path as long as a jump does, as in Linux.
    fn note_spill(&mut self) {
        let noted = self.aux[self.pc].jump_point;
        self.st.jumps += u32::from(!noted);
    }

    fn save(&mut self, frame: usize, nr: usize, size: i32, v: Reg) {
        self.note_spill();
        let slot: &mut Slot = &mut self.stack_frame(frame).stack[nr];
        for (n, b) in slot.bytes.iter_mut().enumerate() {
            if n < size as usize {
                *b = Byte::Spill;
            } else if *b == Byte::Spill {
                *b = Byte::Misc;
            }
        }
        slot.reg = v;
    }

    /// A store that may hit any byte of the span.
    fn write_somewhere(&mut self, span: Span, what: Access) {
        let value = match what {
            Access::Store(r) => Some(*self.reg(r)),
            Access::StoreImm(imm) => Some(Reg::constant(i64::from(imm) as u64)),
            _ => None,
        };
        let zero = value.is_some_and(|v| v.is_null());
        let mut kept_zero = false;
        let mut rested = alloc::vec::Vec::new();
        let frame = self.stack_frame(span.frame);
        for off in span.low..span.high {
            let (nr, byte) = Frame::locate(off);
            let slot = &mut frame.stack[nr];
            if zero && slot.is_spill() && slot.reg.is_null() && slot.bytes[byte] == Byte::Spill {
                kept_zero = true;
                rested.push(slot.reg.node);
                continue;
            }
            let keep = zero && slot.bytes[byte] == Byte::Zero;
            slot.scrub();
            slot.bytes[byte] = if keep { Byte::Zero } else { Byte::Misc };
            kept_zero |= keep;
        }
        if let (true, Some(v)) = (kept_zero, value) {
            self.nodes.mark(v.node);
        }
        for n in rested {
            self.nodes.mark(n);
        }
    }

    /// Memory that a helper reads or writes.
    pub fn stack_for_helper(
        &mut self,
        p: Named<'_>,
        size: i32,
        zero_ok: bool,
        write: bool,
        raw: bool,
    ) -> Res<()> {
        if size == 0 && !zero_ok {
            bail!(EACCES, "invalid zero-sized read");
        }
        let span = self.stack_span(p, 0, size, write)?;
        if raw && span.fixed {
            self.overwrite(span);
            return Ok(());
        }
        self.mark_stack_read(span);
        if write {
            let frame = self.stack_frame(span.frame);
            for off in span.low..span.high {
                let (nr, byte) = Frame::locate(off);
                frame.stack[nr].scrub();
                frame.stack[nr].bytes[byte] = Byte::Misc;
            }
        }
        Ok(())
    }

    /// Data is written to every byte of the span.
    fn overwrite(&mut self, span: Span) {
        let mut whole = 0u64;
        let frame = self.stack_frame(span.frame);
        for off in span.low..span.high {
            let (nr, byte) = Frame::locate(off);
            frame.stack[nr].scrub();
            frame.stack[nr].bytes[byte] = Byte::Misc;
            if byte == 0 && off + 8 <= span.high {
                whole |= 1 << nr;
            }
        }
        self.st.written[span.frame] |= whole;
    }

    /// Later states must agree on these slots to be pruned.
    pub fn mark_stack_read(&mut self, span: Span) {
        let mut mask = 0u64;
        let mut off = span.low & !7;
        while off < span.high {
            mask |= 1 << Frame::locate(off).0;
            off += 8;
        }
        self.mark_slots_read(span.frame, mask);
    }

    /// As [`Verifier::mark_stack_read`], for a set of slots.
    pub fn mark_slots_read(&mut self, frame: usize, mut mask: u64) {
        mask &= !self.st.written[frame];
        let mut at = self.st.parent;
        while let Some(c) = self.checkpoints.get_mut(at as usize) {
            mask &= !c.read[frame];
            if mask == 0 {
                return;
            }
            c.read[frame] |= mask;
            mask &= !c.written[frame];
            at = c.parent;
        }
    }
}
