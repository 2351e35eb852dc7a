//! Maps with Rust's types for keys and values.

use super::Map;
use crate::error::{Error, Result};
use std::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A map whose keys and values are plain data.
///
/// ```no_run
/// # fn main() -> bpfvisor::Result<()> {
/// # let vm = bpfvisor::Vm::builder().boot()?;
/// let hits = vm.create_map(bpfvisor::MapSpec::hash("hits", 4, 8, 1024))?;
/// let hits = hits.typed::<u32, u64>()?;
/// hits.insert(&7, &1)?;
/// assert_eq!(hits.get(&7)?, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedMap<K, V> {
    map: Map,
    types: PhantomData<fn(K, V)>,
}

impl Map {
    /// The map with typed keys and values. (Values of per-CPU maps are arrays
    /// with one element per vCPU, each rounded up to 8 bytes.)
    ///
    /// # Errors
    /// EINVAL where the types' sizes are not those of keys and values.
    pub fn typed<K, V>(&self) -> Result<TypedMap<K, V>> {
        if (size_of::<K>(), size_of::<V>()) != (self.key_size(), self.value_len()) {
            return Err(Error::argument(format!(
                "types of {} and {} bytes for a map with {} and {}",
                size_of::<K>(),
                size_of::<V>(),
                self.key_size(),
                self.value_len()
            )));
        }
        Ok(TypedMap {
            map: self.clone(),
            types: PhantomData,
        })
    }
}

impl<K, V> TypedMap<K, V>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    /// The map.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// [`Map::get`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let mut value = V::new_zeroed();
        let there = self.map.get_into(key.as_bytes(), value.as_mut_bytes())?;
        Ok(there.then_some(value))
    }

    /// [`Map::insert`].
    ///
    /// # Errors
    /// As there.
    pub fn insert(&self, key: &K, value: &V) -> Result<()> {
        self.map.insert(key.as_bytes(), value.as_bytes())
    }

    /// [`Map::update`].
    ///
    /// # Errors
    /// As there.
    pub fn update(&self, key: &K, value: &V, flags: u64) -> Result<()> {
        self.map.update(key.as_bytes(), value.as_bytes(), flags)
    }

    /// [`Map::remove`].
    ///
    /// # Errors
    /// As there.
    pub fn remove(&self, key: &K) -> Result<()> {
        self.map.remove(key.as_bytes())
    }

    /// [`Map::iter`].
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.map.iter().map(|element| {
            let (key, value) = element?;
            let wrong = || Error::argument("an element of another size");
            let key = K::read_from_bytes(&key).map_err(|_| wrong())?;
            let value = V::read_from_bytes(&value).map_err(|_| wrong())?;
            Ok((key, value))
        })
    }
}
