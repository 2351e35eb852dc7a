//! The log, in the form that kernel users know.
use super::engine::{Pending, Verifier};
use super::reg::{Kind, Reg};
use super::state::{Byte, Slot, State};
use super::{live, log_level};
use crate::insn::{Insn, op};
use crate::program::LineInfo;
use alloc::string::String;
use core::fmt::{self, Write};

/// The text so far, and what the next line must mention.
pub(crate) struct Log {
    pub text: String,
    level: u32,
    /// The line of the last instruction is not ended yet.
    open: bool,
    line_start: usize,
    before: alloc::vec::Vec<Slot>,
    /// The whole state is due.
    whole: bool,
    /// The source line shown last.
    source: Option<LineInfo>,
}

impl Log {
    pub fn new(level: u32) -> Self {
        let before = alloc::vec::Vec::new();
        Self {
            text: String::new(),
            level,
            open: false,
            line_start: 0,
            before,
            whole: true,
            source: None,
        }
    }

    /// Whether instructions are logged.
    pub fn insns(&self) -> bool {
        self.level & (log_level::LEVEL1 | log_level::LEVEL2) != 0
    }

    /// Whether anything is logged.
    pub fn any(&self) -> bool {
        self.level != 0
    }

    fn verbose(&self) -> bool {
        self.level & log_level::LEVEL2 != 0
    }

    /// A line of its own.
    pub fn line(&mut self, text: &str) {
        if self.any() {
            self.close();
            self.text.push_str(text);
            self.text.push('\n');
        }
    }

    /// At level 1, forgets what was written after a point.
    pub fn rewind(&mut self, len: usize) {
        if self.insns() && !self.verbose() {
            self.text.truncate(len);
            self.open = false;
        }
    }

    /// Another function is about to be followed on its own.
    pub fn begin(&mut self) {
        self.whole = true;
        self.source = None;
    }

    fn close(&mut self) {
        if core::mem::take(&mut self.open) {
            self.text.push('\n');
        }
    }
}

/// Column at which the effect of an instruction begins.
const EFFECT_COLUMN: usize = 38;

impl Verifier<'_> {
    pub(super) fn log_insn(&mut self, pc: usize, i: &Insn) {
        if !self.log.insns() {
            return;
        }
        self.log.close();
        if core::mem::take(&mut self.log.whole) {
            let state = state_text(&self.st);
            let _ = writeln!(self.log.text, "{pc}: {state}");
        }
        self.log_source(pc);
        self.log.line_start = self.log.text.len();
        let text = disasm_line(&self.by_index(pc, i), self.desc.insns.get(pc + 1));
        let _ = write!(self.log.text, "{pc}: ({:02x}) {text}", i.opcode);
        self.log.open = true;
        self.log.before.clear();
        self.log
            .before
            .extend_from_slice(&self.st.frames[self.st.frames.len() - 1].stack);
    }

    /// Maps are shown by their place among the program's: what the instruction holds
    /// means something inside the VM only.
    fn by_index(&self, pc: usize, i: &Insn) -> Insn {
        let Some(nr) = self.aux[pc].map else {
            return *i;
        };
        let src = match i.src {
            op::PSEUDO_MAP_FD => op::PSEUDO_MAP_IDX,
            op::PSEUDO_MAP_VALUE => op::PSEUDO_MAP_IDX_VALUE,
            other => other,
        };
        let imm = nr as i32;
        Insn { src, imm, ..*i }
    }

    /// The source line, where it is another than before.
    fn log_source(&mut self, pc: usize) {
        let Some(line) = self.types.line_of(pc) else {
            return;
        };
        let same = |l: LineInfo| l == *line || (l.file == line.file && l.line() == line.line());
        if !self.log.source.is_some_and(same) {
            let text = self.types.line_text(line);
            let _ = writeln!(self.log.text, "; {text}");
            self.log.source = Some(*line);
        }
    }

    /// What changed, behind the instruction; on a line of its own where something
    /// else was said meanwhile.
    pub(super) fn log_effect(&mut self, i: &Insn, next: usize) {
        if !self.log.insns() {
            return;
        }
        let (used, defined) = live::effect(i);
        let top = self.top();
        let mut text = String::new();
        for (nr, r) in top.regs.iter().enumerate() {
            let mentioned = (used | if is_call(i) { 1 } else { defined }) & 1 << nr != 0;
            if mentioned && r.kind != Kind::NotInit {
                let _ = write!(text, " R{nr}={}", Shown(r));
            }
        }
        for (nr, s) in top.stack.iter().enumerate() {
            if self.log.before.get(nr) != Some(s) {
                slot_text(&mut text, nr, s);
            }
        }
        if text.is_empty() {
            return;
        }
        if !core::mem::replace(&mut self.log.open, true) {
            let _ = write!(self.log.text, "{next}:{text}");
            return;
        }
        let width = self.log.text.len() - self.log.line_start;
        let pad = EFFECT_COLUMN.saturating_sub(width);
        let _ = write!(self.log.text, "{:pad$};{text}", "");
    }

    pub(super) fn log_resume(&mut self, p: &Pending) {
        if !self.log.insns() {
            return;
        }
        self.log.rewind(p.log_len);
        self.log.close();
        if self.log.verbose() {
            let state = state_text(&p.state);
            let _ = writeln!(self.log.text, "\nfrom {} to {}: {state}", p.from, p.pc);
            self.log.whole = false;
        } else {
            self.log.text.push(' ');
            self.log.whole = true;
        }
    }

    pub(super) fn log_safe(&mut self, pc: usize) {
        if !self.log.insns() {
            return;
        }
        if self.log.verbose() {
            let from = self.came_from;
            let text = alloc::format!("\nfrom {from} to {pc}: safe");
            self.log.line(&text);
        } else {
            let text = alloc::format!("{pc}: safe");
            self.log.line(&text);
        }
    }
}

