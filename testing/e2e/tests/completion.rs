//! What a shell completes: commands and flags, and the names of what there is.

use std::process::Command;

use tare_testkit::{Client, Console, Output, install};

/// What bash offers for a line that ends where the cursor is.
fn offered(c: &Console, line: &str) -> Vec<String> {
    let (program, host) = c.typed();
    let script = format!(
        r#"PATH={}:$PATH; source <("$1" completion bash); COMP_LINE=$2; COMP_POINT=${{#2}}; read -ra COMP_WORDS <<<"$2"
        [[ $2 != *' ' ]] || COMP_WORDS+=(''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        "$(complete -p tare | sed -E 's/.*-F ([^ ]+).*/\1/')" tare "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}""#,
        install::dist().display()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(program).arg(line).env("DOCKER_HOST", host);
    let output = Output::of(line, &mut command);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{output}");
    output.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_knows_commands_flags_and_names() {
    let c = &Console::new(Client::Tare);
    c.ok("alert add web-down --webhook http://127.0.0.1:1/");
    c.ok("alert add web-up --webhook http://127.0.0.1:1/");
    c.ok("create --name web busybox:1.29 true");
    c.ok("volume create data");
    assert!(offered(c, "tare al").contains(&"alert".to_owned()));
    assert!(offered(c, "tare alert ").contains(&"inspect".to_owned()));
    assert!(offered(c, "tare alert add --we").contains(&"--webhook".to_owned()));
    let (_, host) = c.typed();
    let elsewhere = format!("tare -H {host} alert inspect web-");
    for line in ["tare alert rm web-", elsewhere.as_str(), "tare alert test web-"] {
        assert_eq!(offered(c, line), ["web-down", "web-up"], "{line}");
    }
    assert!(!offered(c, "tare alert add web-").contains(&"web-up".to_owned()));
    assert!(offered(c, "tare rm --force ").contains(&"web".to_owned()));
    assert!(offered(c, "tare container inspect we").contains(&"web".to_owned()));
    assert!(offered(c, "tare volume rm da").contains(&"data".to_owned()));
    // Bash takes words apart at colons and equal signs: what is offered goes on after them.
    assert!(offered(c, "tare run busy").contains(&"busybox:1.29".to_owned()));
    assert!(offered(c, "tare run --restart=unl").contains(&"unless-stopped".to_owned()));
    assert_eq!(offered(c, "tare -H unix:///nosuch.sock volume rm da"), [""]);
    c.ok("volume rm data");
}
