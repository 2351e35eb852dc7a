//! A runtime in an ordinary process, for tests: regions of bytes at made-up
//! addresses, every access checked, helpers added by hand.
use super::{Callbacks, Runtime, Trap, TrapKind};
use crate::env::runtime_fn::PACKET_LOAD;
use crate::insn::Size;
use crate::program::{MapDesc, MapTable, Program};
use crate::uapi::limits;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// A helper of [`Hosted`].
pub type Helper = fn(&mut Hosted, [u64; 5], &mut dyn Callbacks) -> Result<u64, Trap>;

/// One piece of memory.
#[derive(Clone, Debug)]
struct Region {
    base: u64,
    bytes: Vec<u8>,
    writable: bool,
}

/// The runtime. Regions lie [`Hosted::GAP`] apart, so that no offset reaches
/// from one into another.
#[derive(Clone, Debug)]
pub struct Hosted {
    regions: Vec<Region>,
    maps: Vec<MapDesc>,
    helpers: BTreeMap<u32, Helper>,
    programs: BTreeMap<(u64, u32), Arc<Program>>,
    packet: Vec<u8>,
}

impl Hosted {
    /// Distance between regions.
    pub const GAP: u64 = 1 << 32;

    /// A runtime with a stack (zeros) and nothing else.
    pub fn new() -> Self {
        let mut host = Hosted {
            regions: Vec::new(),
            maps: Vec::new(),
            helpers: BTreeMap::new(),
            programs: BTreeMap::new(),
            packet: Vec::new(),
        };
        host.add_memory(vec![0; limits::CALL_FRAMES * limits::STACK as usize]);
        host
    }

    /// Adds memory and gives its address.
    pub fn add_memory(&mut self, bytes: Vec<u8>) -> u64 {
        let base = Self::GAP * (self.regions.len() as u64 + 1);
        let writable = true;
        self.regions.push(Region {
            base,
            bytes,
            writable,
        });
        base
    }

    /// Adds memory that programs can only read, and gives its address.
    pub fn add_constant(&mut self, bytes: Vec<u8>) -> u64 {
        let base = self.add_memory(bytes);
        if let Some(region) = self.regions.last_mut() {
            region.writable = false;
        }
        base
    }

    /// The memory that was added at this address, as it is now.
    pub fn memory(&self, base: u64) -> Option<&[u8]> {
        let region = self.regions.iter().find(|r| r.base == base)?;
        Some(&region.bytes)
    }

    /// Adds a map that programs can load, by its description.
    pub fn add_map(&mut self, map: MapDesc) {
        self.maps.push(map);
    }

    /// Adds a helper.
    pub fn add_helper(&mut self, id: u32, helper: Helper) {
        self.helpers.insert(id, helper);
    }

    /// Puts a program into slot `index` of the program array at `map`.
    pub fn add_program(&mut self, map: u64, index: u32, prog: Program) {
        self.programs.insert((map, index), Arc::new(prog));
    }

    /// The bytes that legacy packet loads see.
    pub fn set_packet(&mut self, packet: Vec<u8>) {
        self.packet = packet;
    }

    /// The bytes of an access.
    fn bytes(&mut self, addr: u64, size: Size, write: bool) -> Result<&mut [u8], Trap> {
        self.regions
            .iter_mut()
            .filter(|r| r.writable || !write)
            .find_map(|r| {
                let start = usize::try_from(addr.checked_sub(r.base)?).ok()?;
                let end = start.checked_add(size.bytes() as usize)?;
                r.bytes.get_mut(start..end)
            })
            .ok_or(TrapKind::Memory { addr, size, write }.into())
    }

    fn packet_load(&self, off: u64, size: u64) -> u64 {
        let read = || {
            let start = usize::try_from(off).ok()?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            let bytes = self.packet.get(start..end)?;
            Some(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
        };
        read().unwrap_or(u64::MAX)
    }
}

impl Default for Hosted {
    fn default() -> Self {
        Self::new()
    }
}

impl MapTable for Hosted {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.maps.iter().find(|m| m.handle == handle).cloned()
    }

    fn read_constant(&self, _handle: u32, _off: u32, _size: u32) -> Option<u64> {
        None
    }
}

impl Runtime for Hosted {
    fn stack_top(&self) -> u64 {
        Self::GAP + limits::CALL_FRAMES as u64 * u64::from(limits::STACK)
    }

    fn load(&mut self, addr: u64, size: Size) -> Result<u64, Trap> {
        let bytes = self.bytes(addr, size, false)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Trap> {
        let bytes = self.bytes(addr, size, true)?;
        for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        Ok(())
    }

    fn helper(
        &mut self,
        id: u32,
        args: [u64; 5],
        callbacks: &mut dyn Callbacks,
    ) -> Result<u64, Trap> {
        let [off, size, ..] = args;
        match self.helpers.get(&id) {
            Some(helper) => helper(self, args, callbacks),
            None if id == PACKET_LOAD => Ok(self.packet_load(off, size)),
            None => Err(TrapKind::Helper(id).into()),
        }
    }

    fn tail_call(&mut self, map: u64, index: u32) -> Result<Option<Arc<Program>>, Trap> {
        Ok(self.programs.get(&(map, index)).cloned())
    }

    fn maps(&self) -> &dyn MapTable {
        self
    }
}
