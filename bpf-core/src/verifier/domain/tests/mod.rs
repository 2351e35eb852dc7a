#![allow(clippy::unwrap_used, clippy::panic)]

//! The domain against concrete execution: every set and member of small
//! registers, many of full-sized ones.

mod concrete;
mod exhaustive;
mod full_width;
mod precision;
mod regressions;
mod text;
mod tnum;
