//! Streams for services that wait in tokio (feature `tokio`).
#![allow(unsafe_code)]

use super::{Event, EventStream, RingBuffer};
use crate::error::{HostError, Result};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A [`RingBuffer`] whose records are awaited.
///
/// ```no_run
/// # async fn f(map: bpfvisor::Map) -> bpfvisor::Result<()> {
/// let mut ring = map.ring_buffer()?.into_async()?;
/// loop {
///     let record = ring.next().await?;
///     println!("{} bytes", record.len());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncRingBuffer(AsyncFd<RingBuffer>);

/// An [`EventStream`] whose events are awaited.
///
/// ```no_run
/// # async fn f(map: bpfvisor::Map) -> bpfvisor::Result<()> {
/// let mut events = map.event_stream(1 << 16)?.into_async()?;
/// let event = events.next().await?;
/// println!("{} bytes from vCPU {}", event.data.len(), event.cpu);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncEventStream(AsyncFd<EventStream>);

/// What owns one descriptor for as long as it lives.
trait Source: AsRawFd {}
impl Source for RingBuffer {}
impl Source for EventStream {}

fn register<S: Source>(source: S) -> Result<AsyncFd<S>> {
    // SAFETY: a `Source` owns its bell's eventfd, answers with that descriptor
    // each time, and closes it when it is dropped. Nobody outside this file gets
    // `&mut` of it, by which another could be put into its place.
    let fd = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) };
    fd.map_err(|e| failed(e.into()))
}

fn failed(e: std::io::Error) -> crate::Error {
    HostError::Os {
        what: "wait for a record".into(),
        errno: e.raw_os_error().unwrap_or(libc::EIO),
    }
    .into()
}

impl RingBuffer {
    /// For tokio: to be called inside a runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) with what `epoll_ctl` answers.
    pub fn into_async(self) -> Result<AsyncRingBuffer> {
        register(self).map(AsyncRingBuffer)
    }
}

impl EventStream {
    /// For tokio: to be called inside a runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) with what `epoll_ctl` answers.
    pub fn into_async(self) -> Result<AsyncEventStream> {
        register(self).map(AsyncEventStream)
    }
}

impl AsyncRingBuffer {
    /// The next record. A wait that is given up loses none.
    ///
    /// # Errors
    /// [`Error::Guest`](crate::Error::Guest) when the VM has died, and there are
    /// no more records.
    pub async fn next(&mut self) -> Result<&[u8]> {
        while !self.0.get_mut().step() {
            if self.0.get_mut().arm() {
                self.0.get_ref().map().check_alive()?;
                self.0.readable().await.map_err(failed)?.clear_ready();
                self.0.get_mut().disarm();
            }
        }
        Ok(self.0.get_ref().record())
    }

    /// The next record, if there is one now.
    pub fn try_next(&mut self) -> Option<&[u8]> {
        self.0.get_mut().try_next()
    }

    /// The ring buffer, for its counters.
    pub fn get_ref(&self) -> &RingBuffer {
        self.0.get_ref()
    }
}

impl AsyncEventStream {
    /// The next event. A wait that is given up loses none.
    ///
    /// # Errors
    /// [`Error::Guest`](crate::Error::Guest) when the VM has died, and there are
    /// no more events.
    pub async fn next(&mut self) -> Result<Event<'_>> {
        loop {
            if let Some(cpu) = self.0.get_mut().step() {
                return Ok(self.0.get_ref().event(cpu));
            }
            if self.0.get_mut().arm() {
                self.0.get_ref().map().check_alive()?;
                self.0.readable().await.map_err(failed)?.clear_ready();
                self.0.get_mut().disarm();
            }
        }
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<Event<'_>> {
        self.0.get_mut().try_next()
    }

    /// The stream, for its counters.
    pub fn get_ref(&self) -> &EventStream {
        self.0.get_ref()
    }
}
