//! What the guest's fault handler leaves behind, read as an allegation.

use bpfvisor_abi::boot::FaultFrame;
use bpfvisor_abi::layout;
use kvm_bindings::kvm_regs;
use kvm_ioctls::VcpuFd;
use vm_memory::Bytes;
use zerocopy::FromBytes;

use crate::fault::{Cause, FaultReport, Registers};
use crate::mapping::Mapping;
use crate::vcpu::in_code;

/// The general registers in our own words.
pub(crate) fn registers(regs: &kvm_regs) -> Registers {
    Registers {
        rax: regs.rax,
        rbx: regs.rbx,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        rbp: regs.rbp,
        rsp: regs.rsp,
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rip: regs.rip,
        rflags: regs.rflags,
    }
}

/// The report of a fault whose handler has just rung [`port::FAULT`].
///
/// [`port::FAULT`]: bpfvisor_abi::boot::port::FAULT
pub(crate) fn report(vcpu: &VcpuFd, private: &Mapping, index: u32, vector: u32) -> FaultReport {
    let regs = vcpu.get_regs().unwrap_or_default();
    let Some(frame) = u8::try_from(vector)
        .ok()
        .and_then(|_| frame(private, regs.rsp, index))
    else {
        let text = format!("vector {vector} announced without a frame");
        return FaultReport::plain(Cause::Protocol, index, text);
    };
    FaultReport {
        cause: Cause::Exception {
            vector: vector as u8,
        },
        vcpu: index,
        error_code: frame.error_code,
        address: vcpu.get_sregs().map_or(0, |sregs| sregs.cr2),
        registers: Registers {
            rax: frame.rax,
            rdx: frame.rdx,
            rip: frame.rip,
            rsp: frame.rsp,
            rflags: frame.rflags,
            ..registers(&regs)
        },
        in_program: in_code(frame.rip),
        program: None,
        insn: None,
        text: String::new(),
    }
}

/// The frame at `rsp`, if that is on the vCPU's CPL0 stack.
fn frame(private: &Mapping, rsp: u64, index: u32) -> Option<FaultFrame> {
    const LEN: usize = size_of::<FaultFrame>();
    let last = layout::cpl0_stack_top(index) - LEN as u64;
    if !(layout::cpl0_stack_top(index) - 0x1000..=last).contains(&rsp) {
        return None;
    }
    let mut bytes = [0; LEN];
    private.slice().read_slice(&mut bytes, rsp as usize).ok()?;
    FaultFrame::read_from_bytes(&bytes).ok()
}
