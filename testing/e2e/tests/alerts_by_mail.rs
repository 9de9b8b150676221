//! Alerts by mail, with a mail server that is not ours: what people read is what was meant.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tare_testkit::{Client, Console, PATIENCE, http, install};

/// aiosmtpd; ended when dropped.
struct MailServer {
    child: Child,
    mails: Receiver<Value>,
    address: String,
}

impl MailServer {
    /// `wants` is that of `mail_server.py`.
    fn start(wants: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let certificates = install::root().join("mechanism/registry/tests/common");
        let port = http::free_port();
        // Debian's, which sees Debian's packages.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(here.join("mail_server.py")).arg(port.to_string()).arg(wants);
        if wants == "tls" {
            command.arg(certificates.join("localhost.crt")).arg(certificates.join("localhost.key"));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (sender, mails) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test may be over.
                let _ = sender.send(serde_json::from_str(&line).expect("a document"));
            }
        });
        let server = Self { child, mails, address: format!("127.0.0.1:{port}") };
        assert!(server.mails.recv_timeout(PATIENCE).is_ok(), "no mail server: is python3-aiosmtpd installed?");
        server
    }

    fn mail(&self) -> Value {
        self.mails.recv_timeout(PATIENCE).expect("a mail")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn console() -> Console {
    Console::new(Client::Tare)
}

#[test]
fn people_read_what_was_written() {
    let c = &console();
    let server = MailServer::start("open");
    let to = "--to ops@example.com --to later@example.com --from 'The Engine <engine@example.com>'";
    c.ok(&format!("alert add ops --on die --lines 5 --smtp smtp://{} {to}", server.address));
    // A dot alone ends a mail, long lines and umlauts do not fit into one as they are.
    let script = "echo Größe; echo .; echo .dot; printf %03000d 7; echo; echo From here; exit 3";
    assert_eq!(c.run(&format!("run --name web busybox:1.29 sh -c '{script}'")).status, 3);
    // Refused once for one of them, and delivered to both.
    let mail = server.mail();
    assert_eq!(mail["from"], "engine@example.com");
    assert_eq!(mail["to"], serde_json::json!(["ops@example.com", "later@example.com"]));
    let headers = &mail["headers"];
    assert_eq!(headers["From"], "The Engine <engine@example.com>");
    assert_eq!(headers["To"], "ops@example.com, later@example.com");
    assert!(headers["Subject"].as_str().is_some_and(|subject| subject.ends_with("web: die (exit code 3)")), "{mail}");
    assert!(headers["Message-ID"].as_str().is_some_and(|id| id.starts_with('<') && id.ends_with('>')), "{mail}");
    assert!(headers["Date"].is_string(), "{mail}");
    let body = mail["body"].as_str().expect("a text").replace("\r\n", "\n");
    for line in ["\n  Größe\n", "\n  .\n", "\n  .dot\n", "\n  From here\n"] {
        assert!(body.contains(line), "{line:?}: {body}");
    }
    assert!(body.contains(&"0".repeat(1990)), "a long line is cut at 2000 characters, not broken: {body}");
    c.until("alert inspect ops --format '{{.Sent}} {{.Failed}} {{.Waiting}}'", |counts| counts == "1 0 0");
}

#[test]
fn who_is_refused_for_good_is_not_written_to_again() {
    let c = &console();
    let server = MailServer::start("open");
    c.ok(&format!("alert add ops --on die --smtp smtp://{} --to never@example.com", server.address));
    let said = c.fails("alert test ops", 1);
    assert!(said.contains("nobody of that name"), "{said}");
    c.ok("run --name web busybox:1.29 true");
    c.until("alert inspect ops --format '{{.Sent}} {{.Failed}} {{.Waiting}}'", |counts| counts == "0 1 0");
    assert!(c.ok("alert inspect ops --format {{.LastError}}").contains("nobody of that name"));
    assert!(server.mails.try_recv().is_err());
}

#[test]
fn logins_and_certificates_count() {
    let c = &console();
    let server = MailServer::start("login");
    let to = "--to ops@example.com";
    c.ok(&format!("alert add good --smtp smtp://me:p%C3%A4ssw%C3%B6rd%40@{} {to}", server.address));
    assert_eq!(c.ok("alert test good"), "good");
    assert_eq!(server.mail()["to"][0], "ops@example.com");
    for login in ["me:wrong@", ""] {
        c.ok(&format!("alert add bad --smtp smtp://{login}{} {to}", server.address));
        let said = c.fails("alert test bad", 1);
        assert!(said.contains("alert bad: "), "{said}");
        assert!(!said.contains("wrong"), "{said}");
        c.ok("alert rm bad");
    }
    assert!(server.mails.try_recv().is_err());
    // STARTTLS is offered, with a certificate that nobody vouches for.
    let server = MailServer::start("tls");
    let port = server.address.rsplit(':').next().expect("a port");
    c.ok(&format!("alert add tls --smtp smtp://localhost:{port} {to}"));
    let said = c.fails("alert test tls", 1);
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    assert!(server.mails.try_recv().is_err());
}
