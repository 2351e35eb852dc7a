//! What a daemon and its clients say to each other.
//!
//! One message is one packet of a `SOCK_SEQPACKET` socket: a request, then its
//! reply. Descriptors travel beside it. Both sides take a message for an
//! allegation: it is decoded into these types, or the connection ends.

use serde::{Deserialize, Serialize};

use crate::error::CallError;
use crate::object::{Access, Kind};

/// Changed with any change of what is in this file.
pub(crate) const VERSION: u32 = 2;
/// How a client shows that it means a daemon of this kind.
pub(crate) const MAGIC: [u8; 8] = *b"bpfvisor";
/// No message is longer.
pub(crate) const LONGEST: usize = 64 << 10;
/// Descriptions in one reply to [`Request::List`].
pub(crate) const PAGE: usize = 32;
/// Bytes of such descriptions after which no more follow.
pub(crate) const PAGE_BYTES: usize = 16 << 10;
/// Longest name of a pin: a path without its final zero.
pub(crate) const PIN_LEN: usize = 4095;

/// From a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first.
    Hello {
        magic: [u8; 8],
        version: u32,
        /// Of the rings and operations: the client speaks to the guest itself.
        protocol: u32,
    },
    /// Some zeroed shared memory, for as long as the connection lasts.
    Lease { len: u64, low: bool },
    /// A map: the bytes of a `MapRecord`; storage is for the daemon to find.
    CreateMap {
        record: Vec<u8>,
        keeps: Vec<u32>,
        empties: bool,
    },
    /// A program, whose `LoadRecord` is at this offset; `note` is kept with it.
    Load {
        record: u64,
        maps: Vec<u32>,
        note: Vec<u8>,
    },
    /// Another descriptor of an object.
    Export { handle: u32, access: Access },
    /// Which object the descriptor beside this is.
    Identify,
    /// What a key of a map of objects is to name from now on.
    Link {
        outer: u32,
        key: Vec<u8>,
        target: Option<u32>,
        flags: u64,
    },
    /// What it names.
    Linked { outer: u32, key: Vec<u8> },
    /// Objects of a kind whose ids are higher than `after`, by id.
    List { kind: Kind, after: u32 },
    /// An object, by its id.
    OpenId { kind: Kind, id: u32 },
    /// An object, by the name that it was pinned under.
    OpenPin { name: String },
    /// Keeps an object under a name.
    Pin { handle: u32, name: String },
    /// No longer.
    Unpin { name: String },
    /// A program keeps a map that it does not name.
    Bind { program: u32, map: u32 },
    /// To be woken by any of these ring buffers.
    Bell { handles: Vec<u32> },
    /// No longer by those of which this is the first.
    Unbell { handle: u32 },
}

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To [`Request::Hello`]. Beside it: the memory, for each vCPU its bell, and
    /// for each vCPU the client's bell.
    Welcome(Welcome),
    /// Done, and nothing to say.
    Done,
    /// A range of shared memory.
    Leased { offset: u64, len: u64 },
    /// An object, its descriptor beside it if it was asked for.
    Object(Box<Description>),
    /// To [`Request::Identify`]: the object, with a descriptor beside it, and what
    /// the one that was asked about is good for.
    Identified(Box<Description>, Access),
    /// There is none.
    Nothing,
    /// Some objects.
    Objects(Vec<Description>),
    /// The guest did not take the program: negative errno; the rest is in the
    /// record.
    Rejected(i32),
    /// It did not work.
    Failed(Failure),
    /// No connection, and why.
    Refused(Refusal),
    /// The VM has come to its end.
    End(String),
}

/// What a client must know of the VM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) pair: u32,
    pub(crate) clients: u32,
    pub(crate) vcpus: u32,
    pub(crate) shared_len: u64,
    pub(crate) heap_len: u64,
    pub(crate) call_timeout_ns: u64,
    pub(crate) client_spins: u32,
    pub(crate) idle_polls: u32,
    pub(crate) verifier_off: bool,
    pub(crate) interpret: bool,
}

/// An object, as it is known outside the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What it is.
    pub kind: Kind,
    /// Its number among its kind.
    pub id: u32,
    /// The guest's name for it.
    pub handle: u32,
    /// Storage of a map: offset and length.
    pub storage: (u64, u64),
    /// What it was made from: the bytes of a map's `MapRecord`, or of a program's
    /// `LoadRecord` as answered and what its creator added.
    pub note: Vec<u8>,
    /// Ids of the maps that it keeps.
    pub maps: Vec<u32>,
    /// When it was made: CLOCK_BOOTTIME, ns.
    pub made_ns: u64,
    /// Names that it is pinned under.
    pub pins: Vec<String>,
}

/// [`CallError`], as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Errno(i32),
    TimedOut,
    NoMemory(u64),
    Invalid(String),
    Os(String, i32),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The policy does not admit this user.
    User(u32),
    /// All ring pairs are taken.
    Busy(u32),
    /// Other versions.
    Version { version: u32, protocol: u32 },
}

impl From<CallError> for Failure {
    fn from(e: CallError) -> Self {
        match e {
            CallError::Errno { errno } => Self::Errno(errno),
            CallError::TimedOut => Self::TimedOut,
            CallError::NoMemory { wanted } => Self::NoMemory(wanted),
            CallError::Os { step, errno } => Self::Os(step.into(), errno),
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl From<Failure> for CallError {
    fn from(f: Failure) -> Self {
        match f {
            Failure::Errno(errno) => Self::Errno { errno },
            Failure::TimedOut => Self::TimedOut,
            Failure::NoMemory(wanted) => Self::NoMemory { wanted },
            Failure::Invalid(text) => Self::Daemon {
                text,
                errno: libc::EINVAL,
            },
            Failure::Os(text, errno) => Self::Daemon { text, errno },
        }
    }
}
