//! `login` and `logout`: credentials for a registry, tried by the daemon and kept in `config.json` or by a helper.

use std::io::{BufRead, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Map, Value, json};
use tare_docker_api::auth::{AuthConfig, AuthResponse};
use tare_docker_client::{Error, Query};

use crate::PROGRAM;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::config::ConfigFile;
use crate::credentials::{self, HUB};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `login`
pub static COMMAND: Command = Command {
    names: &["login"],
    usage: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    common: 8,
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[
        Flag::text("password", "Password or Personal Access Token (PAT), or \"-\" to read from stdin").short('p'),
        Flag::bool("password-stdin", "Take the Password or Personal Access Token (PAT) from stdin"),
        Flag::text("username", "Username").short('u'),
    ],
    run: |cli, m| Box::pin(login(cli, m)),
};

/// `logout`
pub static LOGOUT: Command = Command {
    names: &["logout"],
    usage: "[SERVER]",
    about: "Log out from a registry.\nIf no server is specified, the default is defined by the daemon.",
    common: 9,
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(logout(cli, m)),
};

/// Longest password that is read from stdin, in bytes.
const MAX_SECRET: u64 = 64 << 10;

async fn login(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (user, mut password) = (m.text("username").trim().to_owned(), m.text("password").to_owned());
    check_flags(m)?;
    if m.bool("password-stdin") || password == "-" {
        password = read_secret()?;
    } else if !password.is_empty() {
        cli.err.println("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")?;
    }
    let server = server_key(m.arg(0));
    let config = cli.config()?;
    if user.is_empty() && password.is_empty() {
        let stored =
            credentials::lookup(config, &server).await?.filter(|a| !a.username.is_empty() && !a.password.is_empty());
        if let Some(stored) = stored {
            cli.err.println(format!("Authenticating with existing credentials... [Username: {}]", stored.username))?;
            match authenticate(cli, &stored).await {
                Ok(answer) => return finish(cli, stored, answer).await,
                Err(error) if error.status() == Some(401) => {
                    cli.err.println("Stored credentials invalid or expired")?;
                }
                Err(error) => cli.err.println(format!("Login did not succeed, error: {error}"))?,
            }
        }
    }
    let auth = ask(cli, user, password, &server)?;
    let answer = authenticate(cli, &auth).await?;
    finish(cli, auth, answer).await
}

fn check_flags(m: &Matches) -> Result<(), CliError> {
    let (user, password) = (m.text("username"), m.text("password"));
    if m.given("password-stdin") || password == "-" {
        if m.given("password") && password != "-" {
            return Err(CliError::new("conflicting options: cannot specify both --password and --password-stdin"));
        }
        if !m.given("username") {
            return Err(CliError::new("the --password-stdin option requires --username to be set"));
        }
    }
    if m.given("username") && user.is_empty() {
        return Err(CliError::new("username is empty"));
    }
    if m.given("password") && password.is_empty() {
        return Err(CliError::new("password is empty"));
    }
    Ok(())
}

fn read_secret() -> Result<String, CliError> {
    let mut secret = String::new();
    std::io::stdin().lock().take(MAX_SECRET).read_to_string(&mut secret)?;
    let secret = secret.strip_suffix('\n').unwrap_or(&secret);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.trim().is_empty() {
        return Err(CliError::new("password is empty"));
    }
    Ok(secret.to_owned())
}

/// The key of a registry given as a name or address; Docker Hub's without one.
fn server_key(server: &str) -> String {
    match server {
        "" | "docker.io" => HUB.to_owned(),
        other => hostname(other).to_owned(),
    }
}

fn hostname(server: &str) -> &str {
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare)
}

/// Asks for what is missing.
fn ask(cli: &Cli, mut user: String, mut password: String, server: &str) -> Result<AuthConfig, CliError> {
    if (user.is_empty() || password.is_empty()) && !std::io::stdin().is_terminal() {
        return Err(CliError::new("error: cannot perform an interactive login from a non-TTY device"));
    }
    if user.is_empty() {
        cli.out.print("Username: ")?;
        user = read_line()?;
        if user.is_empty() {
            return Err(CliError::new("error: username is required"));
        }
    }
    if password.is_empty() {
        cli.out.print("Password: ")?;
        password = without_echo(read_line)?;
        cli.out.print("\n")?;
        if password.is_empty() {
            return Err(CliError::new("error: password is required"));
        }
    }
    Ok(AuthConfig { username: user, password, server_address: server.to_owned(), ..AuthConfig::default() })
}

fn read_line() -> Result<String, CliError> {
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_SECRET).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn without_echo<T>(read: impl FnOnce() -> Result<T, CliError>) -> Result<T, CliError> {
    let stdin = rustix::stdio::stdin();
    let saved = tcgetattr(stdin).map_err(std::io::Error::from)?;
    let mut silent = saved.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin, OptionalActions::Now, &silent).map_err(std::io::Error::from)?;
    let result = read();
    tcsetattr(stdin, OptionalActions::Now, &saved).map_err(std::io::Error::from)?;
    result
}

