//! The instruction forms that the compiler uses, written as the SDM's opcode
//! tables write them (volume 2, chapters 3 to 5).

/// Which operands a form has and where they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// None.
    Zo,
    /// `r/m, reg`.
    Mr,
    /// `reg, r/m`.
    Rm,
    /// `r/m`, with a digit of the opcode in the reg field.
    M(u8),
    /// A register in the low bits of the opcode.
    O,
    /// `reg, r/m, vvvv` (VEX).
    Rmv,
}

/// The opcode map: which escape bytes stand before the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// No escape.
    One,
    /// `0F`.
    Two,
    /// `VEX.66.0F38`, `VEX.F3.0F38`, `VEX.F2.0F38`, `VEX.F2.0F3A`: the map number
    /// and the two-bit prefix code.
    Vex(u8, u8),
}

/// The immediate operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imm {
    /// None.
    None,
    /// One byte, sign-extended.
    I8,
    /// Four bytes, sign-extended (two with 16-bit operands).
    I32,
    /// As wide as the operand: up to eight bytes.
    Full,
}

/// One line of an opcode table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The manual's mnemonic.
    pub name: &'static str,
    /// Escape bytes.
    pub map: Map,
    /// Opcode byte.
    pub opcode: u8,
    /// Operands.
    pub operands: Operands,
    /// Immediate.
    pub imm: Imm,
    /// The `reg` or `r/m` register operand is a byte register, so that 4 to 7 need
    /// a REX prefix to mean SPL to DIL.
    pub byte: bool,
    /// The operand is 64 bits wide without REX.W (pushes, indirect branches).
    pub default64: bool,
}

const fn form(name: &'static str, opcode: u8, operands: Operands) -> Form {
    Form {
        name,
        map: Map::One,
        opcode,
        operands,
        imm: Imm::None,
        byte: false,
        default64: false,
    }
}

const fn two(name: &'static str, opcode: u8, operands: Operands) -> Form {
    Form {
        map: Map::Two,
        ..form(name, opcode, operands)
    }
}

const fn vex(name: &'static str, pp: u8, map: u8, opcode: u8, operands: Operands) -> Form {
    Form {
        map: Map::Vex(map, pp),
        ..form(name, opcode, operands)
    }
}

impl Form {
    const fn imm(self, imm: Imm) -> Form {
        Form { imm, ..self }
    }

    const fn byte(self) -> Form {
        Form { byte: true, ..self }
    }

    const fn default64(self) -> Form {
        Form {
            default64: true,
            ..self
        }
    }
}

/// The four forms that the classic two-operand instructions share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alu {
    /// `r/m, reg`.
    pub mr: Form,
    /// `reg, r/m`.
    pub rm: Form,
    /// `r/m, imm8`.
    pub i8: Form,
    /// `r/m, imm32`.
    pub i32: Form,
}

const fn alu(name: &'static str, n: u8) -> Alu {
    Alu {
        mr: form(name, n * 8 + 1, Operands::Mr),
        rm: form(name, n * 8 + 3, Operands::Rm),
        i8: form(name, 0x83, Operands::M(n)).imm(Imm::I8),
        i32: form(name, 0x81, Operands::M(n)).imm(Imm::I32),
    }
}

/// The forms of a shift or rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// By an immediate.
    pub i8: Form,
    /// By CL.
    pub cl: Form,
}

const fn shift(name: &'static str, digit: u8) -> Shift {
    Shift {
        i8: form(name, 0xc1, Operands::M(digit)).imm(Imm::I8),
        cl: form(name, 0xd3, Operands::M(digit)),
    }
}

macro_rules! table {
    ($all:ident: $ty:ty { $($name:ident = $value:expr;)* }) => {
        $(#[allow(missing_docs)] pub const $name: $ty = $value;)*
        /// All of the above.
        #[cfg(test)]
        pub const $all: &[$ty] = &[$($name,)*];
    };
}

table! { ALUS: Alu {
    ADD = alu("add", 0);
    OR  = alu("or", 1);
    AND = alu("and", 4);
    SUB = alu("sub", 5);
    XOR = alu("xor", 6);
    CMP = alu("cmp", 7);
} }

table! { SHIFTS: Shift {
    ROL = shift("rol", 0);
    SHL = shift("shl", 4);
    SHR = shift("shr", 5);
    SAR = shift("sar", 7);
} }

use Operands::{M, Mr, O, Rm, Rmv, Zo};

table! { FORMS: Form {
    MOV_MR   = form("mov", 0x89, Mr);
    MOV_RM   = form("mov", 0x8b, Rm);
    MOV8_MR  = form("mov", 0x88, Mr).byte();
    MOV_MI   = form("mov", 0xc7, M(0)).imm(Imm::I32);
    MOV8_MI  = form("mov", 0xc6, M(0)).imm(Imm::I8).byte();
    MOV_OI   = form("mov", 0xb8, O).imm(Imm::Full);
    MOVZX8   = two("movzx", 0xb6, Rm).byte();
    MOVZX16  = two("movzx", 0xb7, Rm);
    MOVSX8   = two("movsx", 0xbe, Rm).byte();
    MOVSX16  = two("movsx", 0xbf, Rm);
    MOVSXD   = form("movsxd", 0x63, Rm);
    LEA      = form("lea", 0x8d, Rm);
    TEST_MR  = form("test", 0x85, Mr);
    TEST_MI  = form("test", 0xf7, M(0)).imm(Imm::I32);
    TEST8_MI = form("test", 0xf6, M(0)).imm(Imm::I8).byte();
    NOT      = form("not", 0xf7, M(2));
    NEG      = form("neg", 0xf7, M(3));
    MUL      = form("mul", 0xf7, M(4));
    DIV      = form("div", 0xf7, M(6));
    IDIV     = form("idiv", 0xf7, M(7));
    IMUL_RM  = two("imul", 0xaf, Rm);
    IMUL_I8  = form("imul", 0x6b, Rm).imm(Imm::I8);
    IMUL_I32 = form("imul", 0x69, Rm).imm(Imm::I32);
    CDQ      = form("cdq", 0x99, Zo);
    BSWAP    = two("bswap", 0xc8, O);
    XADD     = two("xadd", 0xc1, Mr);
    CMPXCHG  = two("cmpxchg", 0xb1, Mr);
    XCHG     = form("xchg", 0x87, Mr);
    SETCC    = two("seto", 0x90, M(0)).byte();
    PUSH     = form("push", 0x50, O).default64();
    POP      = form("pop", 0x58, O).default64();
    RET      = form("ret", 0xc3, Zo).default64();
    LEAVE    = form("leave", 0xc9, Zo).default64();
    CALL     = form("call", 0xff, M(2)).default64();
    JMP      = form("jmp", 0xff, M(4)).default64();
    UD2      = two("ud2", 0x0b, Zo).default64();
    SHLX     = vex("shlx", 1, 2, 0xf7, Rmv);
    SARX     = vex("sarx", 2, 2, 0xf7, Rmv);
    SHRX     = vex("shrx", 3, 2, 0xf7, Rmv);
    RORX     = vex("rorx", 3, 3, 0xf0, Rm).imm(Imm::I8);
} }
