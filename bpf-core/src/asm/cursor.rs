//! The tokens of one line, and the small things that they form.
use super::error::{AsmError, Pos};
use super::lexer::{Number, Token};
use crate::insn::{Operand, Reg, Size, Width};
use alloc::format;
use alloc::vec::Vec;

pub(super) type Parsed<T> = Result<T, AsmError>;

/// The tokens of a line and how far they were read.
pub(super) struct Cursor<'t> {
    tokens: Vec<(Token<'t>, Pos)>,
    at: usize,
    /// The label that the instruction jumps to.
    pub(super) label: Option<&'t str>,
}

/// A register with the width that its letter says.
pub(super) type Named = (Width, Reg);

impl<'t> Cursor<'t> {
    pub(super) fn new(tokens: Vec<(Token<'t>, Pos)>) -> Self {
        Cursor {
            tokens,
            at: 0,
            label: None,
        }
    }

    pub(super) fn skip(&mut self, tokens: usize) {
        self.at += tokens;
    }

    fn ahead(&self, by: usize) -> (Token<'t>, Pos) {
        let end = (Token::End, Pos { line: 0, column: 0 });
        let last = self.tokens.last().copied().unwrap_or(end);
        self.tokens.get(self.at + by).copied().unwrap_or(last)
    }

    pub(super) fn peek(&self) -> Token<'t> {
        self.ahead(0).0
    }

