//! The least BTF with which the kernel lets a program have callbacks, or tail
//! calls in functions: one static function `int f(void)`.

/// Type id of that function.
pub const FUNC: u32 = 3;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: u32 = 24;
const KIND_INT: u32 = 1 << 24;
const KIND_FUNC: u32 = 12 << 24;
const KIND_FUNC_PROTO: u32 = 13 << 24;
const NAMES: &[u8] = b"\0int\0f\0";

/// The blob for `BPF_BTF_LOAD`.
pub fn blob() -> Vec<u8> {
    // Each type: name, kind, size or type; an integer also has its encoding.
    let types = [
        [1, KIND_INT, 4].as_slice(),
        &[1 << 24 | 32],
        &[0, KIND_FUNC_PROTO, 1],
        &[5, KIND_FUNC, 2],
    ]
    .concat();
    let len = types.len() as u32 * 4;
    let first = u32::from(MAGIC) | 1 << 16;
    let header = [first, HEADER_LEN, 0, len, len, NAMES.len() as u32];
    let words = header.iter().chain(&types).flat_map(|w| w.to_le_bytes());
    words.chain(NAMES.iter().copied()).collect()
}

/// `func_info`: a record for each function's first instruction.
pub fn func_info(starts: &[u32]) -> Vec<u32> {
    starts.iter().flat_map(|&start| [start, FUNC]).collect()
}
