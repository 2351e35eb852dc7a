//! The code buffer: bytes already fixed, and between them the items whose bytes
//! depend on where things end up.

use super::x86::{Cond, Form, Mem, Reg, Rm, Size, encode, forms};
use alloc::vec::Vec;

/// A place in the code that items refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub u32);

/// What stands between two stretches of fixed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// `jmp label`, short or near.
    Jmp,
    /// `jcc label`, short or near.
    Jcc(Cond),
    /// `call label`.
    Call,
    /// `call` of the address with this index.
    CallAddress,
    /// `lea reg, [rip + label]`.
    Lea(Reg),
    /// Padding up to a multiple of this power of two.
    Align(u8),
}

/// An item and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Offset in the fixed bytes before which it stands.
    pub at: u32,
    /// Its present length.
    pub len: u8,
    /// What it is.
    pub kind: ItemKind,
    /// Its label (for [`ItemKind::CallAddress`], the index of the address).
    pub label: u32,
}

/// Where a label is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Offset in the fixed bytes.
    pub at: u32,
    /// Number of items before it.
    pub items: u32,
}

impl Bound {
    pub(super) const NOWHERE: Bound = Bound {
        at: u32::MAX,
        items: 0,
    };
}

/// Code under construction.
#[derive(Debug, Default)]
pub struct Buffer {
    /// The fixed bytes.
    pub bytes: Vec<u8>,
    /// Items by rising position.
    pub items: Vec<Item>,
    /// Where each label is.
    pub labels: Vec<Bound>,
    /// Targets of [`ItemKind::CallAddress`].
    pub addresses: Vec<u64>,
}

impl Buffer {
    /// A buffer with `labels` labels, numbered from 0, not bound yet.
    pub fn new(labels: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(labels * 4),
            labels: alloc::vec![Bound::NOWHERE; labels],
            ..Self::default()
        }
    }

    /// One more label.
    pub fn new_label(&mut self) -> Label {
        self.labels.push(Bound::NOWHERE);
        Label(self.labels.len() as u32 - 1)
    }

    /// Binds a label to the present place.
    pub fn bind(&mut self, label: Label) {
        let here = Bound {
            at: self.bytes.len() as u32,
            items: self.items.len() as u32,
        };
        if let Some(l) = self.labels.get_mut(label.0 as usize) {
            *l = here;
        }
    }

    fn item(&mut self, kind: ItemKind, label: u32, len: u8) {
        let at = self.bytes.len() as u32;
        self.items.push(Item {
            at,
            len,
            kind,
            label,
        });
    }

    /// `jmp label`.
    pub fn jmp(&mut self, label: Label) {
        self.item(ItemKind::Jmp, label.0, 2);
    }

    /// `jcc label`.
    pub fn jcc(&mut self, cond: Cond, label: Label) {
        self.item(ItemKind::Jcc(cond), label.0, 2);
    }

    /// `call label`.
    pub fn call(&mut self, label: Label) {
        self.item(ItemKind::Call, label.0, 5);
    }

    /// `call address`, with a 32-bit displacement.
    pub fn call_address(&mut self, address: u64) {
        self.addresses.push(address);
        let index = self.addresses.len() as u32 - 1;
        self.item(ItemKind::CallAddress, index, 5);
    }

    /// `lea reg, [rip + label]`.
    pub fn lea_label(&mut self, reg: Reg, label: Label) {
        self.item(ItemKind::Lea(reg), label.0, 7);
    }

    /// Pads to a multiple of `1 << log2` bytes.
    pub fn align(&mut self, log2: u8) {
        self.item(ItemKind::Align(log2), 0, 0);
    }

    /// The general instruction; see [`encode`].
    pub fn emit(&mut self, form: &Form, size: Size, reg: Reg, rm: Rm, vvvv: Reg, imm: i64) {
        let e = encode(form, size, reg, rm, vvvv, imm);
        self.bytes.extend_from_slice(e.as_slice());
    }

    /// An instruction with a register and an `r/m` operand.
    pub fn op(&mut self, form: &Form, size: Size, reg: Reg, rm: impl Into<Rm>) {
        self.emit(form, size, reg, rm.into(), Reg::RAX, 0);
    }

    /// An instruction with one `r/m` operand.
    pub fn op1(&mut self, form: &Form, size: Size, rm: impl Into<Rm>) {
        self.emit(form, size, Reg::RAX, rm.into(), Reg::RAX, 0);
    }

    /// An instruction with one `r/m` operand and an immediate.
    pub fn op_imm(&mut self, form: &Form, size: Size, rm: impl Into<Rm>, imm: i64) {
        self.emit(form, size, Reg::RAX, rm.into(), Reg::RAX, imm);
    }

    /// An instruction without operands.
    pub fn op0(&mut self, form: &Form, size: Size) {
        self.op1(form, size, Reg::RAX);
    }

    /// The `lock` prefix of the next instruction.
    pub fn lock(&mut self) {
        self.bytes.push(0xf0);
    }

    /// `mov dst, src`, nothing for a 64-bit move onto itself.
    pub fn mov(&mut self, size: Size, dst: Reg, src: Reg) {
        if size != Size::D || dst != src {
            self.op(&forms::MOV_MR, size, src, dst);
        }
    }

    /// `lea dst, [mem]`.
    pub fn lea(&mut self, size: Size, dst: Reg, mem: Mem) {
        self.op(&forms::LEA, size, dst, mem);
    }

    /// An arithmetic instruction with the shorter of its immediate forms.
    pub fn alu_imm(&mut self, alu: &forms::Alu, size: Size, rm: impl Into<Rm>, imm: i32) {
        let form = match i8::try_from(imm) {
            Ok(_) => &alu.i8,
            Err(_) => &alu.i32,
        };
        self.op_imm(form, size, rm, i64::from(imm));
    }

    /// Loads a constant in the fewest bytes. Changes the flags.
    pub fn load_imm(&mut self, dst: Reg, value: u64) {
        if value == 0 {
            self.op(&forms::XOR.mr, Size::W, dst, dst);
        } else if u32::try_from(value).is_ok() {
            self.op_imm(&forms::MOV_OI, Size::W, dst, value as i64);
        } else if i32::try_from(value as i64).is_ok() {
            self.op_imm(&forms::MOV_MI, Size::D, dst, value as i64);
        } else {
            self.op_imm(&forms::MOV_OI, Size::D, dst, value as i64);
        }
    }
}
