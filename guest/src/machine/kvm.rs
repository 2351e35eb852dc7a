//! The machine as the runtime sees it: ports, clock, code region, shared slot.
#![allow(unsafe_code)]
use bpfvisor_abi::boot::{BootInfo, GATE_VECTOR, boot_flags, port};
use bpfvisor_abi::layout;
use bpfvisor_guest::hal::{Machine, Shared};
use core::arch::asm;

/// A vCPU under KVM.
pub struct Kvm;

impl Machine for Kvm {
    fn out(&self, port: u16, value: u32) {
        // SAFETY: the TSS opens this port; the VMM answers by resuming us. It may
        // have written to the shared slot in between, hence no `nomem`.
        unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) }
    }

    fn ready(&self) {
        let tsc = self.tsc();
        // SAFETY: as in `out`.
        unsafe {
            asm!("out dx, eax", in("dx") port::READY, in("eax") tsc as u32,
                 in("ecx") (tsc >> 32) as u32, options(nostack));
        }
    }

    fn tsc(&self) -> u64 {
        // SAFETY: CR4.TSD is clear.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    fn abandon(&self, vcpu: u32) {
        let top = layout::stack_top(vcpu) - 8;
        // SAFETY: as the VMM does it: the vCPU's own stack begins anew, and nobody
        // comes back to what was on it.
        unsafe {
            asm!("mov rsp, {top}", "cld", "mov rdi, rsp", "jmp {abort}",
                 top = in(reg) top, abort = sym crate::entry::abort, options(noreturn));
        }
    }

    fn write_code(&self, addr: u64, bytes: &[u8]) -> bool {
        let end = addr.checked_add(bytes.len() as u64);
        if addr < layout::CODE || end.is_none_or(|e| e > layout::CODE + layout::CODE_SIZE) {
            return false;
        }
        let alias = (addr + layout::CODE_ALIAS_OFFSET) as *mut u8;
        gate(true);
        // SAFETY: the range lies in the code region (checked above), whose alias
        // is writable while the gate is open; nothing else refers to these bytes:
        // the code allocator gave them to this load alone.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), alias, bytes.len()) };
        gate(false);
        true
    }

    fn bmi2(&self) -> bool {
        let info: Option<BootInfo> = shared().read(layout::BOOT_INFO);
        info.is_some_and(|i| i.flags & boot_flags::BMI2 != 0)
    }

    fn code_region(&self) -> (u64, u64) {
        (layout::CODE, layout::CODE_SIZE)
    }

    fn populate(&self, addr: u64) {
        self.out(port::POPULATE, (addr >> 12) as u32);
    }
}

fn gate(open: bool) {
    // SAFETY: the VMM set the vector up with DPL 3; the handler preserves all
    // registers but RBX and RCX (RBX is put back here: compilers keep it to
    // themselves) and switches stacks, so the red zone stays whole. Memory is
    // clobbered by default.
    unsafe {
        asm!("mov {kept}, rbx", "int {v}", "mov rbx, {kept}", v = const GATE_VECTOR,
             kept = out(reg) _, in("eax") u32::from(open), lateout("rcx") _);
    }
}

/// The shared slot, whose size the VMM wrote into the boot record.
pub fn shared() -> Shared {
    let info = (layout::SHARED + layout::BOOT_INFO) as *const BootInfo;
    // SAFETY: the VMM maps the shared slot at SHARED, begins it with the boot
    // record (any bytes are a valid one), and never unmaps it.
    unsafe {
        let len = info.read_volatile().shared_len;
        Shared::new(layout::SHARED, len)
    }
}
