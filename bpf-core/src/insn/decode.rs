//! From the raw form to the checked one. This is the one place that knows which
//! fields an instruction leaves unused; Linux 6.18 refuses the same ones.
mod alu;
mod jump;
mod memory;

use super::{DecodeError, Field, Insn, Op, Operand, Reg, Size, Width, op};

type Decoded<T> = Result<T, DecodeError>;

/// `src` of a `JCOND` that means `may_goto`.
pub(super) const MAY_GOTO: u8 = 0;

impl Insn {
    /// Decodes this slot. `next` is the slot after it, if the program has one;
    /// only the 16-byte load looks at it.
    ///
    /// ```
    /// use bpf_core::insn::{build, DecodeError, Insn, Op};
    /// assert_eq!(build::exit().decode(None), Ok(Op::Exit));
    /// let odd = Insn { imm: 1, ..build::exit() };
    /// let text = odd.decode(None).unwrap_err().to_string();
    /// assert_eq!(text, "BPF_EXIT uses reserved fields (imm = 1)");
    /// ```
    ///
    /// # Errors
    /// The reason why Linux refuses the slot, always with EINVAL.
    pub fn decode(&self, next: Option<&Insn>) -> Result<Op, DecodeError> {
        match self.class() {
            op::ALU => self.alu(Width::W32),
            op::ALU64 => self.alu(Width::W64),
            op::JMP => self.jmp(),
            op::JMP32 => self.jmp32(),
            op::LDX => self.ldx(),
            op::ST => self.st(),
            op::STX => self.stx(),
            _ => self.ld(next),
        }
    }

    fn dst(&self) -> Decoded<Reg> {
        Reg::new(self.dst).ok_or(DecodeError::Register(self.dst))
    }

    fn src(&self) -> Decoded<Reg> {
        Reg::new(self.src).ok_or(DecodeError::Register(self.src))
    }

    fn is_x(&self) -> bool {
        self.opcode & op::X != 0
    }

    fn unknown<T>(&self) -> Decoded<T> {
        Err(DecodeError::UnknownOpcode(self.opcode))
    }

    /// Fails with the first of these fields that is not zero.
    fn unused(&self, name: &'static str, fields: &[Field]) -> Decoded<()> {
        for &field in fields {
            let used = match field {
                Field::Dst => self.dst != 0,
                Field::Src => self.src != 0,
                Field::Off => self.off != 0,
                Field::Imm => self.imm != 0,
                Field::Opcode => false,
            };
            if used {
                return Err(DecodeError::reserved(name, field, self));
            }
        }
        Ok(())
    }

    /// The second operand, and that its other spelling is unused.
    fn operand(&self, name: &'static str) -> Decoded<Operand> {
        if self.is_x() {
            self.unused(name, &[Field::Imm])?;
            Ok(Operand::Reg(self.src()?))
        } else {
            self.unused(name, &[Field::Src])?;
            Ok(Operand::Imm(self.imm))
        }
    }

    fn size(&self) -> Size {
        match self.opcode & 0x18 {
            op::B => Size::B,
            op::H => Size::H,
            op::W => Size::W,
            _ => Size::DW,
        }
    }
}

/// Decodes a program from its first slot on. Gives each instruction with its
/// index; the second slot of a 16-byte load is part of the first.
pub fn ops(insns: &[Insn]) -> impl Iterator<Item = (usize, Result<Op, DecodeError>)> + '_ {
    let mut at = 0;
    core::iter::from_fn(move || {
        let here = at;
        let decoded = insns.get(here)?.decode(insns.get(here + 1));
        at += decoded.as_ref().map_or(1, Op::slots);
        Some((here, decoded))
    })
}
