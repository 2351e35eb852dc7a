//! Memory that programs hand to helpers.
//!
//! A program's pointer is an address. What makes it good is the verifier, which
//! proved it (and its length) before the call; a runtime without verifier is
//! contained by the VM. This file turns such addresses into slices, and is the
//! only place that does.
#![allow(unsafe_code)]
use bpf_core::insn::Size;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes that the verifier vouched for, to be read. Valid while the program that
/// passed them waits for its helper; so is every slice made here.
#[inline]
pub fn bytes<'a>(addr: u64, len: u64) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the verifier proved [addr, addr + len) readable for the call.
    // Programs on other vCPUs may race on map values, as BPF allows them to.
    unsafe { core::slice::from_raw_parts(addr as *const u8, len as usize) }
}

/// Bytes that the verifier vouched for, to be written.
#[inline]
pub fn bytes_mut<'a>(addr: u64, len: u64) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: as for `bytes`, and writable; no helper holds two slices of which
    // one is mutable over memory that can overlap (`copy` is for those).
    unsafe { core::slice::from_raw_parts_mut(addr as *mut u8, len as usize) }
}

/// Copies between places that may overlap.
#[inline]
pub fn copy(to: u64, from: u64, len: u64) {
    if len != 0 {
        // SAFETY: as for `bytes` and `bytes_mut`.
        unsafe { core::ptr::copy(from as *const u8, to as *mut u8, len as usize) }
    }
}

/// A word at any alignment.
#[inline]
pub fn load_u32(addr: u64) -> u32 {
    // SAFETY: as for `bytes`.
    unsafe { (addr as *const u32).read_unaligned() }
}

/// A double word at any alignment.
#[inline]
pub fn load_u64(addr: u64) -> u64 {
    // SAFETY: as for `bytes`.
    unsafe { (addr as *const u64).read_unaligned() }
}

/// Stores a word at any alignment.
#[inline]
pub fn store_u32(addr: u64, value: u32) {
    // SAFETY: as for `bytes_mut`.
    unsafe { (addr as *mut u32).write_unaligned(value) }
}

/// Stores a double word at any alignment.
#[inline]
pub fn store_u64(addr: u64, value: u64) {
    // SAFETY: as for `bytes_mut`.
    unsafe { (addr as *mut u64).write_unaligned(value) }
}

/// Reads as an interpreted program does: any size, extended with zeros.
#[inline]
pub fn load(addr: u64, size: Size) -> u64 {
    // SAFETY: as for `bytes`.
    unsafe {
        match size {
            Size::B => u64::from((addr as *const u8).read()),
            Size::H => u64::from((addr as *const u16).read_unaligned()),
            Size::W => u64::from((addr as *const u32).read_unaligned()),
            Size::DW => (addr as *const u64).read_unaligned(),
        }
    }
}

/// Writes as an interpreted program does.
#[inline]
pub fn store(addr: u64, size: Size, value: u64) {
    // SAFETY: as for `bytes_mut`.
    unsafe {
        match size {
            Size::B => (addr as *mut u8).write(value as u8),
            Size::H => (addr as *mut u16).write_unaligned(value as u16),
            Size::W => (addr as *mut u32).write_unaligned(value as u32),
            Size::DW => (addr as *mut u64).write_unaligned(value),
        }
    }
}

/// Changes a word or double word atomically and gives what was there.
pub fn update(addr: u64, size: Size, mut change: impl FnMut(u64) -> u64) -> u64 {
    let order = Ordering::SeqCst;
    if size == Size::DW {
        // SAFETY: as for `bytes_mut`; the verifier checked the alignment.
        let word = unsafe { AtomicU64::from_ptr(addr as *mut u64) };
        return word
            .fetch_update(order, order, |old| Some(change(old)))
            .unwrap_or(0);
    }
    let word = lock_word(addr);
    let old = word.fetch_update(order, order, |old| Some(change(old.into()) as u32));
    old.unwrap_or(0).into()
}

/// A lock word in a map value.
#[inline]
pub fn lock_word<'a>(addr: u64) -> &'a AtomicU32 {
    // SAFETY: the verifier proved a `struct bpf_spin_lock`, aligned to 4, there.
    unsafe { AtomicU32::from_ptr(addr as *mut u32) }
}

/// Asks the processor to fetch what will be needed soon.
#[inline]
pub fn prefetch(addr: u64) {
    // SAFETY: a hint, which never faults.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(addr as *const i8)
    }
}

/// The map that a program's map pointer means.
#[inline(always)]
pub fn map<'a>(addr: u64) -> &'a crate::map::MapObject {
    // SAFETY: the verifier lets only pointers through that the runtime gave out,
    // which are addresses of live maps: a program keeps its maps, an inner map is
    // kept by its outer map's owner until all runs that could see it have ended.
    unsafe { &*core::ptr::with_exposed_provenance(addr as usize) }
}

/// A text with a final zero that the verifier vouched for (a constant in a map
/// that nobody can change), without its zero; at most `max` bytes.
pub fn c_string<'a>(addr: u64, max: usize) -> &'a [u8] {
    let len = (0..max).take_while(|&i| byte(addr + i as u64) != 0).count();
    bytes(addr, len as u64)
}

fn byte(addr: u64) -> u8 {
    // SAFETY: as for `bytes`: all bytes up to the zero are vouched for.
    unsafe { (addr as *const u8).read() }
}

/// The longest text that `%s` shows.
const TEXT_MAX: u64 = 512;

/// A text at an address that nobody vouched for, as far as it lies in memory
/// that a program can have: the shared slot, or the stack that it runs on. Empty
/// elsewhere, as with the kernel's fault-proof reads.
pub fn text_at<'a>(env: &crate::env::Env<'_>, addr: u64) -> &'a [u8] {
    let max = reach(env, addr).min(TEXT_MAX);
    let len = (0..max).take_while(|&i| byte(addr + i) != 0).count();
    bytes(addr, len as u64)
}

/// As [`text_at`], `len` bytes; `None` where not all of them lie there.
pub fn bytes_at<'a>(env: &crate::env::Env<'_>, addr: u64, len: u64) -> Option<&'a [u8]> {
    (reach(env, addr) >= len).then(|| bytes(addr, len))
}

/// How many bytes from `addr` on lie in memory that a program can have.
#[inline(never)]
fn reach(env: &crate::env::Env<'_>, addr: u64) -> u64 {
    let here = core::ptr::from_ref(&addr).addr() as u64;
    let own = env.address();
    match env.rt.shared.limit(addr) {
        Some(end) => end - addr,
        // From here up to the environment lie the frames of the run.
        None if (here..own).contains(&addr) => own - addr,
        None => 0,
    }
}
