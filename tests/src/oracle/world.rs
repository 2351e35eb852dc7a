//! A hostile world for accepted programs: memory in pieces far from each other,
//! packets that move, helpers that answer and write anything they may.

use crate::generate::Rng;
use bpf_core::env::runtime_fn::PACKET_LOAD;
use bpf_core::helper::{self, Arg, Ret};
use bpf_core::insn::Size;
use bpf_core::interp::{Callbacks, Runtime, Trap, TrapKind};
use bpf_core::program::{MapDesc, MapTable, Program};
use bpf_core::uapi::{MapType, ProgType, limits, sk_buff, xdp_md};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

const FOR_EACH: u32 = 164;
const LOOP: u32 = 181;
/// Distance between objects, more than any offset that a program may add.
const GAP: u64 = 1 << 32;
/// As [`GAP`], for what must lie below 4 GiB.
const LOW_GAP: u64 = 1 << 24;

/// Where the objects of each kind of pointer begin now.
#[derive(Default)]
pub struct Bases(pub BTreeMap<&'static str, Vec<u64>>);

struct Region {
    base: u64,
    bytes: Vec<u8>,
}

/// Memory, maps and helpers of one run.
pub struct World {
    regions: Vec<Region>,
    maps: Vec<MapDesc>,
    /// Per map: the addresses of its values.
    values: Vec<Vec<u64>>,
    pub bases: Rc<RefCell<Bases>>,
    pub rng: Rng,
    prog_type: ProgType,
    pub context: u64,
    next: u64,
    next_low: u64,
}

impl World {
    pub fn new(prog_type: ProgType, maps: &[MapDesc], rng: Rng) -> Self {
        let mut world = Self {
            regions: Vec::new(),
            maps: maps.to_vec(),
            values: Vec::new(),
            bases: Rc::default(),
            rng,
            prog_type,
            context: 0,
            next: GAP,
            next_low: LOW_GAP,
        };
        world.add("fp", limits::CALL_FRAMES * limits::STACK as usize);
        let top = world.stack_top();
        let frames = (0..limits::CALL_FRAMES as u64).map(|n| top - n * u64::from(limits::STACK));
        world.is("fp", frames.collect());
        world.context = world.add_low(sk_buff::SIZE as usize + 8);
        world.is("ctx", vec![world.context]);
        world.new_packet();
        world.new_maps();
        world
    }

    fn is(&self, kind: &'static str, bases: Vec<u64>) {
        self.bases.borrow_mut().0.insert(kind, bases);
    }

    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        let small = self.rng.one_in(2);
        let byte = |rng: &mut Rng| match small {
            true => rng.below(9) as u8,
            false => rng.word() as u8,
        };
        (0..bytes).map(|_| byte(&mut self.rng)).collect()
    }

    fn place(&mut self, base: u64, bytes: usize) -> u64 {
        let bytes = self.noise(bytes);
        self.regions.push(Region { base, bytes });
        base
    }

    fn add(&mut self, kind: &'static str, bytes: usize) -> u64 {
        self.next += GAP;
        let base = self.place(self.next, bytes);
        self.bases
            .borrow_mut()
            .0
            .entry(kind)
            .or_default()
            .push(base);
        base
    }

    fn add_low(&mut self, bytes: usize) -> u64 {
        self.next_low += LOW_GAP;
        self.place(self.next_low, bytes)
    }

    /// A packet somewhere else, of another length; the old one is gone.
    fn new_packet(&mut self) {
        if let Some(old) = self.bases.borrow_mut().0.remove("pkt_meta") {
            self.regions.retain(|r| Some(&r.base) != old.first());
        }
        let (meta, length) = (4 * self.rng.below(9), self.rng.below(1600));
        let start = self.add_low((meta + length) as usize);
        let (data, end) = (start + meta, start + meta + length);
        self.is("pkt_meta", vec![start]);
        self.is("pkt", vec![data]);
        self.is("pkt_end", vec![end]);
        let fields = match self.prog_type {
            ProgType::Xdp => [xdp_md::DATA, xdp_md::DATA_END, xdp_md::DATA_META],
            _ => [sk_buff::DATA, sk_buff::DATA_END, sk_buff::DATA_META],
        };
        for (field, value) in fields.into_iter().zip([data, end, start]) {
            let at = self.context + u64::from(field);
            let _ = self.store(at, Size::W, value);
        }
    }

    fn new_maps(&mut self) {
        for nr in 0..self.maps.len() {
            let map = self.maps[nr].clone();
            let elements = map.max_entries.min(8);
            let values = (0..elements)
                .map(|_| self.add("map_value", map.value_size as usize))
                .collect::<Vec<_>>();
            let object = self.add("map_ptr", 0);
            self.maps[nr].object_addr = object;
            self.maps[nr].values_addr = values.first().copied().unwrap_or(0);
            self.values.push(values);
        }
    }

    fn bytes(&mut self, addr: u64, size: u64, write: bool) -> Result<&mut [u8], Trap> {
        let found = self.regions.iter_mut().find_map(|r| {
            let start = usize::try_from(addr.checked_sub(r.base)?).ok()?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            r.bytes.get_mut(start..end)
        });
        let size = Size::B;
        found.ok_or(TrapKind::Memory { addr, size, write }.into())
    }

    /// The helper reads or writes this memory.
    fn touch(&mut self, addr: u64, size: u64, write: bool) -> Result<(), Trap> {
        if size == 0 {
            return Ok(());
        }
        self.bytes(addr, size, write)?;
        if write {
            let noise = self.noise(size as usize);
            self.bytes(addr, size, write)?.copy_from_slice(&noise);
        }
        Ok(())
    }

    fn map_at(&self, object: u64) -> Option<usize> {
        self.maps.iter().position(|m| m.object_addr == object)
    }

    /// Does to the arguments what the prototype allows.
    fn use_arguments(&mut self, id: u32, args: [u64; 5]) -> Result<Ret, Trap> {
        let proto = helper::proto(id, self.prog_type).ok_or(TrapKind::Helper(id))?;
        let map = self.map_at(args[0]).map(|nr| self.maps[nr].clone());
        let (key, value) = map.map_or((0, 0), |m| (m.key_size, m.value_size));
        for (n, arg) in proto.args.iter().enumerate() {
            let (addr, size) = (args[n], args.get(n + 1).copied().unwrap_or(0));
            match arg {
                Arg::Mem => self.touch(addr, size, false)?,
                Arg::MemOrNull if addr != 0 => self.touch(addr, size, false)?,
                Arg::UninitMem => self.touch(addr, size, true)?,
                Arg::UninitMemOrNull if addr != 0 => self.touch(addr, size, true)?,
                Arg::MapKey => self.touch(addr, key.into(), false)?,
                Arg::MapValue => self.touch(addr, value.into(), false)?,
                Arg::UninitMapValue => self.touch(addr, value.into(), true)?,
                Arg::Long => self.touch(addr, 8, true)?,
                Arg::AllocMem => self.release(id, addr)?,
                _ => {}
            }
        }
        if proto.changes_packet {
            self.new_packet();
        }
        Ok(proto.ret)
    }

    fn release(&mut self, helper: u32, addr: u64) -> Result<(), Trap> {
        let before = self.regions.len();
        self.regions.retain(|r| r.base != addr);
        let argument = 1;
        match self.regions.len() < before {
            true => Ok(()),
            false => Err(TrapKind::BadArgument { helper, argument }.into()),
        }
    }

    fn lookup(&mut self, args: [u64; 5]) -> Result<u64, Trap> {
        let helper = 1;
        let argument = 1;
        let bad = TrapKind::BadArgument { helper, argument };
        let nr = self.map_at(args[0]).ok_or(bad)?;
        if let Some(inner) = self.maps[nr].inner {
            let known = self.maps.iter().find(|m| m.handle == inner);
            let object = known.map_or(0, |m| m.object_addr);
            return Ok(if self.rng.one_in(4) { 0 } else { object });
        }
        let array = matches!(
            self.maps[nr].map_type,
            MapType::Array | MapType::PercpuArray
        );
        let key = match array {
            true => self.load(args[1], Size::W)?,
            false => self.rng.below(10),
        };
        Ok(self.values[nr].get(key as usize).copied().unwrap_or(0))
    }

    fn repeat(&mut self, args: [u64; 5], callbacks: &mut dyn Callbacks) -> Result<u64, Trap> {
        let [rounds, function, context, ..] = args;
        for round in 0..rounds.min(40) {
            if callbacks.call(self, function, [round, context, 0, 0, 0])? != 0 {
                return Ok(round + 1);
            }
        }
        Ok(rounds)
    }

    fn for_each(&mut self, args: [u64; 5], callbacks: &mut dyn Callbacks) -> Result<u64, Trap> {
        let [map, function, context, ..] = args;
        let nr = self.map_at(map).unwrap_or(0);
        let mut count = 0;
        for value in self.values[nr].clone() {
            let key = self.add("map_key", self.maps[nr].key_size as usize);
            count += 1;
            if callbacks.call(self, function, [map, key, value, context, 0])? != 0 {
                break;
            }
        }
        Ok(count)
    }
}

