//! Readers of what the command line is given, so far as it may be hostile: no part
//! of the API, and public only so that fuzz targets reach them.
#![allow(missing_docs)]

pub mod capture;
pub mod question;
