//! Where a vCPU begins, and where the watchdog sends it.
#![allow(unsafe_code)]
use crate::kvm::{Kvm, shared};
use bpfvisor_abi::layout;
use bpfvisor_guest::Runtime;
use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};

// The stack pointer tells the vCPU apart at the abort entry: there the
// registers hold whatever the program had in them.
global_asm!(
    ".section .text.entry, \"ax\", @progbits",
    ".globl entry",
    "entry:",
    "jmp {start}",
    ".balign 16",
    "abort_entry:",
    "cld",
    "mov rdi, rsp",
    "jmp {abort}",
    ".balign 16",
    ".text",
    start = sym start,
    abort = sym abort,
);
const _: () = assert!(bpfvisor_abi::boot::ABORT_ENTRY == 16);
// image.ld
const _: () = assert!(layout::IMAGE == 0x20_0000 && layout::IMAGE_END == 0x100_0000);
const _: () = assert!(layout::HANDLERS == 0x1_0000 && layout::REGION == 0x20_0000);

/// The one runtime, made by vCPU 0.
static RUNTIME: AtomicPtr<Runtime> = AtomicPtr::new(core::ptr::null_mut());

/// First code of every vCPU.
extern "C" fn start(vcpu: u64) -> ! {
    let vcpu = vcpu as u32;
    if vcpu == 0 {
        let rt = alloc::boxed::Box::new(Runtime::new(&Kvm, shared()));
        RUNTIME.store(alloc::boxed::Box::into_raw(rt), Ordering::Release);
    }
    let rt = runtime();
    rt.ready(vcpu);
    serve(rt, vcpu)
}

/// The watchdog cut a program short; its stack is abandoned.
pub(crate) extern "C" fn abort(rsp: u64) -> ! {
    let vcpu = (rsp.wrapping_sub(layout::STACKS) / layout::STACK_STRIDE) as u32;
    let rt = runtime();
    rt.aborted(vcpu);
    serve(rt, vcpu)
}

fn serve(rt: &'static Runtime, vcpu: u32) -> ! {
    loop {
        rt.serve(vcpu);
    }
}

/// Waits until vCPU 0 has made the runtime.
fn runtime() -> &'static Runtime {
    loop {
        let rt = RUNTIME.load(Ordering::Acquire);
        // SAFETY: either null or what `Box::into_raw` gave, never freed, and
        // only shared references are ever made to it.
        if let Some(rt) = unsafe { rt.as_ref() } {
            return rt;
        }
        core::hint::spin_loop();
    }
}
