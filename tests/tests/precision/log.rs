//! Reading the registers in the kernel's verifier log.

use bpf_core::verifier::domain::{Scalar, Tnum};

/// One instruction on the first path, with the registers shown after it.
pub struct Step<'a> {
    pub insn: usize,
    pub regs: Vec<(u8, Known<'a>)>,
    pub line: &'a str,
}

/// What the kernel knows of a number.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    text: &'a str,
    wide: (u64, u64, i64, i64),
    low: (u32, u32, i32, i32),
    tnum: Tnum,
}

impl Known<'_> {
    /// Whether it is one number that `ours` rules out: the kernel is on a path
    /// that can't be, of which it splits off some.
    pub fn is_elsewhere(&self, ours: &Scalar) -> bool {
        self.tnum.is_const() && !ours.contains(self.tnum.value)
    }

    /// Whether it is the same set but reads differently.
    pub fn reads_otherwise(&self, ours: &Scalar) -> bool {
        self.is(ours) && !self.text.contains("id=") && self.text != ours.to_string()
    }

    /// Whether it is the same set.
    pub fn is(&self, ours: &Scalar) -> bool {
        let wide = (ours.umin(), ours.umax(), ours.smin(), ours.smax());
        let low = (
            ours.u32_min(),
            ours.u32_max(),
            ours.s32_min(),
            ours.s32_max(),
        );
        self.wide == wide && self.low == low && self.tnum == ours.tnum()
    }
}

/// The first path: up to the line where the kernel goes back to a branch.
pub fn steps(text: &str) -> impl Iterator<Item = Step<'_>> {
    text.lines()
        .take_while(|line| !line.starts_with("from "))
        .filter_map(step)
}

fn step(line: &str) -> Option<Step<'_>> {
    let (insn, rest) = line.split_once(": (")?;
    let state = rest.split_once(';').map_or("", |(_, state)| state);
    Some(Step {
        insn: insn.parse().ok()?,
        regs: state.split(" R").filter_map(register).collect(),
        line,
    })
}

/// `7_w=scalar(…)`, or with a number in place of `scalar(…)`.
fn register(text: &str) -> Option<(u8, Known<'_>)> {
    let (name, value) = text.split_once('=')?;
    let reg = name.split('_').next()?.parse().ok()?;
    let value = value.trim().trim_start_matches('P');
    let known = match value.strip_prefix("scalar(") {
        Some(facts) => Known {
            text: value,
            ..scalar(facts.strip_suffix(')')?)?
        },
        None => {
            let v = number(value)?;
            Known {
                text: value,
                wide: (v, v, v as i64, v as i64),
                low: (v as u32, v as u32, v as i32, v as i32),
                tnum: Tnum::constant(v),
            }
        }
    };
    Some((reg, known))
}

fn scalar(facts: &str) -> Option<Known<'_>> {
    let mut known = Known {
        text: facts,
        wide: (0, u64::MAX, i64::MIN, i64::MAX),
        low: (0, u32::MAX, i32::MIN, i32::MAX),
        tnum: Tnum::UNKNOWN,
    };
    for fact in facts.split(',').filter(|fact| !fact.is_empty()) {
        let (names, value) = fact.rsplit_once('=')?;
        if names == "var_off" {
            let (bits, mask) = value.trim_matches(['(', ')']).split_once("; ")?;
            known.tnum = Tnum::new(number(bits)?, number(mask)?);
            continue;
        }
        for name in names.split('=') {
            known.set(name, number(value)?)?;
        }
    }
    Some(known)
}

impl Known<'_> {
    fn set(&mut self, name: &str, v: u64) -> Option<()> {
        match name {
            "umin" => self.wide.0 = v,
            "umax" => self.wide.1 = v,
            "smin" => self.wide.2 = v as i64,
            "smax" => self.wide.3 = v as i64,
            "umin32" => self.low.0 = v as u32,
            "umax32" => self.low.1 = v as u32,
            "smin32" => self.low.2 = v as i32,
            "smax32" => self.low.3 = v as i32,
            "id" => {}
            _ => return None,
        }
        Some(())
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text
            .parse::<u64>()
            .ok()
            .or(text.parse::<i64>().ok().map(|v| v as u64)),
    }
}
