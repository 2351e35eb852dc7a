//! Where programs' machine code lies, so that a fault can be blamed on one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfvisor_abi::op::LoadRecord;

/// A loaded program. Its name is what the host gave it, all else an allegation.
#[derive(Debug)]
struct Placed {
    name: String,
    addr: u64,
    len: u64,
    /// For each instruction where its code begins, from `addr`.
    offsets: Box<[u32]>,
}

/// All programs of a VM, by handle.
#[derive(Debug, Default)]
pub(crate) struct Programs(Mutex<HashMap<u32, Placed>>);

impl Programs {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Placed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a program that the guest has loaded.
    pub(crate) fn add(&self, record: &LoadRecord, name: &[u8; 16], offsets: Box<[u32]>) {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let placed = Placed {
            name: String::from_utf8_lossy(name).into_owned(),
            addr: record.jited_addr,
            len: u64::from(record.jited_len),
            offsets,
        };
        self.lock().insert(record.handle, placed);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Forgets one that is gone.
    pub(crate) fn remove(&self, handle: u32) {
        self.lock().remove(&handle);
    }

    /// Name and instruction of the program whose code holds `rip`; or else only
    /// the name of the program `last` that the vCPU was asked to run.
    pub(crate) fn blame(&self, rip: u64, last: u32) -> Option<(String, Option<u32>)> {
        let programs = self.lock();
        let hit = programs.values().find_map(|program| {
            let offset = rip.checked_sub(program.addr).filter(|&o| o < program.len)?;
            Some((program.name.clone(), program.insn_at(offset)))
        });
        hit.or_else(|| Some((programs.get(&last)?.name.clone(), None)))
    }
}

impl Placed {
    /// The last instruction whose code begins at or before an offset.
    fn insn_at(&self, offset: u64) -> Option<u32> {
        (0..)
            .zip(&self.offsets)
            .filter(|&(_, &begin)| u64::from(begin) <= offset)
            .max_by_key(|&(index, &begin)| (begin, index))
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::Programs;
    use bpfvisor_abi::op::LoadRecord;
    use zerocopy::FromZeros;

    #[test]
    fn an_address_names_program_and_instruction() {
        let programs = Programs::default();
        let mut record = LoadRecord::new_zeroed();
        (record.handle, record.jited_addr, record.jited_len) = (7, 0x1000, 0x20);
        let offsets = [0, 5, u32::MAX, 5, 9];
        programs.add(&record, b"victim\0\0\0\0\0\0\0\0\0\0", offsets.into());
        let at = |rip, last| programs.blame(rip, last);
        let hit = |insn| Some(("victim".to_string(), insn));
        assert_eq!(at(0x1004, 0), hit(Some(0)));
        assert_eq!(at(0x1005, 0), hit(Some(3)));
        assert_eq!(at(0x101f, 0), hit(Some(4)));
        assert_eq!(at(0x1020, 0), None);
        assert_eq!(at(0xfff, 7), hit(None));
        programs.remove(7);
        assert_eq!(at(0x1004, 7), None);
    }
}