impl MapTable for World {
    fn map(&self, handle: u32) -> Option<MapDesc> {
        self.maps.iter().find(|m| m.handle == handle).cloned()
    }

    fn read_constant(&self, _handle: u32, _off: u32, _size: u32) -> Option<u64> {
        None
    }
}

impl Runtime for World {
    fn stack_top(&self) -> u64 {
        2 * GAP + limits::CALL_FRAMES as u64 * u64::from(limits::STACK)
    }

    fn load(&mut self, addr: u64, size: Size) -> Result<u64, Trap> {
        let bytes = self.bytes(addr, size.bytes().into(), false)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Trap> {
        let bytes = self.bytes(addr, size.bytes().into(), true)?;
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
        if id == PACKET_LOAD {
            let short = self.rng.one_in(4);
            let bits = 8 * args[1].min(4) as u32;
            let value = self.rng.word() & ((1u64 << bits) - 1);
            return Ok(if short { u64::MAX } else { value });
        }
        let ret = self.use_arguments(id, args)?;
        match (id, ret) {
            (LOOP, _) => self.repeat(args, callbacks),
            (FOR_EACH, _) => self.for_each(args, callbacks),
            (_, Ret::MapValueOrNull) => self.lookup(args),
            (_, Ret::AllocMemOrNull) if args[1] > 4096 || self.rng.one_in(4) => Ok(0),
            (_, Ret::AllocMemOrNull) => Ok(self.add("mem", args[1] as usize)),
            _ => Ok(self.rng.number()),
        }
    }

    fn tail_call(&mut self, _map: u64, _index: u32) -> Result<Option<Arc<Program>>, Trap> {
        Ok(None)
    }

    fn maps(&self) -> &dyn MapTable {
        self
    }
}
