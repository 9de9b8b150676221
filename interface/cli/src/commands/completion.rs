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
    if shell == Shell::Bash {
        script.extend(names_in_bash().into_bytes());
    }
    script
}

/// What lists the things whose names an argument of a usage line is.
const LISTS: [(&str, &str); 4] = [
    ("CONTAINER", "ps --all --format '{{.Names}}'"),
    ("IMAGE", "images --format '{{.Repository}}:{{.Tag}}'"),
    ("NETWORK", "network ls --format '{{.Name}}'"),
    ("VOLUME", "volume ls --quiet"),
];

/// What lists the things that a command takes names of.
fn list_for(command: &Command) -> Option<&'static str> {
    let first = command.usage.split_whitespace().find(|word| !word.starts_with("[OPTIONS]"))?;
    // Only what there is already: `alert add` takes a new name.
    let alert = command.names.iter().any(|name| ["alert inspect", "alert rm", "alert test"].contains(name));
    if alert {
        return Some("alert ls --quiet");
    }
    let first = first.trim_matches(['[', ']', '.']);
    LISTS.iter().find(|(word, _)| *word == first).map(|(_, list)| *list)
}

/// For bash: a function around the generated one that adds the names of what there is.
fn names_in_bash() -> String {
    let mut lists: Vec<&str> = TABLE.iter().filter_map(|command| list_for(command)).collect();
    lists.sort_unstable();
    lists.dedup();
    let mut cases = String::new();
    for list in lists {
        let commands = TABLE.iter().filter(|command| list_for(command) == Some(list));
        let patterns: Vec<String> = commands
            .flat_map(|command| command.names)
            .map(|name| if name.contains(' ') { format!("'{name}'") } else { format!("'{name} '*") })
            .collect();
        cases.push_str(&format!("        {}) list=\"{list}\" ;;\n", patterns.join("|")));
    }
    let values: Vec<String> = GLOBAL_FLAGS
        .iter()
        .filter(|flag| flag.kind != Kind::Bool)
        .flat_map(|flag| [Some(format!("--{}", flag.long)), flag.short.map(|short| format!("-{short}"))])
        .flatten()
        .collect();
    NAMES_IN_BASH.replace("@VALUES@", &values.join("|")).replace("@CASES@", &cases).replace("@PROGRAM@", PROGRAM)
}

const NAMES_IN_BASH: &str = r#"
_@PROGRAM@_names() {
    _@PROGRAM@ "$@"
    local word first second value list current=${COMP_WORDS[COMP_CWORD]}
    [[ $current != -* ]] || return 0
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $value ]]; then value=
        elif [[ -z $first && $word =~ ^(@VALUES@)$ ]]; then value=yes
        elif [[ $word == -* ]]; then :
        elif [[ -z $first ]]; then first=$word
        elif [[ -z $second ]]; then second=$word
        fi
    done
    case "$first $second" in
@CASES@        *) return 0 ;;
    esac
    COMPREPLY+=($(compgen -W "$(eval "@PROGRAM@ $list" 2>/dev/null)" -- "$current"))
}
complete -F _@PROGRAM@_names -o bashdefault -o default @PROGRAM@
"#;

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
