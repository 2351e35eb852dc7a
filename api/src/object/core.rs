//! CO-RE relocations, for a target that has few types of its own.
//!
//! The compiler asks what the kernel's types are like. The types that programs
//! share with a VM (contexts, headers of packets) are Linux's uapi and don't
//! move, so offsets, sizes and numbers stay as the compiler computed them. What
//! does change is whether something *exists*: a type that a VM does not have does
//! not.

use super::btf::{Btf, Type};
use super::ext::{Places, Question};
use bpf_core::helper;
use bpf_core::insn::{Insn, op};
use bpf_core::uapi::{MapType, ProgType};

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
pub(super) type Answers = Places<u32>;

/// Answers the questions of an object.
pub(super) fn answers(questions: &Places<Question>, btf: &Btf) -> Answers {
    let answered = questions.iter().filter_map(|(place, q)| {
        let answer = answer(btf, q.kind, q.of, &q.access)?;
        Some((*place, answer.into()))
    });
    answered.collect()
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
