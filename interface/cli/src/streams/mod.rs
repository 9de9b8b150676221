//! Attached streams and terminals.
