//! Which instructions exist, and their fixed fields: what [`Insn::decode`] says.
//!
//! An opcode that does not exist is wrong wherever it stands; the rules on fields
//! Linux applies only to instructions that some path reaches, so the exploration
//! asks for them through [`check_reached`].
use super::reject::{Res, bail};
use crate::insn::{DecodeError, Insn, op};
use crate::uapi::errno::EINVAL;

/// Whether the kernel's instruction table has this opcode.
pub(crate) fn exists(i: &Insn) -> bool {
    !matches!(i.decode(None), Err(DecodeError::UnknownOpcode(_)))
}

/// The rules on fields that hold for an instruction which execution reaches, with
/// the slot after it.
pub(crate) fn check_reached(i: &Insn, next: Option<&Insn>) -> Res<()> {
    // Linux looks at registers before all else.
    let highest = if uses_src_register(i) { i.src } else { 0 };
    for r in [i.dst, highest] {
        if r > 10 {
            bail!(EINVAL, "R{r} is invalid");
        }
    }
    match i.decode(next) {
        Ok(_) => Ok(()),
        Err(DecodeError::Reserved { name, .. }) => bail!(EINVAL, "{name} uses reserved fields"),
        Err(e) => bail!(EINVAL, "{e}"),
    }
}

/// Whether `src` names a register (rather than nothing, or a kind).
fn uses_src_register(i: &Insn) -> bool {
    match i.class() {
        op::ALU | op::ALU64 => i.opcode & 0xf0 != op::END && i.opcode & op::X != 0,
        op::JMP | op::JMP32 => i.opcode & op::X != 0,
        op::LDX | op::STX => true,
        op::LD => i.opcode & 0xe0 == op::IND,
        _ => false,
    }
}
