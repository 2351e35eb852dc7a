//! Arithmetic on registers.
use super::domain::{AluOp, Scalar, Swap, Width};
use super::engine::Verifier;
use super::reg::{Kind, MAX_VAR_OFF, Reg};
use super::reject::{Res, bail};
use crate::insn::{Insn, op};
use crate::uapi::errno::{EACCES, EFAULT, EINVAL};
use alloc::rc::Rc;

fn operation(i: &Insn) -> AluOp {
    match (i.opcode & 0xf0, i.off) {
        (op::ADD, _) => AluOp::Add,
        (op::SUB, _) => AluOp::Sub,
        (op::MUL, _) => AluOp::Mul,
        (op::DIV, 0) => AluOp::Div,
        (op::DIV, _) => AluOp::Sdiv,
        (op::MOD, 0) => AluOp::Mod,
        (op::MOD, _) => AluOp::Smod,
        (op::OR, _) => AluOp::Or,
        (op::AND, _) => AluOp::And,
        (op::XOR, _) => AluOp::Xor,
        (op::LSH, _) => AluOp::Lsh,
        (op::RSH, _) => AluOp::Rsh,
        (op::ARSH, _) => AluOp::Arsh,
        _ => AluOp::Mov,
    }
}

impl Verifier<'_> {
    /// ALU and ALU64.
    pub fn alu(&mut self, pc: usize, i: &Insn) -> Res<()> {
        let width = if i.class() == op::ALU64 {
            Width::W64
        } else {
            Width::W32
        };
        match i.opcode & 0xf0 {
            op::MOV => self.mov(i, width),
            op::NEG | op::END => self.unary(i, width),
            _ => self.binary(pc, i, width),
        }
    }

    fn unary(&mut self, i: &Insn, width: Width) -> Res<()> {
        let old = self.read(i.dst)?;
        self.check_writable(i.dst)?;
        let mut new = Reg::UNKNOWN;
        if old.is_scalar() {
            new.node = old.node;
            new.num = match i.opcode & 0xf0 {
                op::NEG => old.num.neg(width),
                _ => old.num.byte_swap(swap(i), i.imm as u32),
            };
        }
        self.set(i.dst, new);
        Ok(())
    }

    fn mov(&mut self, i: &Insn, width: Width) -> Res<()> {
        if i.opcode & op::X == 0 {
            self.check_writable(i.dst)?;
            let v = if width == Width::W64 {
                i64::from(i.imm) as u64
            } else {
                u64::from(i.imm as u32)
            };
            self.set(i.dst, Reg::constant(v));
            return Ok(());
        }
        self.read(i.src)?;
        self.check_writable(i.dst)?;
        let whole = width == Width::W64 && i.off == 0;
        if whole || self.fits(i, width) {
            self.assign_scalar_id(i.src);
        }
        let src = *self.reg(i.src);
        if whole {
            self.set(i.dst, src);
            return Ok(());
        }
        let mut new = Reg::UNKNOWN;
        if src.is_scalar() {
            new = src;
            new.num = match i.off {
                0 => src.num.truncate32(),
                bits => src.num.sign_extend(bits as u32, width),
            };
            if !self.fits(i, width) {
                new.unlink();
            }
        } else if width == Width::W32 {
            // A piece of a pointer: privileged programs may have it.
            new.num = new.num.truncate32();
        }
        self.set(i.dst, new);
        Ok(())
    }

    /// Whether a narrowing move leaves the number as it is.
    fn fits(&self, i: &Insn, width: Width) -> bool {
        let src = self.reg(i.src);
        let narrow = width == Width::W64 || src.num.umax() <= u64::from(u32::MAX);
        src.is_scalar() && narrow && (i.off == 0 || src.num.umax() < 1 << (i.off - 1))
    }

    /// Gives a number an id before it is copied, so that what is learnt about
    /// one copy is learnt about the others.
    pub fn assign_scalar_id(&mut self, nr: u8) {
        let r = *self.reg(nr);
        if !r.is_scalar() {
            return;
        }
        let needs = r.num.as_const().is_none() && (r.id == 0 || r.linked.is_some());
        if needs || r.linked.is_some() {
            let id = if needs { self.new_id() } else { 0 };
            self.set(
                nr,
                Reg {
                    id,
                    linked: None,
                    off: 0,
                    ..r
                },
            );
        }
    }

    fn binary(&mut self, pc: usize, i: &Insn, width: Width) -> Res<()> {
        let src = if i.opcode & op::X != 0 {
            self.read(i.src)?
        } else {
            Reg::constant(i64::from(i.imm) as u64)
        };
        let dst = self.read(i.dst)?;
        self.check_writable(i.dst)?;
        let new = match (dst.is_pointer(), src.is_pointer()) {
            (false, false) => {
                let dst = self.split(pc, i, dst, &src)?;
                self.scalars(i, width, &dst, &src)
            }
            (true, true) if i.opcode & 0xf0 == op::SUB => Reg::UNKNOWN,
            (true, true) => bail!(
                EACCES,
                "R{} pointer {} pointer prohibited",
                i.dst,
                op_text(i.opcode)
            ),
            (true, false) => {
                self.nodes.mark(src.node);
                check_link(dst.type_name(), &src)?;
                self.pointer_alu(i, width, &dst, &src.num, false)?
            }
            (false, true) => {
                self.nodes.mark(dst.node);
                check_link(src.type_name(), &dst)?;
                self.pointer_alu(i, width, &src, &dst.num, true)?
            }
        };
        self.set(i.dst, new);
        Ok(())
    }

    /// A mask (all ones or all zeros) that meets a constant: the ones are followed
    /// now, the zeros later, so that the two outcomes are kept apart.
    fn split(&mut self, pc: usize, i: &Insn, dst: Reg, src: &Reg) -> Res<Reg> {
        let splits = matches!(operation(i), AluOp::And | AluOp::Or) && src.as_const().is_some();
        let (true, Some((ones, zeros))) = (splits, dst.num.split_mask()) else {
            return Ok(dst);
        };
        let mut other = self.st.clone();
        let top = other.frames.len() - 1;
        let r = &mut Rc::make_mut(&mut other.frames[top]).regs[usize::from(i.dst)];
        r.num = zeros;
        r.unlink();
        self.push(other, pc, pc, EFAULT)?;
        Ok(Reg { num: ones, ..dst })
    }

    fn scalars(&mut self, i: &Insn, width: Width, dst: &Reg, src: &Reg) -> Reg {
        let mut new = Reg::scalar(Scalar::alu(operation(i), width, &dst.num, &src.num));
        new.node = self.nodes.join(dst.node, src.node);
        if let Some(delta) = link_delta(i, width, dst, src)
            && new.num.as_const().is_none()
        {
            (new.id, new.linked, new.off) = (dst.id, Some(width), delta);
        }
        new
    }

    /// Pointer plus or minus number.
    fn pointer_alu(
        &mut self,
        i: &Insn,
        width: Width,
        ptr: &Reg,
        num: &Scalar,
        num_is_dst: bool,
    ) -> Res<Reg> {
        let (dst, what) = (i.dst, i.opcode & 0xf0);
        if width == Width::W32 {
            if what == op::SUB {
                return Ok(Reg::UNKNOWN);
            }
            bail!(EACCES, "R{dst} 32-bit pointer arithmetic prohibited");
        }
        if ptr.or_null {
            let name = ptr.type_name();
            bail!(
                EACCES,
                "R{dst} pointer arithmetic on {name} prohibited, null-check it first"
            );
        }
        let zero_add = num.as_const() == Some(0) && what == op::ADD;
        let fixed = match ptr.kind {
            Kind::MapPtr => !zero_add,
            Kind::FlowKeys => !zero_add && num.as_const().is_none(),
            Kind::PacketEnd => true,
            _ => ptr.is_socket(),
        };
        if fixed {
            bail!(
                EACCES,
                "R{dst} pointer arithmetic on {} prohibited",
                ptr.type_name()
            );
        }
        check_offset(ptr.type_name(), num)?;
        let mut new = match what {
            op::ADD => self.pointer_add(ptr, num),
            op::SUB if num_is_dst => bail!(EACCES, "R{dst} tried to subtract pointer from scalar"),
            op::SUB if ptr.kind == Kind::Stack => {
                bail!(EACCES, "R{dst} subtraction from stack pointer prohibited")
            }
            op::SUB => self.pointer_sub(ptr, num),
            op::AND | op::OR | op::XOR => bail!(
                EACCES,
                "R{dst} bitwise operator {} on pointer prohibited",
                op_text(i.opcode)
            ),
            _ => bail!(
                EACCES,
                "R{dst} pointer arithmetic with {} operator prohibited",
                op_text(i.opcode)
            ),
        };
        new.node = 0;
        check_sane(&new)?;
        Ok(new)
    }

    fn pointer_add(&mut self, ptr: &Reg, num: &Scalar) -> Reg {
        let mut new = *ptr;
        if let Some(c) = num.as_const()
            && let Ok(off) = i32::try_from(i64::from(ptr.off).wrapping_add(c as i64))
        {
            new.off = off;
            return new;
        }
        new.num = ptr.num.moved(num, false);
        if ptr.is_packet() {
            new.id = self.new_id();
            new.extra = 0;
        }
        new
    }

    fn pointer_sub(&mut self, ptr: &Reg, num: &Scalar) -> Reg {
        let mut new = *ptr;
        if let Some(c) = num.as_const()
            && let Ok(off) = i32::try_from(i64::from(ptr.off).wrapping_sub(c as i64))
        {
            new.off = off;
            return new;
        }
        new.num = ptr.num.moved(num, true);
        if ptr.is_packet() {
            new.id = self.new_id();
            if num.smin() < 0 {
                new.extra = 0;
            }
        }
        new
    }
}

