//! The registers a vCPU starts with: long mode, paging on, already at CPL3, so
//! that no boot code runs (SDM volume 3, 2.5 and 10.8).

use bpfvisor_abi::layout;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs, kvm_xcr, kvm_xcrs};

use crate::descriptors::{self as tables};

/// PE, MP, ET, NE, WP, PG.
const CR0: u64 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
/// PAE, OSFXSR, OSXMMEXCPT, OSXSAVE.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18;
/// LME, LMA, NXE.
const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;
/// The bit that is always one: IOPL 0, interrupts off (there are none).
const RFLAGS: u64 = 1 << 1;
/// x87, SSE, AVX and AVX-512.
const XCR0_WANTED: u64 = 0b1110_0111;

/// System registers, built on those that KVM reports after reset.
pub(crate) fn system(reset: kvm_sregs, vcpu: u32) -> kvm_sregs {
    let mut sregs = reset;
    sregs.cr0 = CR0;
    sregs.cr3 = layout::pml4(vcpu);
    sregs.cr4 = CR4;
    sregs.efer = EFER;
    sregs.cs = kvm_segment {
        l: 1,
        type_: 11,
        ..flat(tables::USER_CODE)
    };
    let data = kvm_segment {
        db: 1,
        type_: 3,
        ..flat(tables::USER_DATA)
    };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        base: tables::tss(vcpu),
        limit: tables::TSS_LIMIT,
        selector: tables::TASK,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    sregs.gdt.base = tables::GDT;
    sregs.gdt.limit = tables::GDT_LIMIT;
    sregs.idt.base = tables::IDT;
    sregs.idt.limit = tables::IDT_LIMIT;
    sregs
}

fn flat(selector: u16) -> kvm_segment {
    kvm_segment {
        limit: u32::MAX,
        selector,
        present: 1,
        dpl: 3,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// General registers at `rip`: at boot the entry, after a time-out the abort
/// entry. `regs` gives the rest.
pub(crate) fn entering(regs: kvm_regs, rip: u64, vcpu: u32) -> kvm_regs {
    kvm_regs {
        rip,
        rsp: layout::stack_top(vcpu) - 8,
        rdi: u64::from(vcpu),
        rflags: RFLAGS,
        ..regs
    }
}

/// The extended state that both we and the processor know.
pub(crate) fn extended(supported: u64) -> kvm_xcrs {
    let mut xcrs = kvm_xcrs {
        nr_xcrs: 1,
        ..Default::default()
    };
    xcrs.xcrs[0] = kvm_xcr {
        xcr: 0,
        reserved: 0,
        value: supported & XCR0_WANTED,
    };
    xcrs
}
