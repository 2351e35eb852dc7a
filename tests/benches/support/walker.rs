//! Programs that work on random keys of a hash map, for the kernel and for us.

use bpf_core::asm::assemble;
use bpf_core::insn::Insn;

/// Operations in a run.
pub const STEPS: u32 = 1024;

/// Looks a key up and reads its value.
pub const LOOKUP: &str = "r1 = map[id:MAP]\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem\n\
    if r0 == 0 goto next\nr0 = *(u64 *)(r0 +0)\nr8 += r0\n";
/// Sets a key's value.
pub const UPDATE: &str = "*(u64 *)(r10 -16) = r7\nr1 = map[id:MAP]\nr2 = r10\nr2 += -4\nr3 = r10\n\
    r3 += -16\nr4 = 0\ncall bpf_map_update_elem\n";
/// Does `step` with random ones of the keys 0 to `keys`, of 4 bytes each.
pub fn walker(map: i32, keys: u32, step: &str) -> Vec<Insn> {
    let text = format!(
        "call bpf_get_prandom_u32\nr6 = r0\nr7 = 0\nr8 = 0\nr9 = 6364136223846793005 ll\n\
         again:\nr6 *= r9\nr6 += 1442695041\nr1 = r6\nr1 >>= 32\nr1 *= {keys}\nr1 >>= 32\n\
         *(u32 *)(r10 -4) = r1\n{step}next:\nr7 += 1\nif r7 < {STEPS} goto again\nr0 = 2\nexit\n"
    );
    assemble(&text.replace("MAP", &map.to_string())).unwrap()
}