async fn authenticate(cli: &Cli, auth: &AuthConfig) -> Result<AuthResponse, Error> {
    let client = cli.client().map_err(|e| Error::Connect { text: e.message })?;
    client.post_json("/auth", Query::new(), auth).await
}

async fn finish(cli: &Cli, mut auth: AuthConfig, answer: AuthResponse) -> Result<i32, CliError> {
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identity_token = answer.identity_token;
    }
    let stored = store(cli, &auth).await;
    stored.map_err(|e| CliError::new(format!("error saving credentials: {e}")))?;
    if !answer.status.is_empty() {
        cli.out.println(answer.status)?;
    }
    Ok(0)
}

async fn store(cli: &Cli, auth: &AuthConfig) -> Result<(), CliError> {
    let mut config = cli.config()?.clone();
    let server = &auth.server_address;
    let helper = credentials::helper(&config, server).map(str::to_owned);
    let entry = match &helper {
        Some(helper) => {
            let (user, secret) = match auth.identity_token.is_empty() {
                true => (auth.username.as_str(), auth.password.as_str()),
                false => ("<token>", auth.identity_token.as_str()),
            };
            let document = json!({"ServerURL": server, "Username": user, "Secret": secret});
            credentials::run_helper(helper, "store", document.to_string().as_bytes()).await?;
            json!({})
        }
        None if auth.identity_token.is_empty() => {
            json!({"auth": credentials::encode(&auth.username, &auth.password)})
        }
        None => json!({"auth": credentials::encode(&auth.username, ""), "identitytoken": auth.identity_token}),
    };
    let auths = auths(&mut config)?;
    if auths.get(server) == Some(&entry) {
        return Ok(());
    }
    auths.insert(server.clone(), entry);
    config.save()?;
    if helper.is_none() && !auth.password.is_empty() {
        let file = config.path.display();
        cli.err.println(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{file}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n"
        ))?;
    }
    Ok(())
}

fn auths(config: &mut ConfigFile) -> Result<&mut Map<String, Value>, CliError> {
    let entry = config.values.entry("auths").or_insert_with(|| json!({}));
    entry.as_object_mut().ok_or_else(|| CliError::new("`auths` in the configuration file is not an object"))
}

async fn logout(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let server = m.arg(0);
    let mut config = cli.config()?.clone();
    // Also the spellings under which older versions kept credentials.
    let keys = match server {
        "" => vec![HUB.to_owned()],
        server => {
            let host = hostname(server);
            vec![server.to_owned(), host.to_owned(), format!("http://{host}"), format!("https://{host}")]
        }
    };
    cli.out.println(format!(
        "Removing login credentials for {}",
        if server.is_empty() { HUB } else { hostname(server) }
    ))?;
    let mut changed = false;
    for key in &keys {
        if let Some(helper) = credentials::helper(&config, key).map(str::to_owned)
            && let Err(error) = credentials::run_helper(&helper, "erase", key.as_bytes()).await
        {
            cli.err.println(format!("WARNING: could not erase credentials:\n{key}: {error}"))?;
        }
        if config.values.contains_key("auths") {
            changed |= auths(&mut config)?.remove(key).is_some();
        }
    }
    if changed {
        config.save()?;
    }
    if std::env::var_os("DOCKER_AUTH_CONFIG").is_some_and(|v| !v.is_empty()) {
        cli.warn(&format!(
            "DOCKER_AUTH_CONFIG is set and takes precedence. Unset it to restore the behaviour of {PROGRAM}."
        ))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> String {
        let args = line.split_whitespace().map(str::to_owned).collect();
        let matches = Matches::parse(&COMMAND, "login".to_owned(), args).unwrap_or_else(|e| panic!("{e:?}"));
        check_flags(&matches).map_or_else(|e| e.message, |()| "fine".to_owned())
    }

    #[test]
    fn flags() {
        assert_eq!(check("-u u --password-stdin"), "fine");
        assert_eq!(check("-u u -p -"), "fine");
        assert_eq!(
            check("-p x --password-stdin"),
            "conflicting options: cannot specify both --password and --password-stdin"
        );
        assert_eq!(check("--password-stdin"), "the --password-stdin option requires --username to be set");
        assert_eq!(check("--username="), "username is empty");
        assert_eq!(check("--password="), "password is empty");
    }

    #[test]
    fn servers() {
        assert_eq!(server_key(""), HUB);
        assert_eq!(server_key("docker.io"), HUB);
        assert_eq!(server_key("https://r.example:5000/v2/"), "r.example:5000");
        assert_eq!(server_key("r.example"), "r.example");
    }
}
