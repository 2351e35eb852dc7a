//! A panic becomes text in the queue block and a doorbell.
#![allow(unsafe_code)]
use crate::kvm::{Kvm, shared};
use bpfvisor_abi::{boot::port, layout, ring::block};
use bpfvisor_guest::hal::{Machine, TextBuf};
use core::fmt::Write;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack)) };
    let vcpu = (rsp.wrapping_sub(layout::STACKS) / layout::STACK_STRIDE) as u32;
    let vcpu = vcpu.min(layout::MAX_VCPUS - 1);
    let mut text = TextBuf::<1024>::new();
    let _ = write!(text, "{info}");
    let at = layout::queue_block(vcpu) + block::MESSAGE;
    let len = shared()
        .copy_in(at, text.bytes())
        .map_or(0, |()| text.bytes().len());
    loop {
        Kvm.out(port::PANIC, len as u32);
    }
}
