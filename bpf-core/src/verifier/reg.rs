//! What the verifier knows of one register (or one spilled register).
use super::domain::{Scalar, Width};
use super::precision::NodeId;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing that may be read.
    NotInit,
    /// A number.
    Scalar,
    /// The program's context.
    Ctx,
    /// A map (`CONST_PTR_TO_MAP`).
    MapPtr,
    /// A value in a map.
    MapValue,
    /// A key, as callbacks get it.
    MapKey,
    /// A frame's stack.
    Stack,
    /// The packet's metadata.
    PacketMeta,
    /// The packet.
    Packet,
    /// The end of the packet.
    PacketEnd,
    /// Memory of a known size.
    Mem,
    /// A function of the program.
    Func,
    /// A full socket of the kernel.
    Socket,
    /// A socket of which only the common fields are there.
    SockCommon,
    /// A TCP socket.
    TcpSock,
    /// An AF_XDP socket.
    XdpSock,
    /// What a flow dissector fills in.
    FlowKeys,
    /// What a writable tracepoint shows.
    TpBuffer,
    /// A structure of the kernel's of which nothing is known here.
    Opaque,
}

/// What an [`Kind::Opaque`] pointer points to, in `extra`.
pub(crate) mod opaque {
    pub const SOCK: i32 = 0;
    pub const TASK: i32 = 1;
    pub const MAP_OPS: i32 = 2;
    pub const OTHER: i32 = 3;
}

/// `range` of a packet pointer known to lie at the packet's end or beyond it.
pub(crate) const AT_PKT_END: i32 = -1;
/// `range` of a packet pointer known to lie beyond the packet's end.
pub(crate) const BEYOND_PKT_END: i32 = -2;
/// Offsets from a pointer stay below this, in both directions (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_VAR_OFF: i64 = 1 << 29;
/// Packet offsets that ranges are learnt for (`MAX_PACKET_OFF`).
pub(crate) const MAX_PACKET_OFF: u64 = 0xffff;

/// One register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg {
    pub kind: Kind,
    /// The pointer may be null instead.
    pub or_null: bool,
    /// Writing through the pointer is not allowed.
    pub rdonly: bool,
    /// The memory was allocated and must be given back as it is (ring buffer).
    pub alloc: bool,
    /// The scalar is the others of its `id` plus `off`, in arithmetic of this width.
    pub linked: Option<Width>,
    /// Fixed part of a pointer's offset; difference of a linked scalar.
    pub off: i32,
    /// Ties together registers that hold the same unknown value.
    pub id: u32,
    /// The reference that must be released, 0 for none.
    pub ref_id: u32,
    /// Where the number came from, for precision.
    pub node: NodeId,
    /// Kind of extra knowledge: packet bytes proved (`Packet`), index of the map
    /// (`Map*`), frame (`Stack`), bytes (`Mem`), function (`Func`), structure
    /// ([`opaque`]).
    pub extra: i32,
    /// Tells maps of one template apart (inner maps), 0 for maps named directly.
    pub uid: u32,
    /// The number, or the variable part of a pointer's offset.
    pub num: Scalar,
}

impl Reg {
    /// Nothing.
    pub const NOT_INIT: Self = Self {
        kind: Kind::NotInit,
        or_null: false,
        rdonly: false,
        alloc: false,
        linked: None,
        off: 0,
        id: 0,
        ref_id: 0,
        node: 0,
        extra: 0,
        uid: 0,
        num: Scalar::UNKNOWN,
    };

    /// Any number.
    pub const UNKNOWN: Self = Self {
        kind: Kind::Scalar,
        ..Self::NOT_INIT
    };

    /// A number from this set.
    pub const fn scalar(num: Scalar) -> Self {
        Self {
            num,
            ..Self::UNKNOWN
        }
    }

    /// One number.
    pub const fn constant(v: u64) -> Self {
        Self::scalar(Scalar::constant(v))
    }

    /// A pointer to the beginning of something.
    pub const fn pointer(kind: Kind) -> Self {
        Self {
            kind,
            num: Scalar::constant(0),
            ..Self::NOT_INIT
        }
    }

    /// A pointer with the number that its kind calls for.
    pub const fn pointer_to(kind: Kind, extra: i32) -> Self {
        Self {
            extra,
            ..Self::pointer(kind)
        }
    }

