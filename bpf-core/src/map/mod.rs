//! Map geometry and storage.
