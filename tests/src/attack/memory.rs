//! Any address read or written from inside a VM, as the test says.

use super::program;
use bpfvisor::{Program, ProgramSpec, Result, Vm};
use bpfvisor_abi::layout;

/// Programs that read and write where their input says.
#[derive(Debug)]
pub struct Poker {
    peek: Program,
    poke: Program,
    poke_and_spin: Program,
}

/// Writes words: pairs of address and value up to the end of the input.
const POKE: &str = "
        r2 += r1
    again:
        if r1 >= r2 goto out
        r3 = *(u64 *)(r1 + 0)
        r4 = *(u64 *)(r1 + 8)
        *(u64 *)(r3 + 0) = r4
        r1 += 16
        goto again
    out:
        r0 = 0
";

/// A word to write.
pub type Word = (u64, u64);

impl Poker {
    /// Loads the programs into a VM without verifier.
    ///
    /// # Panics
    /// If they are refused.
    #[allow(clippy::panic)]
    pub fn new(vm: &Vm) -> Self {
        let flat = |text: &str| {
            let spec = ProgramSpec::flat(program(text)).flat_memory(0, 4096);
            vm.load(spec.name("poker"))
                .unwrap_or_else(|e| panic!("the poker was refused: {e}"))
        };
        Self {
            peek: flat("r1 = *(u64 *)(r1 + 0)\nr0 = *(u64 *)(r1 + 0)\nexit"),
            poke: flat(&format!("{POKE}\nexit")),
            poke_and_spin: flat(&format!("{POKE}\nfor_ever:\ngoto for_ever\nexit")),
        }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// What comes of it.
    pub fn peek(&self, address: u64) -> Result<u64> {
        Ok(self.peek.run(&address.to_ne_bytes())?.r0)
    }

    /// Writes words in order, then returns.
    ///
    /// # Errors
    /// What comes of it.
    pub fn poke(&self, words: &[Word]) -> Result<u64> {
        Ok(self.poke.run(&bytes(words))?.r0)
    }

    /// Writes words in order, then never ends by itself.
    ///
    /// # Errors
    /// What comes of it.
    pub fn poke_and_spin(&self, words: &[Word]) -> Result<u64> {
        Ok(self.poke_and_spin.run(&bytes(words))?.r0)
    }
}

fn bytes(words: &[Word]) -> Vec<u8> {
    let flat = words.iter().flat_map(|&(address, value)| [address, value]);
    flat.flat_map(u64::to_ne_bytes).collect()
}

/// Guest address of a place in vCPU 0's queue block.
pub fn at_queue(offset: u64) -> u64 {
    layout::SHARED + layout::queue_block(0) + offset
}
