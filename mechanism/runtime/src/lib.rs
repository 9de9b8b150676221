//! The container core: makes a container's world, starts its init, runs further processes in it.
//!
//! Everything that can be computed is computed before the clone, as data ([`plan`]), and everything that can be opened
//! is opened ([`prepare`]). The child ([`child`]) then only walks over it: no allocation, no locks, no logging. Its
//! failures come back as step, index and errno ([`step`]) and get their words here. There is no runtime underneath and
//! no daemon: the caller is any single-purpose process; it holds the pidfd and reaps.
//!
//! Read in this order: [`launch`] (create and start), [`exec`], [`plan`], [`prepare`], [`child`], [`step`], [`talk`]
//! (the parent's side of the conversation), [`hooks`], [`listener`], [`netdevices`], [`user`], [`userns`], [`error`].
#![forbid(unsafe_code)]

mod child;
mod error;
mod exec;
mod hooks;
mod launch;
mod listener;
mod netdevices;
mod plan;
mod prepare;
mod step;
mod talk;
mod user;
mod userns;

pub use error::{Error, ErrorKind};
pub use exec::{ExecTarget, exec};
pub use hooks::{HookKind, run_hooks};
pub use launch::{CgroupPlace, Created, Init, Launch, Stdio, create, start_time};
pub use plan::capabilities::capability_names;
pub use plan::options::mount_option_names;
pub use plan::scheduling::initial_cpu_mask;
pub use user::{User, resolve_user};
