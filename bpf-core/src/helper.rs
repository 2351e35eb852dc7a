//! Prototypes of the helper functions.
//!
//! Which program types offer a helper, and what it asks of its arguments, are
//! facts of Linux 6.18 (`bpf_func_proto` of each helper and the `func_proto`
//! tables of the program types).
use crate::uapi::ProgType;

/// What a helper asks of one argument (the kernel's `ARG_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Any initialised register.
    Anything,
    /// A map.
    MapPtr,
    /// Memory of the map's key size, read.
    MapKey,
    /// Memory of the map's value size, read.
    MapValue,
    /// Memory of the map's value size, written.
    UninitMapValue,
    /// The program's context.
    Ctx,
    /// Memory that is read; its size follows.
    Mem,
    /// As [`Arg::Mem`], or null.
    MemOrNull,
    /// Memory that is written; its size follows.
    UninitMem,
    /// As [`Arg::UninitMem`], or null.
    UninitMemOrNull,
    /// Size of the memory before it, not 0.
    Size,
    /// Size of the memory before it.
    SizeOrZero,
    /// A constant: bytes to allocate.
    AllocSize,
    /// Memory that was allocated, to be given back.
    AllocMem,
    /// A spin lock in a map value.
    SpinLock,
    /// A function of the program.
    Func,
    /// Stack of the program, or null.
    StackOrNull,
    /// Eight aligned bytes that are written.
    Long,
    /// A zero-terminated string in a read-only map.
    ConstStr,
}

/// What a helper returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Int,
    /// Nothing: R0 may not be read.
    Void,
    /// A pointer to a value of the map, or null.
    MapValueOrNull,
    /// Allocated memory that must be given back, or null.
    AllocMemOrNull,
}

/// The prototype of one helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proto {
    /// R1 to R5.
    pub args: &'static [Arg],
    /// R0.
    pub ret: Ret,
    /// Packet pointers are stale after the call.
    pub changes_packet: bool,
    /// Packet memory may be given as an argument.
    pub packet_args: bool,
}

/// The prototype of a helper that bpfvisor has.
pub fn proto(id: u32) -> Option<Proto> {
    use Arg::*;
    use Ret::*;
    let (args, ret): (&'static [Arg], Ret) = match id {
        1 => (&[MapPtr, MapKey], MapValueOrNull),
        2 => (&[MapPtr, MapKey, MapValue, Anything], Int),
        3 => (&[MapPtr, MapKey], Int),
        5 | 7 | 8 | 42 | 118 | 125 | 160 | 208 => (&[], Int),
        6 => (&[Mem, Size], Int),
        9 => (&[Ctx, Anything, Mem, Size, Anything], Int),
        10 | 11 => (&[Ctx, Anything, Anything, Anything, Anything], Int),
        12 => (&[Ctx, MapPtr, Anything], Void),
        18 | 31 | 38 | 43 => (&[Ctx, Anything, Anything], Int),
        19 | 34 | 41 | 188 => (&[Ctx], Int),
        23 | 155 => (&[Anything, Anything], Int),
        25 => (&[Ctx, MapPtr, Anything, Mem, SizeOrZero], Int),
        26 | 189 => (&[Ctx, Anything, UninitMem, Size], Int),
        28 => (
            &[MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything],
            Int,
        ),
        32 | 39 | 40 | 44 | 48 | 54 | 65 | 135 => (&[Ctx, Anything], Int),
        50 => (&[Ctx, Anything, Anything, Anything], Int),
        51 => (&[MapPtr, Anything, Anything], Int),
        68 => (&[Ctx, Anything, UninitMem, Size, Anything], Int),
        87 => (&[MapPtr, MapValue, Anything], Int),
        88 | 89 => (&[MapPtr, UninitMapValue], Int),
        93 | 94 => (&[SpinLock], Void),
        105 | 106 => (&[Mem, Size, Anything, Long], Int),
        130 => (&[MapPtr, Mem, SizeOrZero, Anything], Int),
        131 => (&[MapPtr, AllocSize, Anything], AllocMemOrNull),
        132 | 133 => (&[AllocMem, Anything], Void),
        134 => (&[MapPtr, Anything], Int),
        152 => (&[Anything, MemOrNull, SizeOrZero, Anything], Int),
        164 => (&[MapPtr, Func, StackOrNull, Anything], Int),
        165 => (
            &[UninitMemOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero],
            Int,
        ),
        177 => (&[Mem, Size, MemOrNull, SizeOrZero], Int),
        181 => (&[Anything, Func, StackOrNull, Anything], Int),
        182 => (&[Mem, Size, ConstStr], Int),
        190 => (&[Ctx, Anything, Mem, Size], Int),
        195 => (&[MapPtr, MapKey, Anything], MapValueOrNull),
        _ => return None,
    };
    Some(Proto {
        args,
        ret,
        changes_packet: changes_packet(id),
        packet_args: packet_args(id),
    })
}

