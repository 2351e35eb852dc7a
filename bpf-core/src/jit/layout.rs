//! Branch relaxation: decides which jumps are short, then writes the final bytes.
//!
//! Every jump begins short; a round over all of them widens those that do not
//! reach. Jumps only ever grow, so this ends. Programs that would need many
//! rounds get near jumps for all that is left, which is always right.

use super::JitError;
use super::buffer::{Bound, Buffer, Item, ItemKind, Label};

use alloc::vec::Vec;

const ROUNDS: usize = 12;

/// Where the parts of a buffer end up.
pub struct Layout {
    /// Bytes that items add before item `i`; the last element is the sum.
    shifts: Vec<u32>,
}

impl Layout {
    /// Fixes the lengths of a buffer's items.
    pub fn of(buffer: &mut Buffer) -> Result<Self, JitError> {
        let worst = buffer.bytes.len() + buffer.items.len() * 64;
        if i32::try_from(worst).is_err() {
            return Err(JitError::TooLarge);
        }
        let mut layout = Layout { shifts: Vec::new() };
        for round in 0.. {
            layout.place(&mut buffer.items);
            if !layout.widen(buffer, round >= ROUNDS) {
                break;
            }
        }
        Ok(layout)
    }

    fn place(&mut self, items: &mut [Item]) {
        self.shifts.clear();
        let mut shift = 0u32;
        for item in items {
            self.shifts.push(shift);
            if let ItemKind::Align(log2) = item.kind {
                let start = item.at + shift;
                item.len = (start.wrapping_neg() & ((1 << log2) - 1)) as u8;
            }
            shift += u32::from(item.len);
        }
        self.shifts.push(shift);
    }

    /// Widens the short jumps that do not reach (or all); true if there were any.
    fn widen(&self, buffer: &mut Buffer, all: bool) -> bool {
        let mut changed = false;
        for (item, shift) in buffer.items.iter_mut().zip(&self.shifts) {
            let near = match item.kind {
                ItemKind::Jmp => 5,
                ItemKind::Jcc(_) => 6,
                _ => continue,
            };
            if item.len == near {
                continue;
            }
            let end = i64::from(item.at + shift) + 2;
            let target = self.resolve(&buffer.labels, item.label);
            if all || i8::try_from(i64::from(target) - end).is_err() {
                item.len = near;
                changed = true;
            }
        }
        changed
    }

    fn resolve(&self, labels: &[Bound], label: u32) -> u32 {
        let bound = labels.get(label as usize).unwrap_or(&Bound::NOWHERE);
        let shift = self.shifts.get(bound.items as usize).unwrap_or(&0);
        bound.at.wrapping_add(*shift)
    }

    /// Offset of a label in the final code.
    pub fn offset(&self, buffer: &Buffer, label: Label) -> u32 {
        self.resolve(&buffer.labels, label.0)
    }

    /// The final bytes, to run at `base`.
    pub fn write(&self, buffer: &Buffer, base: u64) -> Result<Vec<u8>, JitError> {
        let total = buffer.bytes.len() + self.shifts.last().map_or(0, |&s| s as usize);
        let mut out = Vec::with_capacity(total);
        let mut done = 0;
        for item in &buffer.items {
            let at = item.at as usize;
            out.extend_from_slice(buffer.bytes.get(done..at).unwrap_or(&[]));
            done = at;
            self.write_item(buffer, item, base, &mut out)?;
        }
        out.extend_from_slice(buffer.bytes.get(done..).unwrap_or(&[]));
        Ok(out)
    }

    fn write_item(
        &self,
        buffer: &Buffer,
        item: &Item,
        base: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), JitError> {
        let end = out.len() as i64 + i64::from(item.len);
        let local = match item.kind {
            ItemKind::CallAddress | ItemKind::Align(_) => 0,
            _ => i64::from(self.resolve(&buffer.labels, item.label)) - end,
        };
        let near = i32::try_from(local).map_err(|_| JitError::TooLarge)?;
        match item.kind {
            ItemKind::Jmp if item.len == 2 => out.extend([0xeb, local as u8]),
            ItemKind::Jmp => opcode_rel32(out, &[0xe9], near),
            ItemKind::Jcc(c) if item.len == 2 => out.extend([0x70 | c as u8, local as u8]),
            ItemKind::Jcc(c) => opcode_rel32(out, &[0x0f, 0x80 | c as u8], near),
            ItemKind::Call => opcode_rel32(out, &[0xe8], near),
            ItemKind::CallAddress => {
                let address = buffer.addresses.get(item.label as usize).unwrap_or(&0);
                let far = address.wrapping_sub(base.wrapping_add(end as u64)) as i64;
                let rel = i32::try_from(far).map_err(|_| JitError::TooLarge)?;
                opcode_rel32(out, &[0xe8], rel);
            }
            ItemKind::Lea(reg) => {
                // ModRM with mode 0 and base 5 means RIP-relative.
                out.extend([0x48 | (reg.0 >> 3) << 2, 0x8d, (reg.0 & 7) << 3 | 5]);
                out.extend(near.to_le_bytes());
            }
            ItemKind::Align(_) => nops(out, item.len),
        }
        Ok(())
    }
}

fn opcode_rel32(out: &mut Vec<u8>, opcode: &[u8], rel: i32) {
    out.extend_from_slice(opcode);
    out.extend_from_slice(&rel.to_le_bytes());
}

/// Fills with the multi-byte no-operations that the manual recommends.
fn nops(out: &mut Vec<u8>, mut len: u8) {
    const NOPS: [&[u8]; 9] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    while let Some(nop) = len.min(9).checked_sub(1).and_then(|i| NOPS.get(i as usize)) {
        out.extend_from_slice(nop);
        len -= nop.len() as u8;
    }
}
