//! Writing instructions, with labels.

use bpf_core::insn::{Insn, op};

/// A place to jump to, bound once.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// Instructions in the making.
#[derive(Clone, Debug, Default)]
pub struct Code {
    insns: Vec<Insn>,
    labels: Vec<Option<usize>>,
    /// Instruction, label; the jump is far or near by its opcode.
    jumps: Vec<(usize, Label)>,
}

/// The second operand.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    /// A register.
    Reg(u8),
    /// An immediate.
    Imm(i32),
}

impl Code {
    /// Instructions so far.
    pub fn len(&self) -> usize {
        self.insns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.insns.is_empty()
    }

    /// Any instruction.
    pub fn raw(&mut self, opcode: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn::new(opcode, dst, src, off, imm));
    }

    /// An operation of class `op::ALU` or `op::ALU64`; `off` selects variants.
    pub fn alu(&mut self, class: u8, operation: u8, dst: u8, src: Operand, off: i16) {
        match src {
            Operand::Reg(r) => self.raw(class | operation | op::X, dst, r, off, 0),
            Operand::Imm(v) => self.raw(class | operation | op::K, dst, 0, off, v),
        }
    }

    /// 64-bit `dst = src`.
    pub fn mov(&mut self, dst: u8, src: Operand) {
        self.alu(op::ALU64, op::MOV, dst, src, 0);
    }

    /// 64-bit `dst += src`.
    pub fn add(&mut self, dst: u8, src: Operand) {
        self.alu(op::ALU64, op::ADD, dst, src, 0);
    }

    /// A 16-byte immediate load.
    pub fn imm64(&mut self, dst: u8, kind: u8, low: i32, high: i32) {
        self.raw(op::LD_IMM64, dst, kind, 0, low);
        self.raw(0, 0, 0, 0, high);
    }

    /// A number of 64 bits.
    pub fn number(&mut self, dst: u8, v: u64) {
        self.imm64(dst, 0, v as i32, (v >> 32) as i32);
    }

    /// `dst = *(size *)(src + off)`; `mode` is `op::MEM` or `op::MEMSX`.
    pub fn load(&mut self, mode: u8, size: u8, dst: u8, src: u8, off: i16) {
        self.raw(op::LDX | mode | size, dst, src, off, 0);
    }

    /// `*(size *)(dst + off) = src`.
    pub fn store(&mut self, size: u8, dst: u8, off: i16, src: Operand) {
        match src {
            Operand::Reg(r) => self.raw(op::STX | op::MEM | size, dst, r, off, 0),
            Operand::Imm(v) => self.raw(op::ST | op::MEM | size, dst, 0, off, v),
        }
    }

    /// A helper call.
    pub fn call(&mut self, helper: i32) {
        self.raw(op::JMP | op::CALL, 0, 0, 0, helper);
    }

    /// `exit`.
    pub fn exit(&mut self) {
        self.raw(op::JMP | op::EXIT, 0, 0, 0, 0);
    }

    /// A label not yet bound.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Whether anything jumps there.
    pub fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| to.0 == label.0)
    }

    /// Binds a label to the next instruction.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    /// A conditional jump of class `op::JMP` or `op::JMP32`.
    pub fn jump_if(&mut self, class: u8, cond: u8, dst: u8, src: Operand, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.alu(class, cond, dst, src, 0);
    }

    /// An unconditional jump, `far` with the 32-bit offset.
    pub fn jump(&mut self, far: bool, to: Label) {
        self.jumps.push((self.insns.len(), to));
        let class = if far { op::JMP32 } else { op::JMP };
        self.raw(class | op::JA, 0, 0, 0, 0);
    }

    /// A BPF-to-BPF call.
    pub fn call_local(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.raw(op::JMP | op::CALL, 0, op::PSEUDO_CALL, 0, 0);
    }

    /// The address of a function (`PSEUDO_FUNC`).
    pub fn imm_function(&mut self, dst: u8, entry: Label) {
        self.jumps.push((self.insns.len(), entry));
        self.imm64(dst, op::PSEUDO_FUNC, 0, 0);
    }

    /// The program, with all jumps resolved. Unbound labels lead to the next
    /// instruction.
    pub fn finish(mut self) -> Vec<Insn> {
        for &(at, label) in &self.jumps {
            let target = self.labels[label.0].unwrap_or(at + 1);
            let distance = target as i64 - at as i64 - 1;
            let insn = &mut self.insns[at];
            let far = [op::JMP32 | op::JA, op::JMP | op::CALL, op::LD_IMM64];
            if far.contains(&insn.opcode) {
                insn.imm = distance as i32;
            } else {
                insn.off = distance as i16;
            }
        }
        self.insns
    }
}
