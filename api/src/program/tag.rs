//! A program's tag: what Linux tells equal programs by.

use bpf_core::insn::{Insn, op};
use sha2::{Digest, Sha256};

/// The first 8 bytes of SHA-256 (since Linux 6.18, SHA-1 before) over the
/// instructions, in which descriptors of maps count as zero.
pub(super) fn tag(insns: &[Insn]) -> [u8; 8] {
    let mut hash = Sha256::new();
    let mut second_of_map = false;
    for insn in insns {
        let mut insn = *insn;
        let named = insn.is_wide() && matches!(insn.src, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE);
        if named || second_of_map {
            insn.imm = 0;
        }
        second_of_map = named && !second_of_map;
        hash.update(insn.to_bytes());
    }
    let digest = hash.finalize();
    std::array::from_fn(|i| digest[i])
}
