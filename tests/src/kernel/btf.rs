//! The least BTF that callbacks need: the kernel takes the address of a function
//! only in programs whose functions have types.

/// The type that [`functions`] gives every function: `static int f(void)`.
pub const FUNCTION: u32 = 3;

/// A BTF blob with `int`, `int (void)` and a static function of that type.
pub fn functions() -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const FUNC: u32 = 12 << 24;
    const FUNC_PROTO: u32 = 13 << 24;
    let strings = b"\0int\0f\0";
    // Name, kind, size or type; an integer's encoding follows.
    let types = [
        [1, INT, 4].as_slice(),
        &[1 << 24 | 32],
        &[0, FUNC_PROTO, 1],
        &[5, FUNC, 2],
    ]
    .concat();
    let (type_len, header_len) = (types.len() as u32 * 4, 24);
    let magic = 0xeb9f | 1 << 16;
    let header = [
        magic,
        header_len,
        0,
        type_len,
        type_len,
        strings.len() as u32,
    ];
    let words = header.iter().chain(&types);
    words
        .flat_map(|w| w.to_le_bytes())
        .chain(strings.iter().copied())
        .collect()
}
