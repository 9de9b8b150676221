//! Terminals and attached streams: what `run`, `exec`, `attach`, `start`, `logs` and `cp` have in common.
//!
//! * [`input`]: standard input; [`terminal`]: raw mode that is undone whatever happens
//! * [`demux`]: frames to stdout and stderr; [`escape`]: the keys that detach
//! * [`pump`]: a taken-over connection, both ways, until it ends
//! * [`session`]: a container started with its streams attached
//! * [`signals`]: what the client receives goes to the container; [`resize`]: so does the window's size
//! * [`transfer`]: bodies to files and files to bodies

pub mod demux;
pub mod escape;
pub mod input;
pub mod pump;
pub mod resize;
pub mod session;
pub mod signals;
pub mod terminal;
pub mod transfer;
