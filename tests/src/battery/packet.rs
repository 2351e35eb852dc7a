//! Legacy packet loads: every size, at and behind the ends of packets, and at
//! the special offsets of classic filters.

use super::Line;
use crate::generate::{Code, Operand};
use bpf_core::insn::op;

const SIZES: [(&str, u8); 3] = [("u8", op::B), ("u16", op::H), ("u32", op::W)];
/// `SKF_NET_OFF` and `SKF_LL_OFF`; `SKF_AD_OFF` means nothing here.
const SPECIAL: [i32; 3] = [-0x10_0000, -0x20_0000, -0x1000];

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for prog_type in ["socket_filter", "sched_cls"] {
        for (name, size) in SIZES {
            for at in offsets() {
                out.push(single(prog_type, name, size, at, None));
            }
            for index in offsets() {
                for at in [0, 4, -4, SPECIAL[0]] {
                    out.push(single(prog_type, name, size, at, Some(index)));
                }
            }
        }
        out.push(registers(prog_type));
        out.push(in_function(prog_type));
    }
    out
}

fn offsets() -> Vec<i32> {
    let mut list: Vec<i32> = (0..4).chain(44..70).collect();
    list.extend([i32::MAX, i32::MIN, -1, -2, -4, -5, 0xffff, 0x10000]);
    for special in SPECIAL {
        list.extend(
            [0, 1, 13, 14, 15, 46, 47, 48, 49, 50, 60, 61, 62, 63, 64].map(|n| special + n),
        );
        list.extend([-1, -4].map(|n| special + n));
    }
    list
}

/// One load; R0 is marked after it, so that a failed one shows.
fn single(prog_type: &'static str, name: &str, size: u8, at: i32, index: Option<i32>) -> Line {
    let mut code = Code::default();
    code.mov(6, Operand::Reg(1));
    let how = match index {
        None => {
            code.raw(op::LD | op::ABS | size, 0, 0, 0, at);
            format!("ld_abs {name} {at:#x}")
        }
        Some(index) => {
            code.mov(7, Operand::Imm(index));
            code.raw(op::LD | op::IND | size, 0, 7, 0, at);
            format!("ld_ind {name} {index:#x} + {at:#x}")
        }
    };
    code.alu(op::ALU64, op::XOR, 0, Operand::Imm(0x5a5a_5a5a), 0);
    code.exit();
    Line {
        prog_type,
        packets: [64, 61, 100].map(super::packet).to_vec(),
        ..Line::new(format!("{prog_type}: {how}"), code.finish())
    }
}

/// R6 to R9 live across loads, each register as index.
fn registers(prog_type: &'static str) -> Line {
    let mut code = Code::default();
    code.mov(6, Operand::Reg(1));
    for reg in 7..10 {
        code.mov(reg, Operand::Imm(i32::from(reg) * 3));
    }
    code.mov(9, Operand::Imm(0));
    for (_, size) in SIZES {
        for index in [0, 1, 2, 3, 4, 5, 7, 8] {
            if index < 6 {
                code.mov(index, Operand::Imm(i32::from(index) + 2));
            }
            code.raw(op::LD | op::IND | size, 0, index, 0, 3);
            code.alu(op::ALU64, op::LSH, 9, Operand::Imm(3), 0);
            code.alu(op::ALU64, op::XOR, 9, Operand::Reg(0), 0);
            code.add(9, Operand::Reg(8));
        }
    }
    code.mov(0, Operand::Reg(9));
    code.exit();
    Line {
        prog_type,
        ..Line::new(
            format!("{prog_type}: ld_ind by every register"),
            code.finish(),
        )
    }
}

/// A load that fails in a function ends the function alone.
fn in_function(prog_type: &'static str) -> Line {
    let mut code = Code::default();
    let entry = code.label();
    code.call_local(entry);
    code.add(0, Operand::Imm(7));
    code.exit();
    code.bind(entry);
    code.mov(6, Operand::Reg(1));
    code.raw(op::LD | op::ABS | op::W, 0, 0, 0, 62);
    code.alu(op::ALU64, op::AND, 0, Operand::Imm(0xff), 0);
    code.exit();
    Line {
        prog_type,
        packets: [64, 61, 100].map(super::packet).to_vec(),
        ..Line::new(format!("{prog_type}: ld_abs in a function"), code.finish())
    }
}
