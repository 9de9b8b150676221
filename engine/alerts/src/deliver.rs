//! Handing a message to its target.

use std::process::{ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tare_docker_api::alert::AlertSpec;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::message::Message;

/// Longest talk with a target.
const TIMEOUT: Duration = Duration::from_secs(30);
const SMTP_PORT: u16 = 25;
const SMTPS_PORT: u16 = 465;

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Another try may go better.
    pub(crate) again: bool,
}

impl Refusal {
    fn later(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: true }
    }

    fn never(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: false }
    }
}

/// Delivers, or says why not.
pub(crate) async fn deliver(spec: &AlertSpec, message: &Message) -> Result<(), Refusal> {
    let work = async {
        if !spec.smtp.is_empty() {
            mail(spec, message).await
        } else if !spec.webhook.is_empty() {
            post(spec, message).await
        } else {
            return run(spec, message).await;
        }
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::later(format!("no answer within {} seconds", TIMEOUT.as_secs()))),
    }
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

fn ready_tls() {
    static PROVIDER: Once = Once::new();
    // Fails only if the process has chosen a provider already.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

async fn mail(spec: &AlertSpec, message: &Message) -> Result<(), Refusal> {
    ready_tls();
    let url = Url::parse(&spec.smtp).map_err(Refusal::never)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tls = TlsParameters::new(host.clone()).map_err(|error| Refusal::later(chain(&error)))?;
    let (tls, port) = match url.scheme() {
        "smtps" => (Tls::Wrapper(tls), SMTPS_PORT),
        _ => (Tls::Opportunistic(tls), SMTP_PORT),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(url.port().unwrap_or(port))
        .tls(tls)
        .timeout(Some(TIMEOUT));
    if !url.username().is_empty() {
        let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        transport = transport.credentials(Credentials::new(user, password));
    }
    let mail = compose(spec, message).map_err(Refusal::never)?;
    match transport.build().send(mail).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal { again: !error.is_permanent(), reason: chain(&error) }),
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn compose(spec: &AlertSpec, message: &Message) -> Result<lettre::Message, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let from = match spec.from.as_str() {
        "" => format!("tare@{}", message.host),
        from => from.to_owned(),
    };
    let mailbox = |address: &str| address.parse::<Mailbox>().map_err(|error| format!("{address}: {error}"));
    let mut mail = lettre::Message::builder()
        .from(mailbox(&from)?)
        .message_id(Some(format!("<{}@{}>", message.id, message.host)))
        .subject(message.subject())
        .header(header::ContentType::TEXT_PLAIN);
    for address in &spec.to {
        mail = mail.to(mailbox(address)?);
    }
    mail.body(message.text()).map_err(|error| text(&error))
}

async fn post(spec: &AlertSpec, message: &Message) -> Result<(), Refusal> {
    ready_tls();
    let client = reqwest::Client::builder()
        .user_agent(concat!("tare/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Refusal::later(chain(&error)))?;
    let body = serde_json::to_vec(message).map_err(Refusal::never)?;
    let request = client.post(&spec.webhook).header("content-type", "application/json").body(body);
    // The URL may hold a secret, and errors end up in the daemon's log.
    let answer = request.send().await.map_err(|error| Refusal::later(chain(&error.without_url())))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let again = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err(Refusal { reason: format!("the webhook answered {status}"), again })
}

async fn run(spec: &AlertSpec, message: &Message) -> Result<(), Refusal> {
    let words = shlex::split(&spec.exec).unwrap_or_default();
    let [program, arguments @ ..] = words.as_slice() else { return Err(Refusal::never("no command")) };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(environment(message))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Refusal::later(format!("{program}: {error}")))?;
    // Whatever the program has started ends with it, also when this is dropped half-way.
    let _group = child.id().map(Group);
    let body = serde_json::to_vec(message).map_err(Refusal::never)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read what it is given.
        let _ = stdin.write_all(&body).await;
    }
    let status: ExitStatus = child.wait().await.map_err(Refusal::later)?;
    if status.success() { Ok(()) } else { Err(Refusal::later(format!("{program}: {status}"))) }
}

/// Kills a process group when dropped.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw) {
            // Usually nobody is left.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

fn environment(message: &Message) -> Vec<(&'static str, String)> {
    vec![
        ("TARE_ALERT_ID", message.id.clone()),
        ("TARE_ALERT_NAME", message.alert.clone()),
        ("TARE_ALERT_EVENT", message.event.clone()),
        ("TARE_ALERT_TIME", message.time.clone()),
        ("TARE_ALERT_CONTAINER_ID", message.container.id.clone()),
        ("TARE_ALERT_CONTAINER_NAME", message.container.name.clone()),
        ("TARE_ALERT_IMAGE", message.container.image.clone()),
        ("TARE_ALERT_EXIT_CODE", message.exit_code.map(|code| code.to_string()).unwrap_or_default()),
        ("TARE_ALERT_SUPPRESSED", message.suppressed.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_passwords() {
        assert_eq!(decoded("a%40b%"), "a@b%");
    }

    #[test]
    fn mail_has_the_messages_id() {
        let spec = AlertSpec { to: vec!["Ops <ops@example.com>".into()], ..AlertSpec::default() };
        let message = Message { id: "77".into(), host: "box".into(), event: "die".into(), ..Message::default() };
        let mail = String::from_utf8(compose(&spec, &message).unwrap().formatted()).unwrap();
        assert!(mail.contains("Message-ID: <77@box>\r\n"), "{mail}");
        assert!(mail.contains("From: tare@box\r\n"), "{mail}");
    }
}