/// By how much the result differs from the other copies of `dst`, where that is
/// a constant that is remembered. A 32-bit difference says something only about
/// numbers whose upper half is zero.
fn link_delta(i: &Insn, width: Width, dst: &Reg, src: &Reg) -> Option<i32> {
    let same = i.opcode & op::X != 0 && i.src == i.dst;
    if dst.id == 0 || dst.linked.is_some() || same {
        return None;
    }
    let delta = match width {
        Width::W64 => i32::try_from(src.as_const()? as i64).ok()?,
        Width::W32 if dst.bits() > 32 => return None,
        Width::W32 => src.num.as_const_low()? as i32,
    };
    match operation(i) {
        AluOp::Add => Some(delta),
        AluOp::Sub => delta.checked_neg(),
        _ => None,
    }
}

/// Linux also holds the difference of a linked number to the limit of offsets.
fn check_link(name: &str, num: &Reg) -> Res<()> {
    let off = i64::from(num.off);
    if num.linked.is_some() && (off >= MAX_VAR_OFF || off <= -MAX_VAR_OFF) {
        bail!(EINVAL, "{name} pointer offset {off} is not allowed");
    }
    Ok(())
}

/// The sum of a pointer and this number must stay far from overflow.
fn check_offset(name: &str, num: &Scalar) -> Res<()> {
    if let Some(c) = num.as_const() {
        let v = c as i64;
        if v >= MAX_VAR_OFF || v <= -MAX_VAR_OFF {
            bail!(EINVAL, "math between {name} pointer and {v} is not allowed");
        }
    }
    unbounded(name, num)
}

