//! Hand-made guests for tests: a few instructions in place of the runtime.
#![allow(unsafe_code, clippy::unwrap_used)]

use bpfvisor_abi::layout;

use crate::image::Image;

/// Assembles position-independent code into `fn $name() -> &'static [u8]`.
macro_rules! code {
    ($name:ident, $($line:literal),+ $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata",
            ".balign 64",
            // Global: the reader may be compiled into another object file.
            concat!(".globl test_", stringify!($name), "_start, test_", stringify!($name), "_end"),
            concat!("test_", stringify!($name), "_start:"),
            $($line,)+
            concat!("test_", stringify!($name), "_end:"),
            ".popsection",
        );
        pub(crate) fn $name() -> &'static [u8] {
            let (start, end): (*const u8, *const u8);
            // SAFETY: takes two addresses.
            unsafe {
                std::arch::asm!(
                    concat!("lea {}, [rip + test_", stringify!($name), "_start]"),
                    concat!("lea {}, [rip + test_", stringify!($name), "_end]"),
                    out(reg) start, out(reg) end, options(nomem, nostack),
                );
                std::slice::from_raw_parts(start, end.offset_from(start) as usize)
            }
        }
    };
}

// Announces itself and spins.
code!(spin, "mov edx, 0x500", "out dx, eax", "2: pause", "jmp 2b");

// Fault handler of every vector: as the runtime's, with the vector found by the
// handler's address. `push 0` is there for vectors without an error code.
macro_rules! handler {
    ($name:ident, $($push:literal)?) => {
        code!($name, $($push,)? "push rdx", "push rax",
            "lea rax, [rip - 8]", "shr eax, 6", "and eax, 31", "mov edx, 0x514", "out dx, eax",
            "2: jmp 2b");
    };
}
handler!(handler_with_code,);
handler!(handler_without_code, "push 0");

// A fault handler that loses the interrupt table and faults again.
code!(
    handler_that_faults,
    "lidt [rip + 2f]",
    "ud2",
    "2: .quad 0, 0"
);

// Announces itself, then echoes: val = arg. Operation 1 faults by writing to
// arg[0], 2 jumps to arg[0] and comes back if that returns, 3 answers with status
// arg[0], 4 never answers, 5 writes a wrong stamp, 6 panics, 7 writes arg[0] to
// port arg[1], 8 jumps to arg[0] with RAX pointing to the stack: memory of zeroes
// then runs for as long as it is long. Sleeps after 1000 vain polls. Notifies if asked to.
code!(
    echo,
    "jmp 2f",
    ".balign 16",
    // Abort entry: the turn was kept in r12.
    "mov esi, -110",
    "jmp 6f",
    "2: mov edx, 0x500",
    "out dx, eax",
    "xor r12d, r12d",
    "mov r15d, edi",
    "shl r15, 15",
    "add r15, 0x40001000", // queue block
    "3: mov r13d, 1000",
    "mov r14d, r12d",
    "and r14d, 63",
    "shl r14d, 6",
    "lea r14, [r15 + r14]", // slot
    "lea r11d, [r12 + 1]",  // stamp
    "4: cmp [r14 + 0x1000], r11d",
    "je 5f",
    "pause",
    "dec r13d",
    "jnz 4b",
    "mov dword ptr [r15], 1",
    "mfence",
    "cmp [r14 + 0x1000], r11d",
    "je 44f",
    "mov edx, 0x504",
    "out dx, eax",
    "44: mov dword ptr [r15], 0",
    "jmp 3b",
    "5: xor esi, esi",
    "mov rbx, [r14 + 0x1008]",
    "mov eax, [r14 + 0x1004]",
    "cmp eax, 1",
    "jne 51f",
    "mov [rbx], eax",
    "51: cmp eax, 2",
    "jne 52f",
    "call rbx",
    "52: cmp eax, 3",
    "cmove esi, ebx",
    "cmp eax, 4",
    "45: je 45b",
    "cmp eax, 5",
    "jne 55f",
    "mov dword ptr [r14 + 0x2000], 0x77777777",
    "46: jmp 46b",
    "55: cmp eax, 6",
    "jne 57f",
    "mov dword ptr [r15 + 0x3000], 0x73706f6f",
    "mov eax, 4",
    "mov edx, 0x510",
    "out dx, eax",
    "57: cmp eax, 7",
    "jne 56f",
    "mov edx, [r14 + 0x1010]",
    "mov eax, ebx",
    "out dx, eax",
    "56: cmp eax, 8",
    "jne 6f",
    "lea rax, [rsp - 64]",
    "jmp rbx",
    "6: mov rax, [r14 + 0x1008]",
    "mov [r14 + 0x2008], rax",
    "mov rax, [r14 + 0x1010]",
    "mov [r14 + 0x2010], rax",
    "mov rax, [r14 + 0x1018]",
    "mov [r14 + 0x2018], rax",
    "mov [r14 + 0x2004], esi",
    "mov [r14 + 0x2000], r11d",
    "inc r12d",
    "mfence",
    "cmp dword ptr [r15 + 0x40], 0",
    "je 3b",
    "mov edx, 0x508",
    "out dx, eax",
    "jmp 3b",
);

