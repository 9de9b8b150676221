//! tare-sys

pub mod bpf;
pub mod errno;
pub mod kill;
pub mod network;