fn changes_packet(id: u32) -> bool {
    matches!(
        id,
        9 | 10 | 11 | 18 | 19 | 31 | 38 | 39 | 43 | 44 | 50 | 54 | 65
    )
}

fn packet_args(id: u32) -> bool {
    matches!(id, 1 | 2 | 3 | 28 | 87 | 195)
}

/// Whether only programs under a GPL compatible license may call it.
pub fn gpl_only(id: u32) -> bool {
    matches!(
        id,
        6 | 22
            | 25
            | 35
            | 55
            | 69
            | 100
            | 110
            | 112
            | 113
            | 114
            | 115
            | 158
            | 163
            | 165
            | 169
            | 170
            | 171
            | 172
            | 175
            | 176
            | 177
            | 191
            | 204
            | 205
            | 206
            | 207
    )
}

/// Whether Linux offers the helper to programs of this type.
///
/// [`ProgType::Flat`] is ours: it gets the helpers that need neither packet nor
/// context.
pub fn offered(id: u32, to: ProgType) -> bool {
    match to {
        ProgType::SocketFilter => {
            matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22 | 25..=26 | 35 | 37 | 42 | 46..=47 | 55 | 68 | 80 | 87..=89 | 93..=94 | 105..=106 | 109 | 112..=115 | 117..=118 | 120 | 122..=123 | 125 | 130..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 164..=165 | 169..=172 | 175..=178 | 180..=182 | 191 | 194..=203 | 208..=211)
        }
        ProgType::SchedCls | ProgType::SchedAct => {
            matches!(id, 1..=3 | 5..=26 | 28..=35 | 37..=43 | 46..=48 | 50 | 55 | 66 | 68..=69 | 79..=80 | 83..=89 | 93..=100 | 105..=110 | 112..=115 | 117..=118 | 120 | 122..=125 | 130..=141 | 148..=149 | 151..=158 | 160 | 163..=165 | 169..=172 | 175..=178 | 180..=182 | 191..=192 | 194..=211)
        }
        ProgType::Xdp => {
            matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22..=23 | 25 | 28 | 35 | 37 | 42 | 44 | 51 | 54..=55 | 65 | 69 | 80 | 84..=89 | 93..=94 | 99..=100 | 105..=106 | 109..=110 | 112..=115 | 117..=118 | 120 | 123 | 125 | 130..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 163..=165 | 169..=172 | 175..=178 | 180..=182 | 188..=191 | 194..=211)
        }
        ProgType::CgroupSkb => {
            matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22 | 25..=26 | 35 | 37 | 42 | 46..=47 | 55 | 68 | 79..=81 | 83..=89 | 93..=99 | 105..=109 | 112..=115 | 117..=118 | 120 | 122..=123 | 125 | 128..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 164..=165 | 169..=172 | 175..=178 | 180..=182 | 191 | 194..=203 | 208..=211)
        }
        ProgType::LwtIn => lwt(id) || id == 73,
        ProgType::LwtOut => lwt(id),
        ProgType::LwtXmit => {
            lwt(id) || matches!(id, 9..=11 | 13 | 20..=23 | 29..=30 | 38 | 40..=41 | 43 | 73 | 135)
        }
        ProgType::Flat => flat(id),
        _ => false,
    }
}

/// What all tunnel programs have.
fn lwt(id: u32) -> bool {
    matches!(id, 1..=3 | 5..=8 | 12 | 14..=17 | 22 | 24..=26 | 28 | 33..=35 | 37 | 39 | 42 | 55 | 80 | 87..=89 | 93..=94 | 105..=106 | 109 | 112..=115 | 117..=118 | 120 | 123 | 125 | 130..=134 | 136..=141 | 148..=149 | 153..=154 | 156..=158 | 160 | 164..=165 | 169..=172 | 175..=178 | 180..=182 | 191 | 194..=203 | 208..=211)
}

fn flat(id: u32) -> bool {
    let plain = proto(id).is_some_and(|p| !p.args.contains(&Arg::Ctx));
    plain && offered(id, ProgType::SocketFilter)
}

/// The kernel's name of a helper, `unknown` where there is none.
pub fn name(id: u32) -> &'static str {
    crate::disasm::helper_name(id).unwrap_or("unknown")
}

/// Whether Linux has a helper of this number, for whatever program type.
pub fn exists(id: u32) -> bool {
    (1..=LAST).contains(&id)
}

/// `bpf_cgrp_storage_delete`, the last one.
const LAST: u32 = 211;
