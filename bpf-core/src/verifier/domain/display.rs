//! The text form of the kernel's log.

use super::Scalar;
use core::fmt;

/// A constant as a signed number, anything else as
/// `scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))`, and
/// `scalar()` where nothing is known.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_const() {
            Some(v) => write_number(f, v, true),
            None => {
                f.write_str("scalar(")?;
                self.write_facts(f, "")?;
                f.write_str(")")
            }
        }
    }
}

impl Scalar {
    /// Writes what is known (`smin=0,…,var_off=(0x0; 0xff)`) without brackets,
    /// `sep` before the first fact and commas between; nothing where nothing is
    /// known. Bounds with equal values share one number.
    pub fn write_facts(&self, f: &mut dyn fmt::Write, sep: &str) -> fmt::Result {
        let mut sep = sep;
        let mut facts = self.facts();
        while let Some(at) = facts.iter().position(|fact| fact.shown) {
            let first = facts[at];
            f.write_str(sep)?;
            sep = ",";
            for fact in facts.iter_mut().skip(at).step_by(2) {
                if fact.shown && fact.joins(&first) {
                    write!(f, "{}=", fact.name)?;
                    fact.shown = false;
                }
            }
            write_number(f, first.value, first.signed)?;
        }
        let tnum = self.tnum();
        if tnum.mask == u64::MAX {
            return Ok(());
        }
        write!(f, "{sep}var_off=({:#x}; {:#x})", tnum.value, tnum.mask)
    }

    /// All bounds: minima and maxima in turn, the wide ones first. Those that
    /// tell nothing are not shown.
    fn facts(&self) -> [Fact; 8] {
        let (wide, low) = (&self.wide, &self.low);
        let fact = |name, value, signed, shown| Fact {
            name,
            value,
            signed,
            shown,
        };
        [
            fact("smin", wide.smin as u64, true, wide.smin != i64::MIN),
            fact("smax", wide.smax as u64, true, wide.smax != i64::MAX),
            fact("umin", wide.umin, false, wide.umin != 0),
            fact("umax", wide.umax, false, wide.umax != u64::MAX),
            fact("smin32", half(low.smin), true, low.smin != i32::MIN as i64),
            fact("smax32", half(low.smax), true, low.smax != i32::MAX as i64),
            fact("umin32", low.umin, false, low.umin != 0),
            fact("umax32", low.umax, false, low.umax != u32::MAX as u64),
        ]
    }
}

#[derive(Clone, Copy)]
struct Fact {
    name: &'static str,
    value: u64,
    signed: bool,
    shown: bool,
}

impl Fact {
    /// Whether both can stand before the same number. Equal bits don't mean
    /// that where one is negative and the other a great unsigned number.
    fn joins(&self, first: &Self) -> bool {
        let negative = |fact: &Self| fact.signed && (fact.value as i64) < 0;
        self.value == first.value && negative(self) == negative(first)
    }
}

/// A signed bound of the low half: sign-extended where it is shown in decimal,
/// 32 bits where in hexadecimal.
fn half(v: i64) -> u64 {
    if is_short(v) {
        v as u64
    } else {
        v as u32 as u64
    }
}

fn is_short(v: i64) -> bool {
    i16::try_from(v).is_ok()
}

/// Decimal where that is short, hexadecimal elsewhere.
fn write_number(f: &mut dyn fmt::Write, v: u64, signed: bool) -> fmt::Result {
    match signed {
        true if is_short(v as i64) => write!(f, "{}", v as i64),
        false if v <= u16::MAX as u64 => write!(f, "{v}"),
        _ => write!(f, "{v:#x}"),
    }
}