fn unbounded(name: &str, num: &Scalar) -> Res<()> {
    let smin = num.smin();
    if smin == i64::MIN {
        bail!(
            EINVAL,
            "math between {name} pointer and register with unbounded min value is not allowed"
        );
    }
    if smin >= MAX_VAR_OFF || smin <= -MAX_VAR_OFF {
        bail!(EINVAL, "value {smin} makes {name} pointer be out of bounds");
    }
    Ok(())
}

/// What must hold of a pointer after arithmetic.
fn check_sane(r: &Reg) -> Res<()> {
    let name = r.type_name();
    if let Some(c) = r.num.as_const() {
        let v = c as i64;
        if v >= MAX_VAR_OFF || v <= -MAX_VAR_OFF {
            bail!(EINVAL, "math between {name} pointer and {v} is not allowed");
        }
    }
    let off = i64::from(r.off);
    if off >= MAX_VAR_OFF || off <= -MAX_VAR_OFF {
        bail!(EINVAL, "{name} pointer offset {off} is not allowed");
    }
    unbounded(name, &r.num)
}

fn swap(i: &Insn) -> Swap {
    match (i.class(), i.opcode & op::X) {
        (op::ALU64, _) => Swap::Bswap,
        (_, 0) => Swap::Le,
        _ => Swap::Be,
    }
}

fn op_text(code: u8) -> &'static str {
    match code & 0xf0 {
        op::ADD => "+=",
        op::SUB => "-=",
        op::MUL => "*=",
        op::DIV => "/=",
        op::OR => "|=",
        op::AND => "&=",
        op::LSH => "<<=",
        op::RSH => ">>=",
        op::MOD => "%=",
        op::XOR => "^=",
        op::ARSH => "s>>=",
        _ => "=",
    }
}
