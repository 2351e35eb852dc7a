//! What each helper takes and gives.
use super::{Arg, Proto, Ret, TAIL_CALL};
use crate::uapi::ProgType;

/// The prototype of a helper as programs of a type see it; `None` for those that
/// bpfvisor does not know.
pub fn proto(id: u32, of: ProgType) -> Option<Proto> {
    let (args, ret) = by_type(id, of)
        .or_else(|| maps_and_text(id))
        .or_else(|| packets(id))
        .or_else(|| sockets(id))
        .or_else(|| kernel(id))?;
    Some(Proto {
        args,
        ret,
        changes_packet: changes_packet(id),
        packet_args: packet_args(id),
    })
}

type Shape = (&'static [Arg], Ret);

/// Helpers whose arguments differ between program types.
fn by_type(id: u32, of: ProgType) -> Option<Shape> {
    use Arg::*;
    use ProgType::*;
    let by_packet = matches!(
        of,
        SchedCls | SchedAct | LwtIn | LwtOut | LwtXmit | LwtSeg6local
    );
    Some(match id {
        17 if by_packet => (&[Ctx], Ret::Int),
        46 if matches!(of, SkReuseport | Syscall) => (&[BtfSockOrNull], Ret::Int),
        124 if of == SkLookup => (&[Ctx, SocketOrNull, Anything], Ret::Int),
        _ => return None,
    })
}

fn maps_and_text(id: u32) -> Option<Shape> {
    use Arg::*;
    use Ret::Int;
    Some(match id {
        1 => (&[MapPtr, MapKey], Ret::MapValueOrNull),
        2 => (&[MapPtr, MapKey, MapValue, Anything], Int),
        3 => (&[MapPtr, MapKey], Int),
        5 | 7 | 8 | 42 | 118 | 125 | 160 | 208 => (&[], Int),
        6 => (&[Mem, Size], Int),
        TAIL_CALL => (&[Ctx, MapPtr, Anything], Ret::Void),
        22 => (&[MapPtr, Anything], Int),
        25 => (&[Ctx, MapPtr, Anything, Mem, SizeOrZero], Int),
        55 => (&[MapPtr, Anything, UninitMem, Size], Int),
        81 => (&[MapPtr, Anything], Ret::MapValue),
        87 => (&[MapPtr, MapValue, Anything], Int),
        88 | 89 => (&[MapPtr, UninitMapValue], Int),
        93 | 94 => (&[SpinLock], Ret::Void),
        105 | 106 => (&[Mem, Size, Anything, Long], Int),
        130 => (&[MapPtr, Mem, SizeOrZero, Anything], Int),
        131 => (&[MapPtr, AllocSize, Anything], Ret::AllocMemOrNull),
        132 | 133 => (&[AllocMem, Anything], Ret::Void),
        134 => (&[MapPtr, Anything], Int),
        164 | 209 => (&[MapPtr, Func, StackOrNull, Anything], Int),
        165 => (
            &[UninitMemOrNull, SizeOrZero, ConstStr, MemOrNull, SizeOrZero],
            Int,
        ),
        169 => (&[Timer, MapPtr, Anything], Int),
        170 => (&[Timer, Func], Int),
        171 => (&[Timer, Anything, Anything], Int),
        172 => (&[Timer], Int),
        177 => (&[Mem, Size, MemOrNull, SizeOrZero], Int),
        181 => (&[Anything, Func, StackOrNull, Anything], Int),
        182 => (&[Mem, Size, ConstStr], Int),
        194 => (&[Kptr, Anything], Int),
        195 => (&[MapPtr, MapKey, Anything], Ret::MapValueOrNull),
        _ => return None,
    })
}

fn packets(id: u32) -> Option<Shape> {
    use Arg::*;
    use Ret::Int;
    Some(match id {
        9 => (&[Ctx, Anything, Mem, Size, Anything], Int),
        10 | 11 => (&[Ctx, Anything, Anything, Anything, Anything], Int),
        13 | 18 | 31 | 38 | 43 | 75 | 144 | 192 => (&[Ctx, Anything, Anything], Int),
        19 | 24 | 34 | 41 | 79 | 97 | 151 | 188 => (&[Ctx], Int),
        20 => (&[Ctx, UninitMem, Size, Anything], Int),
        21 | 143 => (&[Ctx, Mem, Size, Anything], Int),
        23 | 155 => (&[Anything, Anything], Int),
        26 | 189 => (&[Ctx, Anything, UninitMem, Size], Int),
        28 => (
            &[MemOrNull, SizeOrZero, MemOrNull, SizeOrZero, Anything],
            Int,
        ),
        29 => (&[Ctx, UninitMem, Size], Int),
        30 => (&[Ctx, Mem, Size], Int),
        32 | 39 | 40 | 44 | 48 | 54 | 59 | 61 | 62 | 65 | 83 | 135 => (&[Ctx, Anything], Int),
        33 => (&[Ctx, MapPtr, Anything], Int),
        50 | 63 | 90 | 91 => (&[Ctx, Anything, Anything, Anything], Int),
        51 => (&[MapPtr, Anything, Anything], Int),
        66 | 68 => (&[Ctx, Anything, UninitMem, Size, Anything], Int),
        69 => (&[Ctx, InOutMem, Size, Anything], Int),
        73 | 74 | 76 | 190 => (&[Ctx, Anything, Mem, Size], Int),
        142 => (&[Ctx, InOutMem, Size, Anything], Int),
        152 => (&[Anything, MemOrNull, SizeOrZero, Anything], Int),
        163 => (&[Ctx, Anything, Word, Anything, Anything], Int),
        _ => return None,
    })
}

fn sockets(id: u32) -> Option<Shape> {
    use Arg::*;
    use Ret::Int;
    Some(match id {
        46 | 47 => (&[Ctx], Int),
        49 => (&[Ctx, Anything, Anything, Mem, Size], Int),
        52 | 60 => (&[Ctx, MapPtr, Anything, Anything], Int),
        53 | 70 | 71 | 72 | 82 => (&[Ctx, MapPtr, MapKey, Anything], Int),
        57 => (&[Ctx, Anything, Anything, UninitMem, Size], Int),
        64 => (&[Ctx, Mem, Size], Int),
        84 | 85 => (
            &[Ctx, Mem, SizeOrZero, Anything, Anything],
            Ret::SocketOrNull,
        ),
        86 => (&[HeldSock], Int),
        95 | 98 => (&[Sock], Ret::SocketOrNull),
        96 => (&[Sock], Ret::TcpSockOrNull),
        99 => (
            &[Ctx, Mem, SizeOrZero, Anything, Anything],
            Ret::SockCommonOrNull,
        ),
        100 | 110 => (&[BtfSock, Mem, Size, Mem, Size], Int),
        107 => (
            &[MapPtr, BtfSock, MapValueOrNull, Anything],
            Ret::MapValueOrNull,
        ),
        108 => (&[MapPtr, BtfSock], Int),
        122 => (&[CtxOrNull], Int),
        124 => (&[Ctx, BtfSock, Anything], Int),
        128 => (&[BtfSock], Int),
        129 => (&[BtfSock, Anything], Int),
        136..=140 | 178 | 196 => (&[BtfSock], Ret::BtfSockOrNull),
        204 => (&[Bytes(20), Mem, SizeOrZero], Int),
        205 => (&[Bytes(40), Mem, SizeOrZero], Int),
        206 => (&[Bytes(20), Bytes(20)], Int),
        207 => (&[Bytes(40), Bytes(20)], Int),
        _ => return None,
    })
}

/// Tasks, tracing, control groups, and memory of the kernel's.
fn kernel(id: u32) -> Option<Shape> {
    use Arg::*;
    use Ret::Int;
    Some(match id {
        4 | 45 | 112..=115 => (&[UninitMem, SizeOrZero, Anything], Int),
        14 | 15 | 17 | 35 | 80 | 186 => (&[], Int),
        16 => (&[UninitMem, Size], Int),
        27 => (&[Ctx, MapPtr, Anything], Int),
        37 => (&[MapPtr, Anything], Int),
        56 | 102 | 103 => (&[Ctx, UninitMem, Size], Int),
        67 => (&[Ctx, UninitMem, SizeOrZero, Anything], Int),
        101 => (&[Ctx, InOutMem, Size, Anything], Int),
        104 => (&[Ctx, Mem, Size], Int),
        109 | 117 | 123 | 187 => (&[Anything], Int),
        119 => (&[Ctx, MemOrNull, SizeOrZero, Anything], Int),
        120 => (&[Anything, Anything, UninitMem, Size], Int),
        141 => (&[Task, UninitMem, SizeOrZero, Anything], Int),
        148 => (&[UninitMem, SizeOrZero, Anything], Int),
        149 => (&[InOutMem, Size, Mem, Size, Anything], Int),
        153 => (&[PercpuVariable, Anything], Int),
        154 => (&[PercpuVariable], Int),
        156 => (
            &[MapPtr, Task, MapValueOrNull, Anything],
            Ret::MapValueOrNull,
        ),
        157 => (&[MapPtr, Task], Int),
        158 => (&[], Ret::Task),
        173 | 174 => (&[Ctx], Int),
        175 => (&[Task], Int),
        176 => (&[UninitMem, SizeOrZero], Int),
        180 => (&[Task, Anything, Func, StackOrNull, Anything], Int),
        191 => (&[UninitMem, SizeOrZero, Anything, Task, Anything], Int),
        210 => (
            &[MapPtr, Cgroup, MapValueOrNull, Anything],
            Ret::MapValueOrNull,
        ),
        211 => (&[MapPtr, Cgroup], Int),
        _ => return None,
    })
}

fn changes_packet(id: u32) -> bool {
    matches!(
        id,
        9 | 10 | 11 | 13 | 18 | 19 | 31 | 38 | 39 | 43 | 44 | 50 | 54 | 63 | 65 | 73
            ..=76 | 90 | 91 | 97 | 143
    )
}

fn packet_args(id: u32) -> bool {
    matches!(
        id,
        1 | 2 | 3 | 28 | 84 | 85 | 87 | 99 | 100 | 110 | 142 | 143 | 195 | 204..=207
    )
}
