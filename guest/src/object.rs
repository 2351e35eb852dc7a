//! Programs and maps by handle.
mod grace;
mod table;

pub use grace::Grace;
pub use table::{Object, Table};
