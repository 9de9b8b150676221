//! `completion`: the scripts by which shells complete this program's command lines. They ask the program
//! ([`crate::complete`]), so that they know what the daemon has.

use crate::PROGRAM;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

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

const BASH: &str = include_str!("../complete/scripts/tare.bash");
const FISH: &str = include_str!("../complete/scripts/tare.fish");
const ZSH: &str = include_str!("../complete/scripts/tare.zsh");

fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let shell = m.arg(0);
    match script(shell) {
        Some(script) => cli.out.print(script).map(|()| 0),
        None => Err(CliError::new(format!("unknown shell: {shell}: must be one of bash, fish, zsh"))),
    }
}

/// The script for a shell.
pub fn script(shell: &str) -> Option<String> {
    let script = match shell {
        "bash" => BASH,
        "fish" => FISH,
        "zsh" => ZSH,
        _ => return None,
    };
    Some(script.replace("@PROGRAM@", PROGRAM.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::source::SHELLS;

    #[test]
    fn every_shell_has_a_script() {
        for shell in SHELLS {
            let script = script(shell).unwrap_or_default();
            assert!(
                script.contains("__complete") && script.contains("tare") && !script.contains("@PROGRAM@"),
                "{shell}"
            );
        }
        assert_eq!(script("tcsh"), None);
    }
}
