//! End-to-end tests: what a person types on a first day with the engine, each line with `tare` and with the unmodified
//! `docker` client. They are in `tests`, a file per section of the story; they need root, `cargo xtask build` and the
//! images of `images/make`.
#![forbid(unsafe_code)]
