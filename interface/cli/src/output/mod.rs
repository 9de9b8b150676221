//! Output of commands.
//!
//! * [`rows`]: lists as tables or through templates, from [`rows::Row`]s
//! * [`tabs`], columns that line up
//! * [`inspect`]: `inspect` of anything; [`schema`]: what Go's types look like to a template
//! * [`text`]: sizes, times, IDs, names for people

pub mod inspect;
pub mod rows;
pub mod schema;
pub mod tabs;
pub mod text;
