//! Output of commands.
