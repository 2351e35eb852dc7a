//! BPF programs in hardware isolation.