// A guest in an attacker's hands. It announces itself, and then answers each request
// by chance: mostly as it should, with results of any kind, and before that writes
// words of the kinds that hurt to its queue block (21 in 256), to what the request names
// (44) or anywhere in 8 MiB of shared memory (8); or it touches a random address, writes
// to a random open port, never answers, gives a wrong stamp, or has an undefined
// instruction (1 each). Its numbers begin with the time stamp counter.
code!(
    chaos,
    "jmp 2f",
    ".balign 16",
    // Abort entry.
    "mov esi, -110",
    "jmp 7f",
    "2: mov edx, 0x500",
    "out dx, eax",
    "xor r12d, r12d",
    "mov r15d, edi",
    "shl r15, 15",
    "add r15, 0x40001000", // queue block
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "lea rbp, [rax + rdi + 1]",
    // The next request, or sleep.
    "3: mov r13d, 1000",
    "mov r14d, r12d",
    "and r14d, 63",
    "shl r14d, 6",
    "lea r14, [r15 + r14]", // slot
    "lea r11d, [r12 + 1]",  // stamp
    "4: cmp [r14 + 0x1000], r11d",
    "je 5f",
    "pause",
    "dec r13d",
    "jnz 4b",
    "mov dword ptr [r15], 1",
    "mfence",
    "cmp [r14 + 0x1000], r11d",
    "je 44f",
    "mov edx, 0x504",
    "out dx, eax",
    "44: mov dword ptr [r15], 0",
    "jmp 3b",
    "5: call 90f",
    "mov ebx, eax",
    "and ebx, 255",
    "cmp ebx, 1",
    "je 22f",
    "cmp ebx, 2",
    "je 23f",
    "cmp ebx, 3",
    "24: je 24b", // never answers
    "cmp ebx, 4",
    "jne 25f",
    "call 91f",
    "mov [r14 + 0x2000], eax", // a wrong stamp
    "25: cmp ebx, 5",
    "jne 26f",
    "ud2",
    "26: lea r8, [r15]",
    "mov r9d, 0x7ff8",
    "cmp ebx, 26",
    "jb 40f",
    "mov r8, [r14 + 0x1008]",
    "mov eax, 0x40000000",
    "add r8, rax",
    "mov r9d, 0x3f8",
    "cmp ebx, 70",
    "jb 40f",
    "mov r8d, eax",
    "mov r9d, 0x7ffff8",
    "cmp ebx, 78",
    "jb 40f",
    // Answers: one in eight with an errno.
    "6: xor esi, esi",
    "call 90f",
    "test al, 7",
    "jnz 7f",
    "shr eax, 8",
    "and eax, 4095",
    "sub esi, eax",
    "7: mov edi, 7",
    "8: call 91f",
    "mov [r14 + 0x2000 + rdi * 8], rax",
    "dec edi",
    "jnz 8b",
    "mov [r14 + 0x2004], esi",
    "mov [r14 + 0x2000], r11d",
    "inc r12d",
    "mfence",
    "cmp dword ptr [r15 + 0x40], 0",
    "je 3b",
    "xor eax, eax",
    "mov edx, 0x508",
    "out dx, eax",
    "jmp 3b",
    // A random address.
    "22: call 91f",
    "mov rax, [rax]",
    "jmp 6b",
    // A random number to one of eight ports.
    "23: call 90f",
    "mov edx, eax",
    "and edx, 0x1c",
    "add edx, 0x500",
    "call 91f",
    "out dx, eax",
    "jmp 6b",
    // Up to 16 words to r8 + (random & r9).
    "40: call 90f",
    "mov r10d, eax",
    "and r10d, 15",
    "42: call 90f",
    "mov edi, eax",
    "and edi, r9d",
    "call 91f",
    "mov [r8 + rdi], rax",
    "dec r10d",
    "jns 42b",
    "jmp 6b",
    // RAX: a random number (xorshift).
    "90: mov rax, rbp",
    "shl rax, 13",
    "xor rbp, rax",
    "mov rax, rbp",
    "shr rax, 7",
    "xor rbp, rax",
    "mov rax, rbp",
    "shl rax, 17",
    "xor rbp, rax",
    "mov rax, rbp",
    "ret",
    // RAX: a number of the kinds that hurt.
    "91: call 90b",
    "mov ecx, eax",
    "shr rax, 8",
    "and ecx, 7",
    "jz 92f",
    "cmp ecx, 1",
    "je 93f",
    "cmp ecx, 2",
    "je 94f",
    "cmp ecx, 3",
    "je 95f",
    "cmp ecx, 4",
    "jne 96f",
    "mov eax, eax",
    "96: ret",
    "92: xor eax, eax",
    "ret",
    "93: mov rax, -1",
    "ret",
    "94: movzx eax, al",
    "ret",
    "95: mov ecx, eax",
    "mov eax, 1",
    "shl rax, cl",
    "ret",
);

