//! All code that runs at CPL0: fault handlers, and the gate that opens the code
//! region for writing. Slow on hosts that emulate CPL0, so as little as can be.
#![allow(unsafe_code)]
use bpfvisor_abi::{boot::port, layout};
use core::arch::global_asm;

const _: () = assert!(layout::HANDLER_STRIDE == 64);
const _: () = assert!(layout::GATE_HANDLER == layout::HANDLERS + 32 * 64);

// A handler leaves a `FaultFrame` on the stack and asks the VMM; it never returns
// by itself. Vectors with an error code of their own:
// 8, 10 to 14, 17, 21, 29, 30 (SDM volume 3, section 6.15).
global_asm!(
    ".section .handlers, \"ax\", @progbits",
    ".irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    ".balign 64",
    ".if ((0x60227d00 >> \\vector) & 1) == 0",
    "push 0",
    ".endif",
    "push rdx",
    "push rax",
    "mov eax, \\vector",
    "mov edx, {fault}",
    "2: out dx, eax",
    "jmp 2b",
    ".endr",
    fault = const port::FAULT,
);

// The gate: EAX = 1 maps the writable alias of the code region, 0 unmaps it; RBX and
// RCX are lost. The alias is one entry of the vCPU's own PML4, which lies at the
// address that CR3 holds (its low bits are zero); the entry's value is kept in another
// one, not present. Processors remember no entry that was not present: only where one
// goes they have to be told.
global_asm!(
    ".section .handlers, \"ax\", @progbits",
    ".balign 64",
    "mov rbx, cr3",
    "test eax, eax",
    "jz 2f",
    "mov rcx, [rbx + {kept} * 8]",
    "or rcx, 7",
    "mov [rbx + {alias} * 8], rcx",
    "iretq",
    "2: mov qword ptr [rbx + {alias} * 8], 0",
    "mov cr3, rbx",
    "iretq",
    ".text",
    kept = const layout::PML4_ALIAS_KEPT,
    alias = const layout::PML4_ALIAS,
);
const _: () = assert!(layout::CODE_ALIAS_OFFSET == 1 << 39);
