//! What may stand behind `rN =`.
use super::cursor::{Cursor, Parsed, atomic_width, type_name};
use super::error::Pos;
use super::lexer::Token;
use crate::insn::{AluOp, AtomicOp, Op, Operand, Reg, Size, Swap, Wide, Width};
use alloc::format;

impl Cursor<'_> {
    /// The right side of an assignment to `dst`.
    pub(super) fn value(&mut self, width: Width, dst: Reg) -> Parsed<Op> {
        let op = AluOp::Mov;
        if let Some(reg) = self.try_operand_register(width)? {
            let src = Operand::Reg(reg);
            return Ok(Op::Alu {
                width,
                op,
                dst,
                src,
            });
        }
        match (self.peek(), self.peek_second()) {
            (Token::Symbol("("), _) => self.sign_extension(width, dst),
            (Token::Symbol("-"), Token::Word(_)) => self.negation(width, dst),
            (Token::Symbol("*"), _) | (Token::Word(_), _) if width == Width::W32 => {
                Err(self.expected("a number or a half register such as 'w1'"))
            }
            (Token::Symbol("*"), _) => self.load(dst),
            (Token::Word(word), _) => self.keyword(word, dst),
            _ if width == Width::W64 => self.number(dst),
            _ => {
                let src = Operand::Imm(self.immediate(true)?);
                Ok(Op::Alu {
                    width,
                    op,
                    dst,
                    src,
                })
            }
        }
    }

    /// A `mov` in decimal, a 16-byte load in hexadecimal or with `ll`.
    fn number(&mut self, dst: Reg) -> Parsed<Op> {
        let pos = self.pos();
        let (negative, n) = self.signed()?;
        let value = if negative {
            n.value.wrapping_neg()
        } else {
            n.value
        };
        if self.take("ll") || (n.hex && !negative) {
            let value = Wide::Imm(value);
            return Ok(Op::LoadWide { dst, value });
        }
        let fits = i32::try_from(value as i64).ok();
        let fits = fits.filter(|imm| *imm == 0 || (*imm < 0) == negative);
        let imm = fits.ok_or_else(|| pos.error("number does not fit in 32 bits; add 'll'"))?;
        Ok(Op::Alu {
            width: Width::W64,
            op: AluOp::Mov,
            dst,
            src: Operand::Imm(imm),
        })
    }

    /// `(s8)r2`
    fn sign_extension(&mut self, width: Width, dst: Reg) -> Parsed<Op> {
        self.expect("(")?;
        let from = match self.peek() {
            Token::Word(word) => type_name(word),
            _ => None,
        };
        let Some((true, from)) = from else {
            return Err(self.expected("s8, s16 or s32"));
        };
        self.next();
        self.expect(")")?;
        let src = self.try_operand_register(width)?;
        let src = src.ok_or_else(|| self.expected("a register"))?;
        Ok(Op::Movsx {
            width,
            from,
            dst,
            src,
        })
    }

    /// `-r1`, of the same register
    fn negation(&mut self, width: Width, dst: Reg) -> Parsed<Op> {
        self.expect("-")?;
        let pos = self.pos();
        match self.register()? {
            same if same == (width, dst) => Ok(Op::Neg { width, dst }),
            _ => Err(pos.error("negation takes the register that it assigns to")),
        }
    }

    /// `*(u32 *)(r1 +4)` or `*(u32 *)skb[…]`
    fn load(&mut self, dst: Reg) -> Parsed<Op> {
        self.expect("*")?;
        self.expect("(")?;
        let (signed, size) = self.memory_type()?;
        if !signed && dst == Reg::R0 && self.take("skb") {
            return self.load_packet(size);
        }
        let (src, off) = self.address()?;
        Ok(Op::Load {
            size,
            signed,
            dst,
            src,
            off,
        })
    }

    /// `[12]` or `[r3 + 12]`
    fn load_packet(&mut self, size: Size) -> Parsed<Op> {
        self.expect("[")?;
        let index = match self.peek() {
            Token::Word(_) => Some(self.register64()?),
            _ => None,
        };
        let imm = match self.peek() {
            Token::Symbol("]") => 0,
            _ => {
                // The kernel writes "r3 + -12".
                if index.is_some() && self.peek_second() == Token::Symbol("-") {
                    self.expect("+")?;
                }
                self.immediate(false)?
            }
        };
        self.expect("]")?;
        Ok(Op::LoadPacket { size, index, imm })
    }

    fn keyword(&mut self, word: &str, dst: Reg) -> Parsed<Op> {
        let pos = self.pos();
        let unknown = pos.error(format!("'{word}' is not a value"));
        self.next();
        if let Some(swap) = swap_name(word) {
            return self.swap(swap, dst);
        }
        let value = match word {
            "load_acquire" => return self.load_acquire(dst),
            "map" => self.map()?,
            "btf" => self.btf()?,
            "subprog" => self.subprog()?,
            _ => {
                let op = atomic_name(word).ok_or(unknown)?;
                return self.fetch(op, dst, pos);
            }
        };
        Ok(Op::LoadWide { dst, value })
    }

    /// The register of `be16 r1`, which is the one assigned to
    fn swap(&mut self, (swap, size): (Swap, Size), dst: Reg) -> Parsed<Op> {
        let pos = self.pos();
        if self.register64()? != dst {
            return Err(pos.error("byte swaps take the register that they assign to"));
        }
        Ok(Op::Swap { swap, size, dst })
    }

    fn load_acquire(&mut self, dst: Reg) -> Parsed<Op> {
        self.expect("(")?;
        let (size, src, off) = self.place()?;
        self.expect(")")?;
        Ok(Op::LoadAcquire {
            size,
            dst,
            src,
            off,
        })
    }

    /// The arguments of `r2 = atomic_fetch_add((u32 *)(r1 +4), r2)`
    fn fetch(&mut self, (named, op): (Width, AtomicOp), result: Reg, pos: Pos) -> Parsed<Op> {
        self.expect("(")?;
        let (size, dst, off) = self.place()?;
        if atomic_width(size) != Some(named) {
            return Err(pos.error("atomic_… is for u32, atomic64_… for u64"));
        }
        self.expect(",")?;
        let mut src = self.register64()?;
        if op == AtomicOp::Cmpxchg {
            if (src, result) != (Reg::R0, Reg::R0) {
                return Err(pos.error("cmpxchg compares with r0 and assigns to it"));
            }
            self.expect(",")?;
            src = self.register64()?;
        } else if src != result {
            return Err(pos.error("the operand is the register that is assigned to"));
        }
        self.expect(")")?;
        let width = named;
        Ok(Op::Atomic {
            width,
            op,
            dst,
            off,
            src,
        })
    }

    /// `[id:5]`, `[id:5][0]+8`, and the same with `idx`
    fn map(&mut self) -> Parsed<Wide> {
        self.expect("[")?;
        let by_index = self.take("idx");
        if !by_index {
            self.expect("id")?;
        }
        self.expect(":")?;
        let map = self.immediate(true)? as u32;
        self.expect("]")?;
        if !self.take("[") {
            return Ok(match by_index {
                true => Wide::MapIdx { idx: map },
                false => Wide::Map { map },
            });
        }
        self.immediate(false)?;
        self.expect("]")?;
        self.expect("+")?;
        let off = self.immediate(true)? as u32;
        Ok(match by_index {
            true => Wide::MapIdxValue { idx: map, off },
            false => Wide::MapValue { map, off },
        })
    }

    /// `[id:5]+0`
    fn btf(&mut self) -> Parsed<Wide> {
        for text in ["[", "id", ":"] {
            self.expect(text)?;
        }
        let id = self.immediate(true)? as u32;
        self.expect("]")?;
        self.expect("+")?;
        let btf_fd = self.immediate(true)? as u32;
        Ok(Wide::BtfId { id, btf_fd })
    }

    /// `[+7]` or `[label]`; the distance counts from the load itself.
    fn subprog(&mut self) -> Parsed<Wide> {
        self.expect("[")?;
        let pos = self.pos();
        let distance = self.target()?;
        self.expect("]")?;
        let rel = distance.checked_sub(1);
        let rel = rel.ok_or_else(|| pos.error(super::too_far(distance.into())))?;
        Ok(Wide::Func { rel })
    }
}

/// `be16`, `bswap64` and so on
fn swap_name(word: &str) -> Option<(Swap, Size)> {
    let all = [Swap::Le, Swap::Be, Swap::Always];
    all.into_iter().find_map(|swap| {
        let size = match word.strip_prefix(swap.name())? {
            "16" => Size::H,
            "32" => Size::W,
            "64" => Size::DW,
            _ => return None,
        };
        Some((swap, size))
    })
}

/// `atomic_xchg`, `atomic64_fetch_add` and so on, for those that fetch
fn atomic_name(word: &str) -> Option<(Width, AtomicOp)> {
    let (width, name) = match (word.strip_prefix("atomic_"), word.strip_prefix("atomic64_")) {
        (Some(name), _) => (Width::W32, name),
        (_, Some(name)) => (Width::W64, name),
        _ => return None,
    };
    let fetching = |op: &AtomicOp| op.symbol().is_none() && op.name() == name;
    let op = AtomicOp::ALL.into_iter().find(fetching)?;
    Some((width, op))
}
