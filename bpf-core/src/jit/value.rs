//! What the compiler knows about registers within a stretch of straight code.

use super::effect::{RegSet, bit};
use super::x86::Size;

/// An address made of registers and a displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// What the address starts from.
    pub base: Base,
    /// A BPF register added to it.
    pub index: Option<u8>,
    /// Bytes added to it.
    pub disp: i32,
}

/// The first part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A BPF register.
    Bpf(u8),
    /// The machine register that holds this entry of the pool of constants.
    Pool(u8),
}

impl Addr {
    /// `[base + disp]`.
    pub const fn new(base: u8, disp: i32) -> Self {
        Self {
            base: Base::Bpf(base),
            index: None,
            disp,
        }
    }

    /// The BPF registers that it reads.
    pub fn uses(self) -> RegSet {
        let base = match self.base {
            Base::Bpf(r) => bit(r),
            Base::Pool(_) => 0,
        };
        base | self.index.map_or(0, bit)
    }

    /// The address `by` bytes further on.
    pub fn plus(self, by: i64) -> Option<Self> {
        let disp = i32::try_from(i64::from(self.disp) + by).ok()?;
        Some(Self { disp, ..self })
    }
}

/// A register's value, in terms of registers that have not changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Nothing is known.
    #[default]
    Unknown,
    /// A constant.
    Const(u64),
    /// A constant plus a register.
    ConstPlus(u64, u8),
    /// A sum of registers and a displacement; a plain copy is one, too.
    Sum(Addr),
    /// The lower half of a register, zero-extended.
    Low(u8),
    /// A register shifted logically by a constant, in this width.
    Shifted {
        src: u8,
        left: bool,
        by: u8,
        size: Size,
    },
}

impl Value {
    /// The registers in terms of which it stands.
    fn mentions(self) -> RegSet {
        match self {
            Value::Unknown | Value::Const(_) => 0,
            Value::ConstPlus(_, r) | Value::Low(r) | Value::Shifted { src: r, .. } => bit(r),
            Value::Sum(a) => a.uses(),
        }
    }
}

/// Upper bound of a 32-bit value.
pub const LOW: u64 = u32::MAX as u64;

/// All registers.
#[derive(Clone, Debug)]
pub struct Values {
    values: [Value; 16],
    /// Unsigned upper bounds of the whole registers.
    bounds: [u64; 16],
    /// Registers that some value mentions.
    mentioned: RegSet,
    /// The last store of a whole word to the stack: where, and from which register.
    slot: Option<(i32, u8)>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            values: [Value::Unknown; 16],
            bounds: [u64::MAX; 16],
            mentioned: 0,
            slot: None,
        }
    }
}

impl Values {
    /// A register's value.
    pub fn get(&self, r: u8) -> Value {
        self.values.get(usize::from(r)).copied().unwrap_or_default()
    }

    /// The largest number that a register can hold.
    pub fn bound(&self, r: u8) -> u64 {
        self.bounds.get(usize::from(r)).copied().unwrap_or(u64::MAX)
    }

    /// The registers in `defs` have new values: forgets everything about them.
    pub fn forget(&mut self, defs: RegSet) {
        if self.mentioned & defs != 0 {
            self.mentioned = 0;
            for v in &mut self.values {
                if v.mentions() & defs != 0 {
                    *v = Value::Unknown;
                }
                self.mentioned |= v.mentions();
            }
        }
        if self.slot.is_some_and(|(_, r)| bit(r) & defs != 0) {
            self.slot = None;
        }
        for r in 0..11 {
            if defs & bit(r) != 0 {
                self.put(r, Value::Unknown, u64::MAX);
            }
        }
    }

    fn put(&mut self, r: u8, value: Value, bound: u64) {
        if let (Some(v), Some(b)) = (
            self.values.get_mut(usize::from(r)),
            self.bounds.get_mut(usize::from(r)),
        ) {
            *v = value;
            *b = bound;
        }
    }

    /// A register gets a value that does not depend on its old one.
    pub fn set(&mut self, r: u8, value: Value, bound: u64) {
        self.forget(bit(r));
        let value = if value.mentions() & bit(r) != 0 {
            Value::Unknown
        } else {
            value
        };
        self.mentioned |= value.mentions();
        self.put(r, value, bound);
    }

    /// Remembers a store of a register's lower half to the stack, or that memory
    /// may have changed.
    pub fn stored(&mut self, slot: Option<(i32, u8)>) {
        self.slot = slot;
    }

    /// The register whose lower half lies in a word of the stack.
    pub fn in_slot(&self, disp: i32) -> Option<u8> {
        self.slot.filter(|s| s.0 == disp).map(|s| s.1)
    }
}