fn is_call(i: &Insn) -> bool {
    use crate::insn::op;
    i.opcode == op::JMP | op::CALL
}

/// One instruction as text.
pub(crate) fn disasm_line(i: &Insn, next: Option<&Insn>) -> String {
    let mut text = String::new();
    let _ = match i.decode(next) {
        Ok(op) => write!(text, "{op}"),
        Err(e) => write!(text, "<{e}>"),
    };
    text
}

/// A register as the kernel shows it.
pub(crate) struct Shown<'r>(pub &'r Reg);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self.0;
        if r.kind == Kind::Stack && r.num.as_const() == Some(0) {
            return write!(f, "fp{}", r.off);
        }
        if r.kind == Kind::Stack {
            return write!(f, "fp(off={},{})", r.off, Facts(&r.num, ""));
        }
        if let Some(v) = r.as_const() {
            return if v as i64 >= -0x10000 && (v as i64) < 0x10000 {
                write!(f, "{}", v as i64)
            } else {
                write!(f, "{:#x}", v)
            };
        }
        write!(f, "{}(", r.type_name())?;
        let mut sep = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let out = write!(f, "{sep}{text}");
            sep = ",";
            out
        };
        if r.id != 0 {
            part(f, format_args!("id={}{}", r.id, Linked(r)))?;
        }
        if r.ref_id != 0 {
            part(f, format_args!("ref_obj_id={}", r.ref_id))?;
        }
        if r.is_pointer() && r.off != 0 {
            part(f, format_args!("off={}", r.off))?;
        }
        if r.is_packet() {
            part(f, format_args!("r={}", r.extra))?;
        }
        if r.kind == Kind::Mem {
            part(f, format_args!("sz={}", r.extra))?;
        }
        if r.num.as_const().is_none() && !r.num.is_unknown() {
            write!(f, "{}", Facts(&r.num, sep))?;
        }
        f.write_str(")")
    }
}

/// The known difference of a linked number.
struct Linked<'r>(&'r Reg);

impl fmt::Display for Linked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.linked.is_some() {
            write!(f, "{:+}", self.0.off)
        } else {
            Ok(())
        }
    }
}

/// Bounds and known bits.
struct Facts<'s>(&'s super::domain::Scalar, &'s str);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_facts(f, self.1)
    }
}

fn slot_text(text: &mut String, nr: usize, s: &Slot) {
    if s.bytes.iter().all(|b| *b == Byte::Invalid) {
        return;
    }
    let off = (nr as i32 + 1) * 8;
    let _ = write!(text, " fp-{off}=");
    let _ = if s.is_full_spill() {
        write!(text, "{}", Shown(&s.reg))
    } else {
        s.bytes
            .iter()
            .rev()
            .try_for_each(|b| text.write_char(letter(*b)))
    };
}

fn letter(b: Byte) -> char {
    match b {
        Byte::Invalid => '?',
        Byte::Spill => 'r',
        Byte::Misc => 'm',
        Byte::Zero => '0',
    }
}

/// The running frame: registers and stack.
pub(crate) fn state_text(st: &State) -> String {
    let mut text = String::new();
    let Some(top) = st.frames.last() else {
        return text;
    };
    if st.frames.len() > 1 {
        let _ = write!(text, "frame{}:", st.frames.len() - 1);
    }
    for (nr, r) in top
        .regs
        .iter()
        .enumerate()
        .filter(|(_, r)| r.kind != Kind::NotInit)
    {
        let _ = write!(text, " R{nr}={}", Shown(r));
    }
    for (nr, s) in top.stack.iter().enumerate() {
        slot_text(&mut text, nr, s);
    }
    String::from(text.trim_start())
}
