//! x86-64 machine code: registers and operands, the table of instruction forms,
//! and the encoder that turns one form with its operands into bytes.

mod encode;
pub mod forms;
mod operand;
#[cfg(test)]
mod tests;

pub use encode::encode;
pub use forms::Form;
pub use operand::{Cond, Mem, Reg, Rm, Size};
