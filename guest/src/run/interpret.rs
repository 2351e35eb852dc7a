//! Running programs without compiling them.
#![allow(unsafe_code)]
use crate::env::Env;
use crate::helpers;
use crate::memory;
use crate::program::Prog;
use alloc::format;
use alloc::sync::Arc;
use bpf_core::insn::Size;
use bpf_core::interp::{self, Atomic, Callbacks, Runtime, Trap, TrapKind};
use bpf_core::program::{MapDesc, MapTable, Program, Subprog};
use bpf_core::uapi::{errno, limits};
use core::cell::Cell;
use core::ptr::NonNull;

/// Frames of a program that makes no tail calls, and of one that makes all that
/// it may, each from its deepest function but one.
const FRAMES: usize = limits::CALL_FRAMES;
const TAIL_CALL_FRAMES: usize = FRAMES + limits::TAIL_CALLS as usize * (FRAMES - 1);

#[repr(align(16))]
struct Stack<const FRAMES: usize>([[u8; limits::STACK as usize]; FRAMES]);

/// How a helper that calls back reaches the interpreter that called it.
pub struct Bridge {
    /// Both are valid while the helper runs.
    rt: NonNull<dyn Runtime>,
    callbacks: NonNull<dyn Callbacks>,
    trap: Cell<Option<Trap>>,
}

/// Runs a program once; EFAULT where it did what no verified program does (the
/// trace then says what).
pub fn run(env: &Env<'_>, prog: &Prog, r1: u64, r2: u64) -> Result<u64, i32> {
    let tail_calls = |s: &Subprog| s.tail_call_reachable;
    match prog.program.subprogs.iter().any(tail_calls) {
        false => run_with::<FRAMES>(env, prog, r1, r2),
        true => run_with::<TAIL_CALL_FRAMES>(env, prog, r1, r2),
    }
}

#[inline(never)]
fn run_with<const N: usize>(env: &Env<'_>, prog: &Prog, r1: u64, r2: u64) -> Result<u64, i32> {
    let mut stack = Stack::<N>([[0; limits::STACK as usize]; N]);
    let base = stack.0.as_mut_ptr().expose_provenance() as u64;
    let mut machine = Interpreted {
        env,
        stack_top: base + size_of::<Stack<N>>() as u64,
        frames: N,
        now: None,
    };
    interp::run(&prog.program, [r1, r2], &mut machine).map_err(|trap| report(env, trap))
}

/// Says in the trace what stopped a program.
#[cold]
fn report(env: &Env<'_>, trap: Trap) -> i32 {
    if let Some(vcpu) = env.rt.vcpu(env.vcpu) {
        vcpu.trace(format!("bpfvisor: the program was stopped: {trap}\n").as_bytes());
    }
    errno::EFAULT
}

/// Calls a function of the program on behalf of a helper. A trap inside it ends
/// the helper's round, and the run after that.
pub fn call(bridge: NonNull<Bridge>, func: u64, r: [u64; 4]) -> u64 {
    // SAFETY: the bridge stands on the stack of `Interpreted::helper`, which
    // waits for the helper that calls us; the two references it was made of are
    // not used there meanwhile.
    let (trap, result) = unsafe {
        let b = bridge.as_ref();
        let (mut rt, mut callbacks) = (b.rt, b.callbacks);
        let args = [r[0], r[1], r[2], r[3], 0];
        (&b.trap, callbacks.as_mut().call(rt.as_mut(), func, args))
    };
    result.unwrap_or_else(|t| {
        trap.set(Some(t));
        1
    })
}

struct Interpreted<'a> {
    env: &'a Env<'a>,
    stack_top: u64,
    frames: usize,
    /// The program that a tail call led to.
    now: Option<Arc<Prog>>,
}

/// Maps are looked for in the program that runs: it keeps them, whatever became
/// of their handles.
impl MapTable for Interpreted<'_> {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        let prog = self.now.as_deref().unwrap_or(self.env.prog);
        prog.maps
            .iter()
            .map(|m| m.desc())
            .find(|d| d.handle == handle)
    }

    fn read_constant(&self, handle: u32, off: u32, size: u32) -> Option<u64> {
        self.env.rt.read_constant(handle, off, size)
    }
}

impl Runtime for Interpreted<'_> {
    fn stack_top(&self) -> u64 {
        self.stack_top
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn load(&mut self, addr: u64, size: Size) -> Result<u64, Trap> {
        Ok(memory::load(addr, size))
    }

    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Trap> {
        memory::store(addr, size, value);
        Ok(())
    }

    fn atomic(&mut self, addr: u64, size: Size, op: Atomic) -> Result<u64, Trap> {
        Ok(memory::update(addr, size, |old| op.apply(old)))
    }

    fn helper(
        &mut self,
        id: u32,
        [a, b, c, d, e]: [u64; 5],
        callbacks: &mut dyn Callbacks,
    ) -> Result<u64, Trap> {
        let f = helpers::function(id).ok_or(TrapKind::Helper(id))?;
        let env = self.env;
        let rt: NonNull<dyn Runtime + '_> = NonNull::from(self as &mut dyn Runtime);
        let callbacks: NonNull<dyn Callbacks + '_> = NonNull::from(callbacks);
        // SAFETY: only the lifetimes change; `call` uses them while we are here.
        let (rt, callbacks) = unsafe {
            (
                core::mem::transmute::<NonNull<dyn Runtime + '_>, NonNull<dyn Runtime>>(rt),
                core::mem::transmute::<NonNull<dyn Callbacks + '_>, NonNull<dyn Callbacks>>(
                    callbacks,
                ),
            )
        };
        let bridge = Bridge {
            rt,
            callbacks,
            trap: Cell::new(None),
        };
        let outer = env.bridge.replace(Some(NonNull::from(&bridge)));
        let r0 = f(a, b, c, d, e, env.address());
        env.bridge.set(outer);
        bridge.trap.take().map_or(Ok(r0), Err)
    }

    fn tail_call(&mut self, map: u64, index: u32) -> Result<Option<Arc<Program>>, Trap> {
        let prog = memory::map(map).prog(index);
        if prog.is_some() {
            self.now.clone_from(&prog);
        }
        Ok(prog.map(|p| Arc::clone(&p.program)))
    }

    fn maps(&self) -> &dyn MapTable {
        self
    }
}
