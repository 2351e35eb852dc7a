//! Into a program and back.
#![allow(unsafe_code)]
use super::interpret;
use crate::env::Env;
use crate::program::Prog;

type Trampoline = extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

/// Runs a program once from its beginning.
#[inline(always)]
pub fn run(env: &Env<'_>, prog: &Prog, r1: u64, r2: u64) -> Result<u64, i32> {
    env.reset();
    match prog.entry() {
        0 => interpret::run(env, prog, r1, r2),
        entry => Ok(enter(env, entry, [r1, r2, 0, 0])),
    }
}

/// Calls a callback of the program that runs.
#[inline]
pub fn call(env: &Env<'_>, func: u64, r: [u64; 4]) -> u64 {
    match env.bridge.get() {
        None => enter(env, func, r),
        Some(bridge) => interpret::call(bridge, func, r),
    }
}

/// Into compiled code.
#[inline(always)]
fn enter(env: &Env<'_>, entry: u64, r: [u64; 4]) -> u64 {
    // SAFETY: the trampoline was placed at boot, is this function's code, and
    // stays for ever; `entry` is compiled code (of a live program, or a callback
    // address that the verifier knew).
    let go: Trampoline = unsafe { core::mem::transmute(env.rt.trampoline() as usize) };
    go(env.address(), entry, r[0], r[1], r[2], r[3])
}