    pub(super) fn peek_second(&self) -> Token<'t> {
        self.ahead(1).0
    }

    pub(super) fn pos(&self) -> Pos {
        self.ahead(0).1
    }

    pub(super) fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Takes this symbol or word if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let here = matches!(self.peek(), Token::Symbol(s) | Token::Word(s) if s == text);
        if here {
            self.at += 1;
        }
        here
    }

    pub(super) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.take(text) {
            return Ok(());
        }
        Err(self.expected(&format!("'{text}'")))
    }

    pub(super) fn expected(&self, what: &str) -> AsmError {
        self.pos()
            .error(format!("expected {what}, found {}", self.peek()))
    }

    pub(super) fn end(&self) -> Parsed<()> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.expected("the end of the line")),
        }
    }

    pub(super) fn label_definition(&mut self) -> Option<(&'t str, Pos)> {
        match (self.peek(), self.peek_second()) {
            (Token::Word(name), Token::Symbol(":")) => {
                let pos = self.pos();
                self.at += 2;
                Some((name, pos))
            }
            _ => None,
        }
    }

    /// A distance (`pc+3`, `+3`), or a label, which counts as 0 for now.
    pub(super) fn target(&mut self) -> Parsed<i32> {
        if let Token::Word(name) = self.peek()
            && name != "pc"
        {
            self.at += 1;
            self.label = Some(name);
            return Ok(0);
        }
        self.take("pc");
        match self.peek() {
            Token::Symbol("+" | "-") => self.immediate(false),
            _ => Err(self.expected("a label or a distance such as 'pc+3'")),
        }
    }

    pub(super) fn near(&mut self) -> Parsed<i16> {
        let pos = self.pos();
        let off = self.target()?;
        i16::try_from(off).map_err(|_| pos.error(super::too_far(off.into())))
    }

    /// `r3` or `w3`, if that comes next.
    pub(super) fn try_register(&mut self) -> Option<Named> {
        let Token::Word(word) = self.peek() else {
            return None;
        };
        let named = register_name(word)?;
        self.at += 1;
        Some(named)
    }

    pub(super) fn register(&mut self) -> Parsed<Named> {
        self.try_register()
            .ok_or_else(|| self.expected("a register"))
    }

    pub(super) fn register64(&mut self) -> Parsed<Reg> {
        let pos = self.pos();
        match self.register()? {
            (Width::W64, reg) => Ok(reg),
            _ => Err(pos.error("expected a whole register such as 'r1'")),
        }
    }

    /// The register of a second operand, which must have the first one's width.
    pub(super) fn try_operand_register(&mut self, width: Width) -> Parsed<Option<Reg>> {
        let pos = self.pos();
        match self.try_register() {
            Some((found, _)) if found != width => {
                Err(pos.error("both registers must be whole (r) or both half (w)"))
            }
            found => Ok(found.map(|(_, reg)| reg)),
        }
    }

    pub(super) fn alu_operand(&mut self, width: Width) -> Parsed<Operand> {
        if let Some(reg) = self.try_operand_register(width)? {
            return Ok(Operand::Reg(reg));
        }
        Ok(Operand::Imm(self.immediate(width == Width::W32)?))
    }

    pub(super) fn store_operand(&mut self, size: Size) -> Parsed<Operand> {
        if let Some(reg) = self.try_operand_register(Width::W64)? {
            return Ok(Operand::Reg(reg));
        }
        Ok(Operand::Imm(self.immediate(size != Size::DW)?))
    }

    /// A sign, if there is one, and a number.
    pub(super) fn signed(&mut self) -> Parsed<(bool, Number)> {
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        match self.peek() {
            Token::Number(n) => {
                self.at += 1;
                Ok((negative, n))
            }
            _ => Err(self.expected("a number or a register")),
        }
    }

    /// A 32-bit immediate; `unsigned` ones may also be written as 2^31 to 2^32-1.
    pub(super) fn immediate(&mut self, unsigned: bool) -> Parsed<i32> {
        let pos = self.pos();
        let (negative, n) = self.signed()?;
        let value = i64::try_from(n.value).ok();
        let value = value.map(|v| if negative { -v } else { v });
        let fitting = value.and_then(|v| match u32::try_from(v) {
            Ok(v) if unsigned => Some(v as i32),
            _ => i32::try_from(v).ok(),
        });
        fitting.ok_or_else(|| pos.error("number does not fit in a signed 32-bit immediate"))
    }

    pub(super) fn offset(&mut self) -> Parsed<i16> {
        let pos = self.pos();
        let off = self.immediate(false)?;
        i16::try_from(off).map_err(|_| pos.error("offset does not fit in 16 bits"))
    }

    /// `(u32 *)(r1 +4)`
    pub(super) fn place(&mut self) -> Parsed<(Size, Reg, i16)> {
        self.expect("(")?;
        let pos = self.pos();
        let (signed, size) = self.memory_type()?;
        if signed {
            return Err(pos.error("expected u8, u16, u32 or u64"));
        }
        let (reg, off) = self.address()?;
        Ok((size, reg, off))
    }

    /// `u32 *)` or `s32 *)`
    pub(super) fn memory_type(&mut self) -> Parsed<(bool, Size)> {
        let size = match self.peek() {
            Token::Word(word) => type_name(word),
            _ => None,
        };
        let size = size.ok_or_else(|| self.expected("a type such as u32"))?;
        self.at += 1;
        self.expect("*")?;
        self.expect(")")?;
        Ok(size)
    }

    /// `(r1 +4)`
    pub(super) fn address(&mut self) -> Parsed<(Reg, i16)> {
        self.expect("(")?;
        let reg = self.register64()?;
        let off = match self.peek() {
            Token::Symbol("+" | "-") => self.offset()?,
            _ => 0,
        };
        self.expect(")")?;
        Ok((reg, off))
    }
}

fn register_name(word: &str) -> Option<Named> {
    let (width, digits) = match (word.strip_prefix('r'), word.strip_prefix('w')) {
        (Some(digits), _) => (Width::W64, digits),
        (_, Some(digits)) => (Width::W32, digits),
        _ => return None,
    };
    let canonical = digits.len() == 1 || digits == "10";
    let reg = Reg::new(digits.parse().ok().filter(|_| canonical)?)?;
    Some((width, reg))
}

/// `u8` to `u64` and `s8` to `s64`: signed or not, and the size.
pub(super) fn type_name(word: &str) -> Option<(bool, Size)> {
    let (signed, digits) = match (word.strip_prefix('u'), word.strip_prefix('s')) {
        (Some(digits), _) => (false, digits),
        (_, Some(digits)) => (true, digits),
        _ => return None,
    };
    let size = match digits {
        "8" => Size::B,
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::DW,
        _ => return None,
    };
    Some((signed, size))
}

/// The width of a read-modify-write of this size.
pub(super) fn atomic_width(size: Size) -> Option<Width> {
    match size {
        Size::W => Some(Width::W32),
        Size::DW => Some(Width::W64),
        _ => None,
    }
}
