//! Whether a VM lives, why it does not, and in which of its lives it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::FaultReport;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Life {
    dead: AtomicBool,
    /// It is not to be rebuilt, or not any more.
    over: AtomicBool,
    /// How often it was rebuilt.
    number: AtomicU64,
    report: Mutex<Option<Arc<FaultReport>>>,
}

impl Life {
    fn report(&self) -> MutexGuard<'_, Option<Arc<FaultReport>>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Why it is dead, if it is.
    pub(crate) fn fault(&self) -> Option<Arc<FaultReport>> {
        self.report().clone()
    }

    /// It has died; the first report stands. Gives that, and whether it is new.
    pub(crate) fn end(&self, report: impl FnOnce() -> FaultReport) -> (Arc<FaultReport>, bool) {
        let mut stands = self.report();
        let new = stands.is_none();
        let report = Arc::clone(stands.get_or_insert_with(|| Arc::new(report())));
        self.dead.store(true, Ordering::Release);
        (report, new)
    }

    /// It lives again, if it may: false for one that was ended for good meanwhile.
    pub(crate) fn begin(&self) -> bool {
        let mut stands = self.report();
        if self.is_over() {
            return false;
        }
        *stands = None;
        self.number.fetch_add(1, Ordering::AcqRel);
        self.dead.store(false, Ordering::Release);
        true
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// From now on, dead is dead.
    pub(crate) fn no_more(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}
