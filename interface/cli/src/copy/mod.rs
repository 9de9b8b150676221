//! Files to and from containers and builds: what `cp` and `build` are made of.
//!
//! * [`paths`]: which argument is what, and where a copy ends up under which name: docker's rules, as pure text
//! * [`local`]: what the machine says about a source or a destination
//! * [`pack`]: a local tree into an archive, for a build without what [`ignore`] says; [`unpack`]: an archive into a local directory and nowhere else
//! * [`progress`]: how much has been copied

pub mod local;
pub mod pack;
pub mod paths;
pub mod progress;
pub mod unpack;
