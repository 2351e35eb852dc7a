//! The least BTF that callbacks and spin locks need: the kernel takes the address
//! of a function only in programs whose functions have types, and finds locks in
//! the types of map values.

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
    blob(&types, strings)
}

/// `int` of [`locked`].
pub const INT: u32 = 1;
/// `struct value` of [`locked`].
pub const LOCKED: u32 = 3;

/// A BTF blob with `struct value { int n; struct bpf_spin_lock lock; }`.
pub fn locked() -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const STRUCT: u32 = 4 << 24;
    let strings = b"\0int\0bpf_spin_lock\0val\0value\0lock\0";
    let types = [
        [1, INT, 4].as_slice(),
        &[1 << 24 | 32],
        // Members are name, type and offset in bits.
        &[5, STRUCT | 1, 4],
        &[19, 1, 0],
        &[23, STRUCT | 2, 8],
        &[19, 1, 0],
        &[29, 2, 32],
    ]
    .concat();
    blob(&types, strings)
}

/// Types of key and value in [`locked_pair`].
pub const LOCKED_PAIR: (u32, u32) = (1, 4);

/// A BTF blob with a value of 24 bytes: a number, a `struct bpf_spin_lock` at
/// offset 8, a number of 4 bytes, another.
pub fn locked_pair() -> Vec<u8> {
    const INT: u32 = 1 << 24;
    const STRUCT: u32 = 4 << 24;
    let strings = b"\0u32\0u64\0bpf_spin_lock\0v\0";
    let [u32_name, u64_name, lock, v] = [1, 5, 9, 23];
    let types = [
        [u32_name, INT, 4, 32].as_slice(),
        &[u64_name, INT, 8, 64],
        &[lock, STRUCT | 1, 4],
        &[v, 1, 0],
        &[v, STRUCT | 4, 24],
        &[u64_name, 2, 0, lock, 3, 64, u32_name, 1, 96, v, 2, 128],
    ]
    .concat();
    blob(&types, strings)
}

/// A blob in the making.
#[derive(Clone, Debug)]
pub struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Default for Blob {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }
}

impl Blob {
    /// Offset of a string; that of the empty one is 0.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    /// A type of these words; its id.
    pub fn add(&mut self, name: &str, info: u32, size_or_type: u32, extra: &[u32]) -> u32 {
        let name = self.string(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(extra);
        self.count += 1;
        self.count
    }

    /// A signed integer.
    pub fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, 1 << 24, bytes, &[(1 << 24) | (bytes * 8)])
    }

    /// A structure of members with their types and offsets in bits.
    pub fn structure(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut words = Vec::new();
        for &(name, of, offset) in members {
            words.extend([self.string(name), of, offset]);
        }
        self.add(name, (4 << 24) | members.len() as u32, size, &words)
    }

    /// The prototype of a function.
    pub fn proto(&mut self, returned: u32, params: &[u32]) -> u32 {
        let mut words = Vec::new();
        for &of in params {
            words.extend([self.string("p"), of]);
        }
        self.add("", (13 << 24) | params.len() as u32, returned, &words)
    }

    /// The whole.
    pub fn bytes(&self) -> Vec<u8> {
        blob(&self.types, &self.strings)
    }
}

fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
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
    let words = header.iter().chain(types);
    words
        .flat_map(|w| w.to_le_bytes())
        .chain(strings.iter().copied())
        .collect()
}
