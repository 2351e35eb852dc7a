//! Programs of the greatest lengths, of one kind of instruction each.

use super::Line;
use crate::generate::{Code, Operand};
use bpf_core::insn::op;

/// Classic filters had this many; privileged programs a million.
const LENGTHS: [usize; 3] = [4096, 30_000, 200_000];
const GET_SMP_PROCESSOR_ID: i32 = 8;
const KTIME_GET_NS: i32 = 5;
const VLAN_PUSH: i32 = 18;
const VLAN_POP: i32 = 19;

pub fn lines() -> Vec<Line> {
    let mut out = Vec::new();
    for len in LENGTHS {
        out.push(literals(len));
        out.push(sums(len));
        out.push(context(len));
        out.push(branches(len.min(100_000)));
        out.push(spills(len));
    }
    for len in [4096, 8000] {
        out.push(packet_loads(len));
        out.push(helpers(len));
    }
    out.push(header_lengths(4000));
    out.push(jumps_everywhere(8000));
    out.push(vlan(60));
    out
}

/// Opens with what makes R6 the context and R7 zero.
fn open() -> Code {
    let mut code = Code::default();
    code.mov(6, Operand::Reg(1));
    code.mov(7, Operand::Imm(0));
    code
}

fn close(mut code: Code, name: String) -> Line {
    code.alu(op::ALU64, op::MOV, 0, Operand::Reg(7), 0);
    code.exit();
    Line::new(name, code.finish())
}

fn literals(len: usize) -> Line {
    let mut code = open();
    for at in 0..len as u64 / 2 {
        code.number(7, at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    close(code, format!("{len} literals"))
}

fn sums(len: usize) -> Line {
    let mut code = open();
    for at in 0..len {
        let class = if at % 3 == 0 { op::ALU } else { op::ALU64 };
        code.alu(class, op::ADD, 7, Operand::Imm(at as i32), 0);
    }
    close(code, format!("{len} sums"))
}

/// Fields of the context, which the kernel rewrites one by one.
fn context(len: usize) -> Line {
    let mut code = open();
    for at in 0..len / 2 {
        let field = [0, 4, 8, 16, 20, 24][at % 6];
        code.load(op::MEM, op::W, 0, 6, field);
        code.alu(op::ALU64, op::XOR, 7, Operand::Reg(0), 0);
    }
    close(code, format!("{len} fields of the context"))
}

/// Every other instruction is a jump over the next.
fn branches(len: usize) -> Line {
    let mut code = open();
    code.load(op::MEM, op::W, 8, 6, 0);
    for at in 0..len / 2 {
        let next = code.label();
        let cond = [op::JEQ, op::JNE, op::JGT, op::JSLE][at % 4];
        code.jump_if(op::JMP, cond, 8, Operand::Imm(64), next);
        code.alu(op::ALU64, op::XOR, 7, Operand::Reg(8), 0);
        code.bind(next);
    }
    close(code, format!("{len} branches"))
}

fn spills(len: usize) -> Line {
    let mut code = open();
    for at in 0..len / 2 {
        let slot = -8 * (1 + (at / 2 % 60) as i16);
        match at % 2 {
            0 => code.store(op::DW, 10, slot, Operand::Reg(7)),
            _ => {
                code.load(op::MEM, op::DW, 7, 10, slot);
                code.add(7, Operand::Imm(at as i32));
            }
        }
    }
    close(code, format!("{len} spills"))
}

fn packet_loads(len: usize) -> Line {
    let mut code = open();
    for at in 0..len / 2 {
        let size = [op::B, op::H, op::W][at % 3];
        code.raw(op::LD | op::ABS | size, 0, 0, 0, (at % 40) as i32);
        code.add(7, Operand::Reg(0));
    }
    close(code, format!("{len} packet loads"))
}

fn helpers(len: usize) -> Line {
    let mut code = open();
    for at in 0..len / 2 {
        code.call([GET_SMP_PROCESSOR_ID, KTIME_GET_NS][at % 2]);
        code.add(7, Operand::Imm(3));
    }
    close(code, format!("{len} helper calls"))
}

/// What classic filters had one instruction for.
fn header_lengths(len: usize) -> Line {
    let mut code = open();
    for at in 0..len / 4 {
        code.raw(op::LD | op::ABS | op::B, 0, 0, 0, (at % 64 % 50) as i32);
        code.alu(op::ALU, op::AND, 0, Operand::Imm(15), 0);
        code.alu(op::ALU, op::LSH, 0, Operand::Imm(2), 0);
        code.alu(op::ALU64, op::ADD, 7, Operand::Reg(0), 0);
    }
    close(code, format!("{len} header lengths"))
}

/// A gap behind each jump that is itself jumped through.
fn jumps_everywhere(len: usize) -> Line {
    let mut code = open();
    let mut landing = code.label();
    code.jump(false, landing);
    for at in 0..len / 4 {
        let next = code.label();
        code.bind(landing);
        code.add(7, Operand::Imm(at as i32));
        code.jump_if(op::JMP, op::JSGE, 7, Operand::Imm(0), next);
        code.add(7, Operand::Imm(77));
        code.jump(at % 2 == 0, next);
        landing = next;
    }
    code.bind(landing);
    close(code, format!("{len} jumps"))
}

/// Packet loads between helpers that move the packet.
fn vlan(rounds: usize) -> Line {
    let mut code = open();
    let load = |code: &mut Code| {
        for at in [0, 12, 20] {
            code.raw(op::LD | op::ABS | op::H, 0, 0, 0, at);
            code.add(7, Operand::Reg(0));
        }
    };
    for step in 0..rounds {
        load(&mut code);
        code.mov(1, Operand::Reg(6));
        if step % 2 == 0 {
            code.mov(2, Operand::Imm(0xa888));
            code.mov(3, Operand::Imm(5));
            code.call(VLAN_PUSH);
        } else {
            code.call(VLAN_POP);
        }
    }
    load(&mut code);
    Line {
        prog_type: "sched_cls",
        ..close(code, format!("packet loads and {rounds} vlan helpers"))
    }
}
