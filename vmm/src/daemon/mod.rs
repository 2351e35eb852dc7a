//! One VM for other processes.
//!
//! A [`Server`] gives the clients of its socket the VM's shared memory and a ring
//! pair each on every vCPU. They run programs and read maps by themselves; what
//! makes or frees objects goes through the server, which keeps account.
//!
//! | part | modules |
//! |---|---|
//! | what is said | `wire`, over `socket` |
//! | the client's side | `link` |
//! | the server's side | `server` (who may come in), `session` (one client), `requests` (what it may ask), `table` (objects), `pairs`, `warden` (its watchdog) |
//!
//! **Invariant:** the server believes nothing that a client says, and nothing
//! in shared memory: clients are inside the VM's trust domain, the server is not.

mod link;
mod listener;
mod pairs;
mod requests;
mod server;
mod session;
mod socket;
mod table;
mod warden;
mod wire;

pub(crate) use link::{Link, connect};
pub use listener::{inherited, listen};
pub(crate) use pairs::Callers;
pub use server::{Ended, Policy, Server, Stopper};
pub use wire::Description;
