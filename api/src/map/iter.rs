//! Walking a map.

use super::Map;
use crate::error::{CallerError, Error, Result};
use bpf_core::uapi::{MapType, errno};
use std::collections::VecDeque;

/// Keys of a map; see [`Map::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    map: &'a Map,
    last: Option<Vec<u8>>,
    /// Most keys still to give: a map that never ends is cut off.
    left: u64,
}

/// More steps than a walk over a map takes, even if the map changes meanwhile.
fn most(map: &Map) -> u64 {
    u64::from(map.max_entries()) * 2 + 16
}

impl<'a> Keys<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self {
            map,
            last: None,
            left: most(map),
        }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.map.next_key(self.last.as_deref()) {
            Ok(Some(key)) => {
                self.last = Some(key.clone());
                Some(Ok(key))
            }
            Ok(None) => {
                self.left = 0;
                None
            }
            Err(e) => {
                self.left = 0;
                Some(Err(e))
            }
        }
    }
}

/// A key with its value.
type Element = (Vec<u8>, Vec<u8>);

/// Keys and values of a map; see [`Map::iter`]. Hash tables and arrays are read
/// from shared memory some hundred elements at a time, others key by key.
#[derive(Debug)]
pub struct Iter<'a> {
    map: &'a Map,
    how: How<'a>,
    /// As in [`Keys`].
    left: u64,
}

#[derive(Debug)]
enum How<'a> {
    Batch {
        ready: VecDeque<Element>,
        next: Option<u64>,
        /// Elements that one batch has room for.
        room: usize,
    },
    ByKey(Keys<'a>),
}

/// Elements in the first batch; a bucket that needs more doubles it, up to what
/// the map holds at most.
const ROOM: usize = 256;

impl<'a> Iter<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        use MapType::*;
        let batches = matches!(
            map.map_type(),
            Hash | LruHash | PercpuHash | LruPercpuHash | Array | PercpuArray
        );
        let how = if batches {
            How::Batch {
                ready: VecDeque::new(),
                next: Some(0),
                room: ROOM,
            }
        } else {
            How::ByKey(Keys::new(map))
        };
        let left = most(map);
        Self { map, how, left }
    }
}

/// What the next batch was.
enum Step {
    Elements(VecDeque<Element>, Option<u64>),
    MoreRoom,
    ByKey,
}

fn step(map: &Map, position: u64, room: usize) -> Result<Step> {
    let (key, value) = (map.key_size(), map.value_len());
    let mut keys = vec![0; key * room];
    let mut values = vec![0; value * room];
    map.core().readable()?;
    let reader = map.core().info.reader.as_ref();
    let Some(answer) = reader.and_then(|r| r.batch(position, &mut keys, &mut values)) else {
        return Ok(Step::ByKey);
    };
    match answer {
        Ok((count, next)) => {
            let pairs = keys
                .chunks(key)
                .zip(values.chunks(value))
                .take(count as usize);
            let elements = pairs.map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            // No progress is no end either: do not trust it to come.
            let next = next.filter(|&n| n > position);
            Ok(Step::Elements(elements, next))
        }
        Err(e) if e.errno == errno::ENOENT => Ok(Step::Elements(VecDeque::new(), None)),
        Err(e) if e.errno == errno::ENOSPC && room < map.max_entries() as usize => {
            Ok(Step::MoreRoom)
        }
        Err(e) => Err(Error::from(CallerError::Refused {
            op: "batch lookup",
            errno: e.errno,
        })),
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<Element>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        loop {
            match &mut self.how {
                How::ByKey(keys) => match keys.next()? {
                    Err(e) => return Some(Err(e)),
                    Ok(key) => match self.map.get(&key) {
                        Ok(Some(value)) => return Some(Ok((key, value))),
                        Ok(None) => {} // gone meanwhile, or an empty slot
                        Err(e) => return Some(Err(e)),
                    },
                },
                How::Batch { ready, next, room } => {
                    if let Some(element) = ready.pop_front() {
                        return Some(Ok(element));
                    }
                    let position = (*next)?;
                    match step(self.map, position, *room) {
                        Ok(Step::Elements(elements, after)) => {
                            (*ready, *next) = (elements, after);
                        }
                        Ok(Step::MoreRoom) => *room *= 2,
                        Ok(Step::ByKey) if position == 0 => {
                            self.how = How::ByKey(Keys::new(self.map));
                        }
                        Ok(Step::ByKey) => {
                            *next = None;
                            return Some(Err(busy()));
                        }
                        Err(e) => {
                            *next = None;
                            return Some(Err(e));
                        }
                    }
                }
            }
        }
    }
}

fn busy() -> Error {
    CallerError::Refused {
        op: "batch lookup",
        errno: errno::EBUSY,
    }
    .into()
}
