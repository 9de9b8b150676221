//! `completion`: scripts that complete this program's command lines, made from the table of commands.

use clap::{Arg, ArgAction, Command as Clap};
use clap_complete::Shell;

use crate::PROGRAM;
use crate::app::GLOBAL_FLAGS;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::commands::{GROUPS, TABLE};
use crate::error::CliError;
use crate::flags::{Flag, Kind, Matches};

/// `completion`
pub static COMMAND: Command = Command {
    names: &["completion"],
    usage: "SHELL",
    about: "Generate the autocompletion script for the specified shell (bash, fish or zsh)",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { run(cli, m) }),
};

fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let shell = match m.arg(0) {
        "bash" => Shell::Bash,
        "fish" => Shell::Fish,
        "zsh" => Shell::Zsh,
        other => return Err(CliError::new(format!("unknown shell: {other}: must be one of bash, fish, zsh"))),
    };
    cli.out.write(&script(shell, cli.globals.local))?;
    Ok(0)
}

/// The script for a shell; `local` are commands besides those of the table.
pub fn script(shell: Shell, local: &'static [(&'static str, &'static str)]) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(local), PROGRAM, &mut script);
    script
}

/// The table of commands in clap's terms.
fn tree(local: &'static [(&'static str, &'static str)]) -> Clap {
    let mut root = Clap::new(PROGRAM)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .args(GLOBAL_FLAGS.iter().filter_map(argument));
    for (name, about) in local {
        root = root.subcommand(Clap::new(*name).about(*about));
    }
    root = root.subcommand(Clap::new("help").about("Help about the command"));
    root = root.subcommands(TABLE.iter().filter_map(|c| Some(leaf(c, c.name_in("")?))));
    for group in GROUPS {
        let commands = TABLE.iter().filter_map(|c| Some(leaf(c, c.name_in(group.name)?)));
        root = root.subcommand(Clap::new(group.name).about(group.about).disable_help_flag(true).subcommands(commands));
    }
    root
}

fn leaf(command: &Command, name: &'static str) -> Clap {
    let help = Arg::new("help").long("help").help("Print usage").action(ArgAction::SetTrue);
    let leaf = Clap::new(name).about(command.about).disable_help_flag(true).arg(help);
    leaf.args(command.flags.iter().filter_map(argument))
}

fn argument(flag: &Flag) -> Option<Arg> {
    if flag.hidden || flag.unsupported.is_some() {
        return None;
    }
    let action = match flag.kind {
        Kind::Bool => ArgAction::SetTrue,
        Kind::List | Kind::Commas => ArgAction::Append,
        _ => ArgAction::Set,
    };
    let mut argument = Arg::new(flag.long).long(flag.long).help(flag.help).action(action);
    if let Some(short) = flag.short {
        argument = argument.short(short);
    }
    Some(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_commands_and_flags() {
        tree(&[]).debug_assert();
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let script = String::from_utf8(script(shell, &[("daemon", "Run the engine")])).unwrap();
            for word in ["container", "inspect", "restart", "no-trunc", "daemon"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