    /// Forgets that the number is a copy of others.
    pub fn unlink(&mut self) {
        (self.id, self.linked, self.off) = (0, None, 0);
    }

    /// True for anything that is neither a number nor nothing.
    pub fn is_pointer(&self) -> bool {
        !matches!(self.kind, Kind::NotInit | Kind::Scalar)
    }

    /// True for numbers.
    pub fn is_scalar(&self) -> bool {
        self.kind == Kind::Scalar
    }

    /// The number, if it is just one.
    pub fn as_const(&self) -> Option<u64> {
        if self.is_scalar() {
            self.num.as_const()
        } else {
            None
        }
    }

    /// Certainly the number 0.
    pub fn is_null(&self) -> bool {
        self.as_const() == Some(0)
    }

    /// Packet, metadata or end.
    pub fn is_any_packet(&self) -> bool {
        matches!(self.kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd)
    }

    /// A pointer into packet or metadata, with a range to learn.
    pub fn is_packet(&self) -> bool {
        matches!(self.kind, Kind::Packet | Kind::PacketMeta)
    }

    /// A socket with a structure of the interface's.
    pub fn is_socket(&self) -> bool {
        matches!(
            self.kind,
            Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock
        )
    }

    /// The name that kernel messages use.
    pub fn type_name(&self) -> &'static str {
        match (self.kind, self.or_null) {
            (Kind::NotInit, _) => "?",
            (Kind::Scalar, _) => "scalar",
            (Kind::Ctx, _) => "ctx",
            (Kind::MapPtr, false) => "map_ptr",
            (Kind::MapPtr, true) => "map_ptr_or_null",
            (Kind::MapValue, false) => "map_value",
            (Kind::MapValue, true) => "map_value_or_null",
            (Kind::MapKey, _) => "map_key",
            (Kind::Stack, _) => "fp",
            (Kind::PacketMeta, _) => "pkt_meta",
            (Kind::Packet, _) => "pkt",
            (Kind::PacketEnd, _) => "pkt_end",
            (Kind::Mem, false) if self.alloc => "ringbuf_mem",
            (Kind::Mem, true) if self.alloc => "ringbuf_mem_or_null",
            (Kind::Mem, false) => "mem",
            (Kind::Mem, true) => "mem_or_null",
            (Kind::Func, _) => "func",
            (Kind::Socket, false) => "sock",
            (Kind::Socket, true) => "sock_or_null",
            (Kind::SockCommon, false) => "sock_common",
            (Kind::SockCommon, true) => "sock_common_or_null",
            (Kind::TcpSock, false) => "tcp_sock",
            (Kind::TcpSock, true) => "tcp_sock_or_null",
            (Kind::XdpSock, false) => "xdp_sock",
            (Kind::XdpSock, true) => "xdp_sock_or_null",
            (Kind::FlowKeys, _) => "flow_keys",
            (Kind::TpBuffer, _) => "tp_buffer",
            (Kind::Opaque, false) => "ptr_",
            (Kind::Opaque, true) => "ptr_or_null_",
        }
    }

    /// Whether the pointer is certainly not null.
    pub fn is_not_null(&self) -> bool {
        !self.or_null
            && matches!(
                self.kind,
                Kind::MapPtr
                    | Kind::MapValue
                    | Kind::MapKey
                    | Kind::Stack
                    | Kind::Packet
                    | Kind::PacketMeta
                    | Kind::PacketEnd
                    | Kind::Ctx
                    | Kind::Mem
                    | Kind::Func
                    | Kind::Socket
                    | Kind::SockCommon
                    | Kind::TcpSock
                    | Kind::XdpSock
                    | Kind::FlowKeys
                    | Kind::TpBuffer
            )
    }

    /// Whether a comparison with 0 counts as decided (`reg_not_null`). Stack,
    /// packet and context are never null either, but Linux does not say so, and
    /// follows the way that is never taken.
    pub fn is_known_not_null(&self) -> bool {
        self.is_not_null()
            && matches!(
                self.kind,
                Kind::MapPtr
                    | Kind::MapValue
                    | Kind::MapKey
                    | Kind::Mem
                    | Kind::Socket
                    | Kind::SockCommon
                    | Kind::TcpSock
            )
    }

    /// Bits that the number needs (`get_reg_width`).
    pub fn bits(&self) -> u32 {
        64 - self.num.umax().leading_zeros()
    }
}
