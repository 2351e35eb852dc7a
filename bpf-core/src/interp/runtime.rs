//! What the interpreter asks of its surroundings.
use super::{Trap, TrapKind, alu};
use crate::insn::{AtomicOp, Reg, Size};
use crate::program::{MapTable, Program};
use crate::uapi::limits;
use alloc::sync::Arc;

/// Memory, maps and helpers of one run.
pub trait Runtime {
    /// The address just above the stack: one frame of
    /// [`STACK`](crate::uapi::limits::STACK) bytes for each of [`Runtime::frames`]
    /// nested functions, the outermost on top. R10 of a function is the top of its
    /// frame.
    fn stack_top(&self) -> u64;

    /// How many nested functions the stack has room for. A tail call from a
    /// function takes the place of that function alone, so the program that it
    /// leads to may nest as deep as a program may, on top of its callers.
    fn frames(&self) -> usize {
        limits::CALL_FRAMES
    }

    /// Reads `size` bytes, little endian, extended with zeros.
    ///
    /// # Errors
    /// [`TrapKind::Memory`] where the program may not read.
    fn load(&mut self, addr: u64, size: Size) -> Result<u64, Trap>;

    /// Writes the low `size` bytes of `value`, little endian.
    ///
    /// # Errors
    /// [`TrapKind::Memory`] where the program may not write.
    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Trap>;

    /// Replaces `size` (W or DW) bytes by [`alu::atomic`] of them and gives the
    /// old value. A runtime with more than one thread must override this.
    ///
    /// # Errors
    /// As [`Runtime::store`].
    fn atomic(&mut self, addr: u64, size: Size, op: Atomic) -> Result<u64, Trap> {
        let old = self.load(addr, size)?;
        self.store(addr, size, op.apply(old))?;
        Ok(old)
    }

    /// Calls a helper by number, or a function of
    /// [`runtime_fn`](crate::env::runtime_fn). `callbacks` runs functions of
    /// the program whose tokens are among the arguments.
    ///
    /// # Errors
    /// [`TrapKind::Helper`] for an unknown number; traps of callbacks go on.
    fn helper(
        &mut self,
        id: u32,
        args: [u64; 5],
        callbacks: &mut dyn Callbacks,
    ) -> Result<u64, Trap>;

    /// Calls a kernel function by BTF id.
    ///
    /// # Errors
    /// [`TrapKind::Kfunc`] for an unknown one, which all are unless overridden.
    fn kfunc(
        &mut self,
        id: i32,
        args: [u64; 5],
        callbacks: &mut dyn Callbacks,
    ) -> Result<u64, Trap> {
        let _ = (args, callbacks);
        Err(TrapKind::Kfunc(id).into())
    }

    /// The program in slot `index` of the program array whose map pointer is
    /// `map`; `None` for an empty slot or an index out of range. The limit of
    /// tail calls is the interpreter's business.
    ///
    /// # Errors
    /// [`TrapKind::BadArgument`] if there is no such map.
    fn tail_call(&mut self, map: u64, index: u32) -> Result<Option<Arc<Program>>, Trap>;

    /// Where 16-byte loads find maps.
    fn maps(&self) -> &dyn MapTable;
}

/// How a helper runs a callback: given itself to the interpreter that called it.
pub trait Callbacks {
    /// Runs the function with this token (the value of a function load) and
    /// gives its R0.
    ///
    /// # Errors
    /// Traps of the function, [`TrapKind::Callback`] for a wrong token,
    /// [`TrapKind::CallDepth`] if there is no frame left.
    fn call(&mut self, rt: &mut dyn Runtime, func: u64, args: [u64; 5]) -> Result<u64, Trap>;
}

/// Watches a run, instruction by instruction.
pub trait Observer {
    /// Called before instruction `insn` of `prog` executes in a function
    /// `depth` calls below the main program.
    fn before(
        &mut self,
        prog: &Program,
        insn: u32,
        depth: u32,
        regs: &[u64; Reg::COUNT],
        rt: &mut dyn Runtime,
    );
}

/// One atomic read-modify-write, for [`Runtime::atomic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atomic {
    /// The operation.
    pub op: AtomicOp,
    /// The source register, already cut to the size.
    pub src: u64,
    /// R0, already cut to the size (compared by `cmpxchg`).
    pub expected: u64,
}

impl Atomic {
    /// What memory holds afterwards (of which the low `size` bytes count).
    pub fn apply(self, old: u64) -> u64 {
        alu::atomic(self.op, old, self.src, self.expected)
    }
}
