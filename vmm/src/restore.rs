//! Putting the objects of a VM back into its new machine, from the host's copies.

use std::sync::Arc;

use bpfvisor_abi::op::{LoadRecord, MapRecord, code};
use zerocopy::IntoBytes;

use crate::core::Core;
use crate::error::CallError;
use crate::lane::{Lane, Turn, succeeded};
use crate::load::{self, LoadError};
use crate::object::{Kept, Object};
use crate::recover::{Loss, Recovery, RecoveryReport};
use crate::roll::{Origin, Source};

type Result<T> = std::result::Result<T, CallError>;

/// Indices of handles that are to be left for these objects.
pub(crate) fn kept_indices(objects: &[Arc<Object>]) -> u32 {
    let above = objects.iter().map(|o| (o.handle() & 0xffff) + 1);
    above.max().unwrap_or(0)
}

/// Restores all objects, oldest first, and then what maps say of them.
///
/// # Errors
/// Only where the new machine fails, too.
pub(crate) fn all(
    core: &Arc<Core>,
    (lane, turn): (&Lane, &mut Turn),
    objects: &[Arc<Object>],
    report: &mut RecoveryReport,
) -> Result<()> {
    let mut restorer = Restorer {
        core,
        lane,
        turn,
        report,
    };
    for object in objects {
        let done = match object.origin() {
            Some(Origin::Map(record)) => restorer.map(object, record),
            Some(Origin::Program(source)) => restorer.program(object, source),
            None => Ok(()),
        };
        if let Err(e) = done {
            restorer.lost(object, e)?;
        }
    }
    for object in objects {
        if let Err(e) = restorer.links(object) {
            restorer.lost(object, e)?;
        }
    }
    Ok(())
}

struct Restorer<'a> {
    core: &'a Arc<Core>,
    lane: &'a Lane,
    turn: &'a mut Turn,
    report: &'a mut RecoveryReport,
}

impl Restorer<'_> {
    /// One object fails alone; the machine's failure is everyone's.
    fn lost(&mut self, object: &Object, e: CallError) -> Result<()> {
        if self.core.life.is_dead() {
            return Err(e);
        }
        self.report.objects_lost.push(Loss {
            name: object.name(),
            why: e.to_string(),
        });
        Ok(())
    }

    fn ask(&mut self, op: u32, arg: [u64; 7]) -> Result<()> {
        let budget = self.core.config.call_timeout;
        let answer = self.lane.call(self.core, self.turn, (op, &arg), budget)?;
        succeeded(answer).map(drop)
    }

    fn map(&mut self, object: &Object, record: &MapRecord) -> Result<()> {
        let storage = object.storage();
        let storage = storage.ok_or(CallError::Invalid("a map without storage"))?;
        let kept = self.contents(object);
        if kept.is_none() {
            storage.clear();
        }
        let constant = object.companion().and_then(|c| c.constant());
        let first = || object.companion().and_then(|c| c.initial());
        if let (None, Some(bytes)) = (kept, constant.clone().or_else(first)) {
            self.core.shared.write(storage.offset(), &bytes)?;
        }
        let record = MapRecord {
            handle: object.handle(),
            keep: u32::from(kept.is_some()),
            ..*record
        };
        let sent = self.scratch(size_of::<MapRecord>())?;
        self.core.shared.write(sent.offset(), record.as_bytes())?;
        self.ask(code::MAP_CREATE, [sent.offset(), 0, 0, 0, 0, 0, 0])?;
        object.reborn();
        if kept.is_some() {
            self.report.maps_kept += 1;
        } else if constant.is_some() {
            self.report.maps_refilled += 1;
        }
        let frozen = object.companion().is_some_and(|c| c.is_frozen());
        match object.companion().and_then(|c| c.links()) {
            None if frozen => self.freeze(object),
            _ => Ok(()),
        }
    }

    /// Whether a map may keep its contents; if not, the report says why, unless
    /// they come from elsewhere.
    fn contents(&mut self, object: &Object) -> Option<()> {
        let Some(companion) = object.companion() else {
            self.emptied(object, "it was only being created");
            return None;
        };
        if companion.links().is_some() || companion.constant().is_some() {
            return None;
        }
        if self.core.config.recovery != Recovery::KeepMaps {
            self.emptied(object, "the policy is to empty maps");
            return None;
        }
        match companion.mend(object) {
            Ok(Kept { records_lost }) => {
                self.report.records_lost += records_lost;
                Some(())
            }
            Err(why) => {
                self.emptied(object, &why);
                None
            }
        }
    }

    fn emptied(&mut self, object: &Object, why: &str) {
        let first = object.companion().and_then(|c| c.initial());
        let list = match first {
            None => &mut self.report.maps_emptied,
            Some(_) => &mut self.report.maps_reset,
        };
        list.push(Loss {
            name: object.name(),
            why: why.into(),
        });
    }

    fn freeze(&mut self, object: &Object) -> Result<()> {
        let handle = u64::from(object.handle());
        self.ask(code::MAP_FREEZE, [handle, 0, 0, 0, 0, 0, 0])
    }

    fn program(&mut self, object: &Object, source: &Source) -> Result<()> {
        let record = LoadRecord {
            place: object.handle(),
            log_level: 0,
            ..source.record
        };
        let program = load::Send {
            record: &record,
            insns: &source.insns,
            types: &source.types,
            log_len: 0,
        };
        match load::send(self.core, (self.lane, self.turn), &program) {
            Ok(_) => {
                object.reborn();
                self.report.programs += 1;
                Ok(())
            }
            Err(LoadError::Call(e)) => Err(e),
            Err(LoadError::Rejected { errno, .. }) => Err(CallError::Errno { errno }),
        }
    }

    /// Fills a program array or map of maps.
    fn links(&mut self, object: &Object) -> Result<()> {
        let Some(companion) = object.companion() else {
            return Ok(());
        };
        let Some(links) = companion.links() else {
            return Ok(());
        };
        let longest = links.iter().map(|(key, _)| key.len()).max();
        let scratch = self.scratch(longest.unwrap_or(0).next_multiple_of(64) + 64)?;
        let key_off = scratch.offset() + 64;
        for (key, target) in &links {
            let value = target.handle().to_ne_bytes();
            self.core.shared.write(scratch.offset(), &value)?;
            self.core.shared.write(key_off, key)?;
            let handle = u64::from(object.handle());
            let arg = [handle, key_off, scratch.offset(), 0, 0, 0, 0];
            if let Err(e) = self.ask(code::MAP_UPDATE, arg) {
                self.lost(object, e)?;
            }
        }
        self.report.maps_refilled += 1;
        match companion.is_frozen() {
            true => self.freeze(object),
            false => Ok(()),
        }
    }

    fn scratch(&self, len: usize) -> Result<crate::Block> {
        let wanted = len as u64;
        let block = self.core.arena.alloc(wanted, 64);
        block.ok_or(CallError::NoMemory { wanted })
    }
}
