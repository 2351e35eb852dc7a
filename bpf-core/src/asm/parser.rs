//! From tokens to statements.
use super::Statement;
use super::cursor::{Cursor, Named, Parsed, atomic_width};
use super::error::Pos;
use super::lexer::{self, Token};
use crate::disasm::{helper_id, helper_name};
use crate::insn::{AluOp, AtomicOp, Cond, Op, Operand};
use alloc::format;

/// What stands in one line.
pub(super) struct Line<'t> {
    pub label: Option<(&'t str, Pos)>,
    pub statement: Option<Statement<'t>>,
}

/// Parses one line.
pub(super) fn line(number: u32, text: &str) -> Parsed<Line<'_>> {
    let mut cursor = Cursor::new(lexer::tokens(number, text)?);
    let label = cursor.label_definition();
    let mut statement = None;
    if cursor.peek() != Token::End {
        let pos = cursor.pos();
        let op = cursor.statement()?;
        cursor.end()?;
        let label = cursor.label;
        statement = Some(Statement { op, pos, label });
    }
    Ok(Line { label, statement })
}

impl Cursor<'_> {
    fn statement(&mut self) -> Parsed<Op> {
        let start = self.pos();
        if self.take("*") {
            let (size, dst, off) = self.place()?;
            self.expect("=")?;
            let src = self.store_operand(size)?;
            return Ok(Op::Store {
                size,
                dst,
                off,
                src,
            });
        }
        if let Some(dst) = self.try_register() {
            return self.assignment(dst);
        }
        let Token::Word(word) = self.next() else {
            return Err(start.error("expected an instruction"));
        };
        match word {
            "exit" => Ok(Op::Exit),
            "if" => self.jump_if(),
            "goto" => {
                let off = self.near()?.into();
                Ok(Op::Jump { off, long: false })
            }
            "gotol" => {
                let off = self.target()?;
                Ok(Op::Jump { off, long: true })
            }
            "may_goto" => Ok(Op::MayGoto { off: self.near()? }),
            "call" => self.call(),
            "lock" => self.lock(),
            "store_release" => self.store_release(),
            _ => Err(start.error(format!("no instruction begins with '{word}'"))),
        }
    }

    fn assignment(&mut self, (width, dst): Named) -> Parsed<Op> {
        let pos = self.pos();
        let op = match self.next() {
            Token::Symbol("=") => return self.value(width, dst),
            Token::Symbol(s) => AluOp::ALL.into_iter().find(|op| op.symbol() == s),
            _ => None,
        };
        let op = op.ok_or_else(|| pos.error("expected an operator such as '=' or '+='"))?;
        let src = self.alu_operand(width)?;
        Ok(Op::Alu {
            width,
            op,
            dst,
            src,
        })
    }

    fn jump_if(&mut self) -> Parsed<Op> {
        let (width, dst) = self.register()?;
        let pos = self.pos();
        let cond = match self.next() {
            Token::Symbol(s) => Cond::ALL.into_iter().find(|c| c.symbol() == s),
            _ => None,
        };
        let cond = cond.ok_or_else(|| pos.error("expected a comparison such as '==' or 's<'"))?;
        let src = match self.try_operand_register(width)? {
            Some(reg) => Operand::Reg(reg),
            None => Operand::Imm(self.immediate(true)?),
        };
        self.expect("goto")?;
        let off = self.near()?;
        Ok(Op::JumpIf {
            width,
            cond,
            dst,
            src,
            off,
        })
    }

    fn lock(&mut self) -> Parsed<Op> {
        self.expect("*")?;
        let pos = self.pos();
        let (size, dst, off) = self.place()?;
        let width = atomic_width(size).ok_or_else(|| pos.error("expected u32 or u64"))?;
        let pos = self.pos();
        let op = match self.next() {
            Token::Symbol(s) => AtomicOp::ALL.into_iter().find(|op| op.symbol() == Some(s)),
            _ => None,
        };
        let op = op.ok_or_else(|| pos.error("expected '+=', '|=', '&=' or '^='"))?;
        let src = self.register64()?;
        Ok(Op::Atomic {
            width,
            op,
            dst,
            off,
            src,
        })
    }

    fn store_release(&mut self) -> Parsed<Op> {
        self.expect("(")?;
        let (size, dst, off) = self.place()?;
        self.expect(",")?;
        let src = self.register64()?;
        self.expect(")")?;
        Ok(Op::StoreRelease {
            size,
            dst,
            off,
            src,
        })
    }

    fn call(&mut self) -> Parsed<Op> {
        let pos = self.pos();
        match (self.peek(), self.peek_second()) {
            (Token::Number(_), _) => {
                let id = self.immediate(true)? as u32;
                Ok(Op::CallHelper { id })
            }
            (Token::Word("kernel"), Token::Symbol("-")) => self.call_kfunc(),
            (Token::Word(name), Token::Symbol("#")) => {
                self.skip(2);
                let id = self.immediate(true)? as u32;
                if name != helper_name(id).unwrap_or("unknown") {
                    return Err(pos.error(format!("helper {} is not '{name}'", id as i32)));
                }
                Ok(Op::CallHelper { id })
            }
            (Token::Word(name), _) if helper_id(name).is_some() => {
                self.skip(1);
                let id = helper_id(name).unwrap_or(0);
                Ok(Op::CallHelper { id })
            }
            _ => Ok(Op::CallLocal {
                off: self.target()?,
            }),
        }
    }

    /// `kernel-function#12`, with `@3` for an index into `fd_array`.
    fn call_kfunc(&mut self) -> Parsed<Op> {
        for text in ["kernel", "-", "function", "#"] {
            self.expect(text)?;
        }
        let id = self.immediate(false)?;
        let fd_idx = if self.take("@") { self.offset()? } else { 0 };
        Ok(Op::CallKfunc { id, fd_idx })
    }
}