/// A segment of a made-up ELF: address, rights (`PF_X` 1, `PF_W` 2, `PF_R` 4), bytes.
pub(crate) type Segment<'a> = (u64, u32, &'a [u8]);

/// An ELF executable, as far as the loader looks at it.
pub(crate) fn elf(entry: u64, segments: &[Segment<'_>]) -> &'static [u8] {
    let mut file = vec![0; 64 + segments.len() * 56];
    file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    file[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file[32..40].copy_from_slice(&64u64.to_le_bytes());
    file[52..58].copy_from_slice(&[64, 0, 56, 0, segments.len() as u8, 0]);
    for (nth, &(address, rights, bytes)) in segments.iter().enumerate() {
        let offset = file.len() as u64;
        file.extend_from_slice(bytes);
        let len = bytes.len() as u64;
        let at = 64 + nth * 56;
        file[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
        file[at + 4..at + 8].copy_from_slice(&rights.to_le_bytes());
        for (word, value) in [offset, address, address, len, len, 1]
            .into_iter()
            .enumerate()
        {
            let at = at + 8 + word * 8;
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    file.leak()
}

/// A guest of `code` at the image's start, with fault handlers.
pub(crate) fn guest(code: &[u8]) -> Image {
    let with_and_without = |vector: usize| match vector {
        8 | 10..=14 | 17 => handler_with_code(),
        _ => handler_without_code(),
    };
    guest_with(code, with_and_without)
}

/// A guest with fault handlers of its own.
pub(crate) fn guest_with(code: &[u8], handler_of: impl Fn(usize) -> &'static [u8]) -> Image {
    let mut handlers = vec![0; (32 * layout::HANDLER_STRIDE) as usize];
    for (vector, handler) in handlers
        .chunks_mut(layout::HANDLER_STRIDE as usize)
        .enumerate()
    {
        let code = handler_of(vector);
        handler[..code.len()].copy_from_slice(code);
    }
    let segments = [
        (layout::HANDLERS, 5, &handlers[..]),
        (layout::IMAGE, 5, code),
    ];
    Image::parse(elf(layout::IMAGE, &segments)).unwrap()
}
