//! CO-RE relocations, for a target that has few types of its own.
//!
//! The compiler asks what the kernel's types are like. The types that programs
//! share with a VM (contexts, headers of packets) are Linux's uapi and don't
//! move, so offsets, sizes and numbers stay as the compiler computed them. What
//! does change is whether something *exists*: a type that a VM does not have does
//! not.

use super::btf::{Btf, Reader, Type};
use super::elf::Elf;
use crate::error::{Error, Result};
use bpf_core::helper;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{MapType, ProgType};
use std::collections::BTreeMap;

/// `enum bpf_core_relo_kind`: the questions about existence.
mod kind {
    pub const FIELD_EXISTS: u32 = 2;
    pub const TYPE_EXISTS: u32 = 8;
    pub const ENUMVAL_EXISTS: u32 = 10;
    pub const TYPE_MATCHES: u32 = 12;
}

/// Structures that programs in a VM share with it or with the wire.
const STRUCTURES: &[&str] = &[
    "__sk_buff",
    "xdp_md",
    "bpf_spin_lock",
    "ethhdr",
    "vlan_hdr",
    "vlan_ethhdr",
    "arphdr",
    "iphdr",
    "ipv6hdr",
    "ipv6_opt_hdr",
    "ip_auth_hdr",
    "frag_hdr",
    "in_addr",
    "in6_addr",
    "tcphdr",
    "udphdr",
    "icmphdr",
    "icmp6hdr",
    "sctphdr",
    "gre_base_hdr",
    "mpls_label",
];

/// Answers by section and offset of the instruction that asks.
pub(super) type Answers = BTreeMap<(usize, u64), u32>;

/// Answers the questions of an object.
pub(super) fn answers(elf: &Elf<'_>, btf: &Btf) -> Result<Answers> {
    match elf.section(".BTF.ext") {
        Some(ext) => read(elf, btf, ext.data)
            .ok_or_else(|| Error::object("the object's .BTF.ext is damaged")),
        None => Ok(Answers::new()),
    }
}

fn read(elf: &Elf<'_>, btf: &Btf, data: &[u8]) -> Option<Answers> {
    let mut header = Reader { data, at: 0 };
    if header.u32()? & 0xffff != 0xeb9f {
        return None;
    }
    let header_len = header.u32()? as usize;
    let mut out = Answers::new();
    if header_len < 32 {
        return Some(out); // before there was CO-RE
    }
    header.at = 24;
    let (off, len) = (header.u32()? as usize, header.u32()? as usize);
    let start = header_len.checked_add(off)?;
    let records = data.get(start..start.checked_add(len)?)?;
    if records.is_empty() {
        return Some(out);
    }
    let mut r = Reader {
        data: records,
        at: 0,
    };
    let record_size = r.u32()? as usize;
    if record_size < 16 {
        return None;
    }
    while r.at < records.len() {
        let section = btf.string(r.u32()?)?;
        let section = elf.sections.iter().position(|s| s.name == section);
        for _ in 0..r.u32()? {
            let at = r.at;
            let question = (r.u32()?, r.u32()?, btf.string(r.u32()?)?, r.u32()?);
            r.at = at.checked_add(record_size)?;
            let (insn, of, access, kind) = question;
            if let (Some(section), Some(answer)) = (section, answer(btf, kind, of, &access)) {
                out.insert((section, insn.into()), answer.into());
            }
        }
    }
    Some(out)
}

/// `None` where the compiler's own value stays.
fn answer(btf: &Btf, kind: u32, of: u32, access: &str) -> Option<bool> {
    match kind {
        kind::FIELD_EXISTS | kind::TYPE_EXISTS | kind::TYPE_MATCHES => {
            Some(match btf.resolve(of) {
                Some(Type::Struct { name, .. }) => STRUCTURES.contains(&essential(name)),
                Some(Type::Enum { name, .. }) => shared_enum(essential(name)),
                _ => false,
            })
        }
        kind::ENUMVAL_EXISTS => Some(enum_value_exists(btf, of, access).unwrap_or(false)),
        _ => None,
    }
}

/// A name without its flavour: `task_struct___v5` is `task_struct`.
fn essential(name: &str) -> &str {
    name.split("___").next().unwrap_or(name)
}

fn shared_enum(name: &str) -> bool {
    matches!(
        name,
        "bpf_func_id" | "bpf_map_type" | "bpf_prog_type" | "xdp_action"
    )
}

fn enum_value_exists(btf: &Btf, of: u32, access: &str) -> Option<bool> {
    let Type::Enum { name, values, .. } = btf.resolve(of)? else {
        return None;
    };
    let index: usize = access.parse().ok()?;
    let number = u32::try_from(values.get(index)?.1).ok()?;
    Some(match essential(name) {
        "bpf_func_id" => helper::proto(number, ProgType::Flat).is_some(),
        "bpf_map_type" => MapType::from_u32(number).is_some(),
        "bpf_prog_type" => ProgType::from_u32(number).is_some(),
        other => shared_enum(other),
    })
}

/// Puts an answer into the instruction that asks.
pub(super) fn put(insns: &mut [Insn], answer: u32) {
    if let Some(first) = insns.first_mut() {
        let wide = first.is_wide();
        let mov = [op::ALU | op::MOV, op::ALU64 | op::MOV].contains(&first.opcode);
        if wide || mov {
            first.imm = answer as i32;
        }
        if let (true, Some(second)) = (wide, insns.get_mut(1)) {
            second.imm = 0;
        }
    }
}
