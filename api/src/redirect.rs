//! Where redirected packets are to go.

use crate::registry::{Known, Registry};
use bpfvisor_abi::op::redirect as bits;

/// What a program chose for a packet whose verdict is `XDP_REDIRECT` or
/// `TC_ACT_REDIRECT`. Carrying it out is the host's part: a VM has no interfaces.
///
/// Maps are named by id ([`Map::id`](crate::Map::id)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "struct bpf_redirect_info")]
#[non_exhaustive]
pub enum Redirect {
    /// An interface, by its number: `bpf_redirect`.
    Interface {
        /// Its number.
        index: u32,
        /// To its receiving side (`BPF_F_INGRESS`).
        ingress: bool,
    },
    /// The other end of an interface pair: `bpf_redirect_peer`.
    Peer {
        /// Number of the end in this namespace.
        index: u32,
    },
    /// An interface, link-layer addresses to be filled in: `bpf_redirect_neigh`.
    Neighbour {
        /// Its number.
        index: u32,
    },
    /// An entry of a map: `bpf_redirect_map`.
    Entry {
        /// The map's id.
        map: u32,
        /// The entry's key.
        key: u32,
    },
    /// Every entry of a device map: `bpf_redirect_map` with `BPF_F_BROADCAST`.
    Broadcast {
        /// The map's id.
        map: u32,
        /// But for the interface the packet came from (`BPF_F_EXCLUDE_INGRESS`).
        exclude_ingress: bool,
    },
}

const INGRESS: u16 = 1;
const BROADCAST: u16 = 8;
const EXCLUDE_INGRESS: u16 = 16;

impl Redirect {
    /// From what the guest says; `None` where it names no target, or a map that
    /// is not there.
    pub(crate) fn new(registry: &Registry, target: u32, via: u32, how: u16) -> Option<Self> {
        if how & bits::CHOSEN == 0 {
            return None;
        }
        if via == 0 {
            return Some(match how {
                h if h & bits::PEER != 0 => Self::Peer { index: target },
                h if h & bits::NEIGHBOUR != 0 => Self::Neighbour { index: target },
                h => Self::Interface {
                    index: target,
                    ingress: h & INGRESS != 0,
                },
            });
        }
        let Some(Known::Map(info)) = registry.get(via) else {
            return None;
        };
        Some(match how & BROADCAST {
            0 => Self::Entry {
                map: info.id,
                key: target,
            },
            _ => Self::Broadcast {
                map: info.id,
                exclude_ingress: how & EXCLUDE_INGRESS != 0,
            },
        })
    }
}

impl std::fmt::Display for Redirect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Interface { index, ingress } => {
                let side = if *ingress { " (ingress)" } else { "" };
                write!(f, "interface {index}{side}")
            }
            Self::Peer { index } => write!(f, "peer of interface {index}"),
            Self::Neighbour { index } => write!(f, "neighbour on interface {index}"),
            Self::Entry { map, key } => write!(f, "map {map}, key {key}"),
            Self::Broadcast {
                map,
                exclude_ingress,
            } => {
                let but = if *exclude_ingress { " but ingress" } else { "" };
                write!(f, "map {map}, all{but}")
            }
        }
    }
}
