//! The commands: one file each, one line each in [`TABLE`].

use crate::command::{Command, Group};

pub mod rename;

/// Groups of commands.
pub static GROUPS: &[Group] = &[
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "image", about: "Manage images" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "system", about: "Manage Tare" },
    Group { name: "volume", about: "Manage volumes" },
];

/// All commands.
pub static TABLE: &[&Command] = &[
    // Containers, and what they are made from.
    // Containers: looking, stopping, removing.
    &rename::COMMAND,
];
