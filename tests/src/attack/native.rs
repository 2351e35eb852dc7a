//! Any machine code run from inside a VM: hidden in the immediates of a program,
//! and reached by another that overwrites its return address.

use super::{load, program};
use bpfvisor::{Program, Vm};

/// Bytes of code per immediate. Two more jump over the opcode of the next `mov`.
const CHUNK: usize = 6;
/// `jmp rsi`: the payload begins with RSI where the program would have returned.
const BACK: &[u8] = &[0xff, 0xe6];
/// Registers that carry immediates.
const CARRIERS: usize = 9;

/// A payload in its place.
#[derive(Debug)]
pub struct Injected {
    /// Run it to run the payload. Returns what the payload leaves in RAX.
    pub program: Program,
    /// Address of the payload's first byte.
    pub address: u64,
    /// Its bytes lie in this program.
    pub carrier: Program,
}

/// Places code, given as instructions of at most 6 bytes, and a way into it. It
/// begins with RAX = 0 and RSI = the way back, which is appended.
///
/// # Panics
/// If it is too long.
#[allow(clippy::panic)]
pub fn inject(vm: &Vm, instructions: &[&[u8]]) -> Injected {
    let chunks = pack(instructions);
    assert!(chunks.len() <= CARRIERS, "the payload is too long");
    let loads = chunks.iter().enumerate().map(|(register, chunk)| {
        let value = u64::from_le_bytes(*chunk);
        format!("r{} = {value:#x} ll\n", register + 1)
    });
    let stores = (1..=chunks.len()).map(|r| format!("*(u64 *)(r10 - {}) = r{r}\n", 8 * r));
    let text: String = loads.chain(stores).collect();
    let carrier = load(vm, program(&format!("{text}r0 = 0\nexit")));
    let code = carrier
        .jited()
        .unwrap_or_else(|e| panic!("no machine code: {e}"));
    let offset = find(&code, &chunks);
    let address = carrier.info().jited_addr + offset as u64;
    let way = format!(
        "r2 = *(u64 *)(r10 + 8)
         r1 = {address:#x} ll
         *(u64 *)(r10 + 8) = r1
         r0 = 0
         exit"
    );
    Injected {
        program: load(vm, program(&way)),
        address,
        carrier,
    }
}

/// Instructions and the way back in chunks that lead to one another.
fn pack(instructions: &[&[u8]]) -> Vec<[u8; 8]> {
    let mut chunks: Vec<Vec<u8>> = vec![Vec::new()];
    for instruction in instructions.iter().chain([&BACK]) {
        let fits = chunks
            .last()
            .is_some_and(|c| c.len() + instruction.len() <= CHUNK);
        if !fits {
            chunks.push(Vec::new());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.extend_from_slice(instruction);
        }
    }
    let whole = |chunk: &Vec<u8>| {
        let mut bytes = [0x90; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        bytes[CHUNK..].copy_from_slice(&[0xeb, 2]);
        bytes
    };
    chunks.iter().map(whole).collect()
}

/// Where the chunks lie, each behind the two bytes of the next opcode.
#[allow(clippy::panic)]
fn find(code: &[u8], chunks: &[[u8; 8]]) -> usize {
    let here = |at: usize| {
        let place = |nth: usize| at + nth * 10..at + nth * 10 + 8;
        let same = |(nth, chunk): (usize, &[u8; 8])| code.get(place(nth)) == Some(&chunk[..]);
        chunks.iter().enumerate().all(same)
    };
    let found = (0..code.len()).find(|&at| here(at));
    found.unwrap_or_else(|| panic!("{chunks:x?} not side by side in {code:x?}"))
}
