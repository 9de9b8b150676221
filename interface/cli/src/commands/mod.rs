//! The commands: one file each, one line each in [`TABLE`].

use crate::command::{Command, Group};

pub mod alert;
pub mod attach;
pub mod build;
mod build_stdin;
mod builder_prune;
pub mod commit;
pub mod cp;
pub mod create;
pub mod exec;
pub mod export;
pub mod foreign;
pub mod import;
pub mod load;
pub mod logs;
pub mod manifest;
pub mod pull;
pub mod push;
pub mod run;
pub mod save;
pub mod start;

pub mod common;
pub mod completion;
pub mod container_prune;
pub mod context_change;
pub mod contexts;
pub mod df;
mod dial_stdio;
pub mod diff;
pub mod events;
pub mod history;
pub mod image_prune;
pub mod images;
pub mod images_tree;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod login;
pub mod network;
pub mod network_create;
pub mod pause;
pub mod port;
pub mod ps;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod search;
pub mod stats;
pub mod stop;
pub mod system_prune;
pub mod tag;
pub mod top;
pub mod unpause;
pub mod update;
pub mod version;
pub mod volume;
pub mod wait;

/// Groups of commands.
pub static GROUPS: &[Group] = &[
    Group {
        name: "alert",
        about: "Manage alerts: mail, webhooks and programs that are told what happens to containers",
    },
    Group { name: "builder", about: "Manage builds" },
    Group { name: "container", about: "Manage containers" },
    Group { name: "context", about: "Manage contexts" },
    Group { name: "image", about: "Manage images" },
    Group { name: "manifest", about: "Manage Docker image manifests and manifest lists" },
    Group { name: "network", about: "Manage networks" },
    Group { name: "system", about: "Manage Tare" },
    Group { name: "volume", about: "Manage volumes" },
];

/// Commands that no help shows: programs type them.
pub static HIDDEN: &[&Command] = &[&dial_stdio::COMMAND];

/// All commands.
pub static TABLE: &[&Command] = &[
    // Containers, and what they are made from.
    &attach::COMMAND,
    &build::COMMAND,
    &commit::COMMAND,
    &cp::COMMAND,
    &create::COMMAND,
    &exec::COMMAND,
    &export::COMMAND,
    &import::COMMAND,
    &load::COMMAND,
    &logs::COMMAND,
    &pull::COMMAND,
    &push::COMMAND,
    &run::COMMAND,
    &save::COMMAND,
    &start::COMMAND,
    // Containers: looking, stopping, removing.
    &container_prune::COMMAND,
    // Images.
    &builder_prune::COMMAND,
    &history::COMMAND,
    &image_prune::COMMAND,
    &images::COMMAND,
    &manifest::ANNOTATE,
    &manifest::CREATE,
    &manifest::INSPECT,
    &manifest::PUSH,
    &manifest::REMOVE,
    &rmi::COMMAND,
    &tag::COMMAND,
    // Networks and volumes.
    &network::CONNECT,
    &network::DISCONNECT,
    &network::LIST,
    &network::PRUNE,
    &network::REMOVE,
    &network_create::COMMAND,
    &volume::CREATE,
    &volume::LIST,
    &volume::PRUNE,
    &volume::REMOVE,
    // Alerts.
    &alert::ADD,
    &alert::INSPECT,
    &alert::LIST,
    &alert::REMOVE,
    &alert::TEST,
    // The engine and this program.
    &completion::COMMAND,
    &context_change::CREATE,
    &context_change::EXPORT,
    &context_change::IMPORT,
    &context_change::REMOVE,
    &context_change::UPDATE,
    &contexts::INSPECT,
    &contexts::LIST,
    &contexts::SHOW,
    &contexts::USE,
    &df::COMMAND,
    &events::COMMAND,
    &info::COMMAND,
    &login::COMMAND,
    &login::LOGOUT,
    &search::COMMAND,
    &system_prune::COMMAND,
    &version::COMMAND,
    // Anything.
    &inspect::COMMAND,
    &inspect::CONTAINER,
    &inspect::IMAGE,
    &inspect::NETWORK,
    &inspect::VOLUME,
    &diff::COMMAND,
    &kill::COMMAND,
    &pause::COMMAND,
    &port::COMMAND,
    &ps::COMMAND,
    &rename::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &stats::COMMAND,
    &stop::COMMAND,
    &top::COMMAND,
    &unpause::COMMAND,
    &update::COMMAND,
    &wait::COMMAND,
];
