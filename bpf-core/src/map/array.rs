//! Arrays: shared, per CPU, and of handles.
//!
//! Values are written in place, so a reader can see half of an update, as in
//! Linux. Words of 8 bytes are never torn.

use super::Fields;
use super::device;
use super::error::MapError;
use super::geometry::{ArrayLayout, Geometry, round8};
use super::guest::{Cursor, Entry};
use super::region::Region;
use super::value::locked;
use crate::uapi::{MapType, elem_flags as f, errno};

/// An array's storage.
pub(super) struct Array {
    region: Region,
    layout: ArrayLayout,
    map_type: MapType,
    slots: bool,
    max_entries: u32,
    value_size: u32,
    cpus: u32,
    fields: Fields,
}

impl Array {
    pub(super) fn new(
        geo: &Geometry,
        layout: ArrayLayout,
        region: Region,
        fields: Fields,
    ) -> Array {
        Array {
            region,
            layout,
            map_type: geo.map_type,
            slots: geo.is_slots(),
            max_entries: geo.max_entries,
            value_size: geo.value_size,
            cpus: if geo.is_per_cpu() { geo.cpus } else { 1 },
            fields,
        }
    }

    #[inline(always)]
    fn offset(&self, cpu: u32, index: u32) -> u64 {
        u64::from(cpu) * self.layout.cpu_stride + u64::from(index) * self.layout.stride
    }

    /// Address of a value; `cpu` only matters where CPUs have their own.
    pub(super) fn value_addr(&self, cpu: u32, index: u32) -> u64 {
        self.region.addr(self.offset(cpu, index))
    }

    #[inline(always)]
    fn index(key: &[u8]) -> Result<u32, MapError> {
        match <[u8; 4]>::try_from(key) {
            Ok(k) => Ok(u32::from_le_bytes(k)),
            Err(_) => Err(MapError::KEY_SIZE),
        }
    }

    fn per_cpu(&self) -> bool {
        self.layout.cpu_stride != 0
    }

    #[inline]
    pub(super) fn lookup(&self, cpu: u32, key: &[u8]) -> Option<u64> {
        let index = Self::index(key).ok()?;
        if index >= self.max_entries || (self.per_cpu() && cpu >= self.cpus) {
            return None;
        }
        if self.slots && self.slot(index) == 0 {
            return None;
        }
        Some(self.value_addr(cpu, index))
    }

    fn slot(&self, index: u32) -> u32 {
        self.region.load_u32(self.offset(0, index))
    }

    /// The handle at an index; `None` where there is none.
    pub(super) fn handle(&self, key: &[u8]) -> Option<u32> {
        let index = Self::index(key).ok()?;
        (index < self.max_entries)
            .then(|| self.slot(index))
            .filter(|h| *h != 0)
    }

    /// The checks that updates of arrays begin with; gives the index.
    #[inline]
    fn check_update(&self, key: &[u8], flags: u64) -> Result<u32, MapError> {
        if flags & !f::F_LOCK > f::EXIST {
            return Err(MapError::FLAGS);
        }
        if self.only_any() && flags != f::ANY {
            return Err(MapError::FLAGS);
        }
        let index = Self::index(key)?;
        if index >= self.max_entries {
            return Err(MapError::INDEX);
        }
        if flags & f::NOEXIST != 0 {
            return Err(MapError::KEY_EXISTS);
        }
        Ok(index)
    }

    /// Arrays of descriptors take no flags at all.
    fn only_any(&self) -> bool {
        use MapType::*;
        matches!(self.map_type, ProgArray | PerfEventArray | ArrayOfMaps)
    }

    /// The program's update: one CPU's value.
    #[inline]
    pub(super) fn update(
        &self,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), MapError> {
        let index = self.check_update(key, flags)?;
        if value.len() != self.value_size as usize {
            return Err(MapError::VALUE_SIZE);
        }
        if self.per_cpu() && cpu >= self.cpus {
            return Err(MapError::INDEX);
        }
        let off = self.offset(cpu, index);
        let lock = self.fields.lock_for(flags, off)?;
        if device::is_device(self.map_type) {
            let kept = device::kept(self.map_type, value)?;
            let kept = kept.get(..value.len()).unwrap_or_default();
            self.region.copy_in(off, kept);
            return Ok(());
        }
        locked(&self.region, lock, || {
            self.fields.copy_in(&self.region, off, value)
        })
    }

