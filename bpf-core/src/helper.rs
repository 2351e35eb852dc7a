//! Prototypes of the helper functions.
