//! Descriptors for what only this side knows: BTF and links.
//!
//! As with programs and maps, a descriptor is one end of a socket pair whose
//! other end stays here, and copies of it are told by their inode. When the last
//! copy is closed the end that was kept reads as ended.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Inode = (u64, u64);

#[derive(Debug)]
struct Entry<T> {
    item: Arc<T>,
    /// Read by [`Hosted::sweep`]; without it somebody else sees the end.
    kept: Option<UnixStream>,
    turn: u64,
}

#[derive(Debug)]
struct Table<T> {
    by_inode: HashMap<Inode, Entry<T>>,
    turn: u64,
}

/// What has descriptors, of one kind in one VM.
#[derive(Debug)]
pub(crate) struct Hosted<T>(Mutex<Table<T>>);

/// Which descriptor, for [`Hosted::remove`].
pub(crate) struct Key(Inode, u64);

impl<T> Default for Hosted<T> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            by_inode: HashMap::new(),
            turn: 0,
        }))
    }
}

fn inode(fd: RawFd) -> io::Result<Inode> {
    let meta = std::fs::metadata(format!("/proc/self/fd/{fd}"))?;
    Ok((meta.dev(), meta.ino()))
}

impl<T> Hosted<T> {
    fn table(&self) -> MutexGuard<'_, Table<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new descriptor, which [`Hosted::sweep`] finds closed.
    pub fn export(&self, item: &Arc<T>) -> io::Result<OwnedFd> {
        let (given, kept) = UnixStream::pair()?;
        kept.set_nonblocking(true)?;
        self.insert(&given, item, Some(kept))?;
        Ok(given.into())
    }

    /// A new descriptor, and the end at which to wait until it is closed, then to
    /// remove it.
    pub fn export_watched(&self, item: &Arc<T>) -> io::Result<(OwnedFd, UnixStream, Key)> {
        let (given, kept) = UnixStream::pair()?;
        let key = self.insert(&given, item, None)?;
        Ok((given.into(), kept, key))
    }

    fn insert(
        &self,
        given: &UnixStream,
        item: &Arc<T>,
        kept: Option<UnixStream>,
    ) -> io::Result<Key> {
        let inode = inode(given.as_raw_fd())?;
        let mut table = self.table();
        table.turn += 1;
        let turn = table.turn;
        let item = Arc::clone(item);
        let old = table.by_inode.insert(inode, Entry { item, kept, turn });
        drop(table);
        drop(old);
        Ok(Key(inode, turn))
    }

    /// What a descriptor stands for.
    pub fn resolve(&self, fd: RawFd) -> Option<Arc<T>> {
        let inode = inode(fd).ok()?;
        let table = self.table();
        table.by_inode.get(&inode).map(|e| Arc::clone(&e.item))
    }

    /// Lets go of what a descriptor stood for.
    pub fn remove(&self, key: &Key) {
        let mut table = self.table();
        let own = table.by_inode.get(&key.0).is_some_and(|e| e.turn == key.1);
        let gone = own.then(|| table.by_inode.remove(&key.0));
        drop(table);
        drop(gone); // may take other locks
    }

    /// Lets go of what has no descriptor any more.
    pub fn sweep(&self) {
        let mut gone = Vec::new();
        let mut table = self.table();
        table.by_inode.retain(|_, entry| {
            let ended = matches!(entry.kept.as_mut().map(ended), Some(true));
            if ended {
                gone.push(Arc::clone(&entry.item));
            }
            !ended
        });
        drop(table);
        drop(gone);
    }
}

/// Whether nobody holds the other end. Whoever does may write to it: that is read
/// and forgotten.
fn ended(kept: &mut UnixStream) -> bool {
    matches!(kept.read(&mut [0; 512]), Ok(0))
}

/// Sleeps until nobody holds the other end.
pub(crate) fn wait(mut end: UnixStream) {
    loop {
        match end.read(&mut [0; 512]) {
            Ok(0) => return,
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}