    /// The system call's update: every CPU's value.
    pub(super) fn update_all(&self, key: &[u8], values: &[u8], flags: u64) -> Result<(), MapError> {
        if !self.per_cpu() {
            return self.update(0, key, values, flags);
        }
        if flags > f::EXIST {
            return Err(MapError::FLAGS);
        }
        let index = self.check_update(key, flags)?;
        let step = round8(self.value_size) as usize;
        if values.len() != step * self.cpus as usize {
            return Err(MapError::VALUE_SIZE);
        }
        for (cpu, v) in (0..self.cpus).zip(values.chunks_exact(step)) {
            let v = v.get(..self.value_size as usize).unwrap_or(v);
            self.fields
                .copy_in(&self.region, self.offset(cpu, index), v);
        }
        Ok(())
    }

    /// See [`mend`](super::mend): any values will do, but no lock is held.
    pub(super) fn mend(&self) {
        let Some(lock) = self.fields.spin_lock else {
            return;
        };
        for index in 0..self.max_entries {
            self.region.unlock(self.offset(0, index) + u64::from(lock));
        }
    }

    pub(super) fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let index = Self::index(key)?;
        if !self.slots {
            return Err(MapError::invalid("elements of an array can't be deleted"));
        }
        let in_range = index < self.max_entries;
        if !self.only_any() {
            if !in_range {
                return Err(MapError::invalid("the index is not below max_entries"));
            }
            self.region.swap_u64(self.offset(0, index), 0);
            return Ok(());
        }
        if !in_range {
            return Err(MapError::INDEX);
        }
        match self.region.swap_u64(self.offset(0, index), 0) {
            0 => Err(MapError::new(errno::ENOENT, "the slot is empty")),
            _ => Ok(()),
        }
    }

    /// Copies a value (all CPUs') out. `lock`: whether a lock may be taken.
    pub(super) fn read(
        &self,
        key: &[u8],
        out: &mut [u8],
        flags: u64,
        lock: bool,
    ) -> Result<(), MapError> {
        if flags & !f::F_LOCK != 0 {
            return Err(MapError::FLAGS);
        }
        let index = Self::index(key)?;
        if index >= self.max_entries || (self.slots && self.slot(index) == 0) {
            return Err(MapError::NO_KEY);
        }
        let off = self.offset(0, index);
        let lock = if lock {
            self.fields.lock_for(flags, off)?
        } else {
            None
        };
        locked(&self.region, lock, || self.copy(index, out))?
    }

    fn copy(&self, index: u32, out: &mut [u8]) -> Result<(), MapError> {
        if !self.per_cpu() {
            if out.len() != self.value_size as usize {
                return Err(MapError::VALUE_SIZE);
            }
            self.fields
                .copy_out(&self.region, self.offset(0, index), out);
            return Ok(());
        }
        let step = round8(self.value_size) as usize;
        if out.len() != step * self.cpus as usize {
            return Err(MapError::VALUE_SIZE);
        }
        for (cpu, o) in (0..self.cpus).zip(out.chunks_exact_mut(step)) {
            self.region.copy_out(self.offset(cpu, index), o);
        }
        Ok(())
    }

    pub(super) fn next_key(&self, key: Option<&[u8]>, out: &mut [u8]) -> Result<(), MapError> {
        let next = match key.map(Self::index).transpose()? {
            Some(i) if i < self.max_entries => i + 1,
            _ => 0,
        };
        if next == self.max_entries {
            return Err(MapError::NO_KEY);
        }
        match <&mut [u8; 4]>::try_from(out) {
            Ok(out) => *out = next.to_le_bytes(),
            Err(_) => return Err(MapError::KEY_SIZE),
        }
        Ok(())
    }

    pub(super) fn next_entry(&self, cpu: u32, cursor: &mut Cursor) -> Option<Entry> {
        let index = u32::try_from(cursor.0)
            .ok()
            .filter(|i| *i < self.max_entries)?;
        cursor.0 += 1;
        Some(Entry {
            key: 0,
            index,
            value: self.value_addr(cpu, index),
        })
    }

    pub(super) fn batch(
        &self,
        position: u64,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> Result<(u32, Option<u64>), MapError> {
        let step = if self.per_cpu() {
            round8(self.value_size) as usize * self.cpus as usize
        } else {
            self.value_size as usize
        };
        let mut index = u32::try_from(position)
            .unwrap_or(u32::MAX)
            .min(self.max_entries);
        let mut count = 0;
        for (k, v) in keys.chunks_exact_mut(4).zip(values.chunks_exact_mut(step)) {
            while self.slots && index < self.max_entries && self.slot(index) == 0 {
                index += 1;
            }
            if index == self.max_entries {
                return Ok((count, None));
            }
            self.copy(index, v)?;
            k.copy_from_slice(&index.to_le_bytes());
            count += 1;
            index += 1;
        }
        // As in Linux, the end is found only by looking for one more.
        Ok((count, Some(u64::from(index))))
    }
}
