//! Walking a map.

use super::Map;
use crate::error::Result;
use bpf_core::uapi::MapType;

/// Keys of a map; see [`Map::keys`].
#[derive(Debug)]
pub struct Keys<'a> {
    map: &'a Map,
    last: Option<Vec<u8>>,
    /// Most keys still to give: a map that never ends is cut off.
    left: u64,
}

impl<'a> Keys<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self {
            map,
            last: None,
            left: u64::from(map.max_entries()) * 2 + 16,
        }
    }

    /// Arrays need not be asked for their keys.
    fn next_index(&mut self) -> Option<Vec<u8>> {
        let next = match &self.last {
            None => 0,
            Some(key) => u32::from_ne_bytes(key.as_slice().try_into().ok()?) + 1,
        };
        (next < self.map.max_entries()).then(|| next.to_ne_bytes().to_vec())
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let next = if is_indexed(self.map.map_type()) {
            Ok(self.next_index())
        } else {
            self.map.next_key(self.last.as_deref())
        };
        match next {
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

/// Whether the keys are the numbers below `max_entries`.
fn is_indexed(map_type: MapType) -> bool {
    use MapType::*;
    matches!(
        map_type,
        Array | PercpuArray | ProgArray | ArrayOfMaps | Devmap | Cpumap | Xskmap | PerfEventArray
    )
}

/// Keys and values of a map; see [`Map::iter`].
#[derive(Debug)]
pub struct Iter<'a>(Keys<'a>);

impl<'a> Iter<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self(Keys::new(map))
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = match self.0.next()? {
                Ok(key) => key,
                Err(e) => return Some(Err(e)),
            };
            match self.0.map.get(&key) {
                Ok(Some(value)) => return Some(Ok((key, value))),
                Ok(None) => {} // gone meanwhile, or an empty slot
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
