//! One client: it has containers and volumes that nobody else touches, and so knows how they must be.

use std::sync::Arc;

use serde_json::{Value, json};
use tare_testkit::http::free_port;
use tare_testkit::{PAUSE, eventually};

use super::{Dice, Shared};

/// Containers of one client at a time.
const CONTAINERS: usize = 4;
/// Exit code of its execs.
const EXEC_CODE: i64 = 7;

/// What is known of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was answered.
    Is(&'static str),
    /// The daemon died with the answer.
    Unsure,
}

#[derive(Debug)]
struct Own {
    /// Empty while the answer to its creation is unknown.
    id: String,
    names: Vec<String>,
    known: Known,
    /// The exit code, if it is one that we know.
    code: Option<i64>,
    pid: Option<i64>,
    /// Whether it is on the second network, if that is known.
    connected: Option<bool>,
    /// Execs that were answered and whose end was not seen.
    execs: Vec<String>,
    /// It was to be removed while it was paused: a signal may wait for it to go on.
    doomed: bool,
}

/// The client.
#[derive(Debug)]
pub struct Worker {
    number: u64,
    dice: Dice,
    shared: Arc<Shared>,
    daemon: u64,
    last: u64,
    containers: Vec<Own>,
    /// Containers that were removed, or remove themselves.
    gone: Vec<String>,
    volumes: Vec<(String, Known)>,
    ports: Vec<u16>,
}

impl Worker {
    pub fn new(number: u64, dice: Dice, shared: Arc<Shared>) -> Self {
        Self {
            number,
            dice,
            shared,
            daemon: 0,
            last: 0,
            containers: Vec::new(),
            gone: Vec::new(),
            volumes: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Goes on until the storm is over, then removes everything; returns the ports that were in use.
    pub fn run(&mut self) -> Vec<u16> {
        while !self.shared.is_over() {
            self.check();
            self.act();
        }
        self.daemon = u64::MAX;
        eventually("everything to be as it was said", || {
            self.check();
            (self.containers.iter().all(|own| own.known != Known::Unsure)
                && self.volumes.iter().all(|volume| volume.1 != Known::Unsure)
                && self.daemon == self.shared.daemons())
            .then_some(())
        });
        for own in std::mem::take(&mut self.containers) {
            self.expect(&format!("DELETE /containers/{}?force=1&v=1", own.id), "", &[204]);
            self.gone.push(own.id);
        }
        for (name, _) in std::mem::take(&mut self.volumes) {
            self.expect(&format!("DELETE /volumes/{name}"), "", &[204]);
        }
        for id in &self.gone {
            eventually(&format!("container {id} to be gone"), || {
                (self.shared.ask(&format!("GET /containers/{id}/json"), "")?.0 == 404).then_some(())
            });
        }
        std::mem::take(&mut self.ports)
    }

    /// Asks; nothing when there is no answer. Any other answer is a mistake of the engine's.
    fn expect(&self, line: &str, body: &str, statuses: &[u16]) -> Option<Value> {
        let (status, answer) = self.shared.ask(line, body)?;
        assert!(statuses.contains(&status), "{line} {body}: {status} {answer}");
        Some(answer)
    }

    fn name(&mut self) -> String {
        self.last += 1;
        format!("w{}-{}", self.number, self.last)
    }

    fn act(&mut self) {
        if self.containers.len() < CONTAINERS && self.dice.once_in(2) {
            return self.create();
        }
        if self.dice.once_in(6) {
            return self.volume();
        }
        if self.containers.is_empty() {
            return;
        }
        let index = usize::try_from(self.dice.below(self.containers.len() as u64)).expect("an index");
        match self.containers[index].known {
            Known::Unsure => self.look(index),
            Known::Is("created" | "exited") => match self.dice.below(4) {
                0 => self.remove(index),
                1 => self.rename(index),
                _ => self.change(index, "start", "running", None),
            },
            Known::Is("paused") => match self.dice.below(3) {
                0 => self.remove(index),
                _ => self.change(index, "unpause", "running", None),
            },
            Known::Is(_) => match self.dice.below(9) {
                0 => self.remove(index),
                1 => self.rename(index),
                2 => self.change(index, "stop?t=0", "exited", Some(137)),
                3 => self.change(index, "kill", "exited", Some(137)),
                4 => self.change(index, "pause", "paused", None),
                5 => self.change(index, "restart?t=0", "running", None),
                6 => self.connect(index),
                _ => self.exec(index),
            },
        }
    }

    fn create(&mut self) {
        let name = self.name();
        let mut host = json!({ "NetworkMode": if self.dice.once_in(2) { "storm" } else { "bridge" } });
        let mut config = json!({ "Image": "busybox:1.29", "Cmd": ["sleep", "100000"] });
        if self.dice.once_in(3) {
            config["Volumes"] = json!({ "/data": {} });
        }
        if self.dice.once_in(3) {
            let port = free_port();
            self.ports.push(port);
            config["ExposedPorts"] = json!({ "80/tcp": {} });
            host["PortBindings"] = json!({ "80/tcp": [{ "HostPort": port.to_string() }] });
        }
        config["HostConfig"] = host;
        let answer = self.expect(&format!("POST /containers/create?name={name}"), &config.to_string(), &[201]);
        let id = answer.as_ref().and_then(|answer| answer["Id"].as_str()).unwrap_or_default().to_owned();
        let known = if id.is_empty() { Known::Unsure } else { Known::Is("created") };
        let own = Own {
            id,
            names: vec![name],
            known,
            code: None,
            pid: None,
            connected: Some(false),
            execs: Vec::new(),
            doomed: false,
        };
        self.containers.push(own);
    }

    fn change(&mut self, index: usize, action: &str, status: &'static str, code: Option<i64>) {
        let line = format!("POST /containers/{}/{action}", self.containers[index].id);
        let answered = self.expect(&line, "", &[204]).is_some();
        let own = &mut self.containers[index];
        let doomed = std::mem::take(&mut own.doomed);
        own.known = if answered && !doomed { Known::Is(status) } else { Known::Unsure };
        own.code = code.filter(|_| answered);
        if !matches!(action, "pause" | "unpause") {
            own.pid = None;
            own.execs.clear();
        }
    }

    fn remove(&mut self, index: usize) {
        let line = format!("DELETE /containers/{}?force=1&v=1", self.containers[index].id);
        if self.expect(&line, "", &[204]).is_some() {
            let own = self.containers.swap_remove(index);
            self.gone.push(own.id);
        } else {
            // It may have been killed for it, with what runs in it, and yet be there to be started again.
            let own = &mut self.containers[index];
            own.doomed = own.known == Known::Is("paused");
            own.known = Known::Unsure;
            own.execs.clear();
        }
    }

    fn rename(&mut self, index: usize) {
        let name = self.name();
        let line = format!("POST /containers/{}/rename?name={name}", self.containers[index].id);
        let answered = self.expect(&line, "", &[204]).is_some();
        let own = &mut self.containers[index];
        if answered {
            own.names.clear();
        }
        own.names.push(name);
    }

    fn connect(&mut self, index: usize) {
        let own = &self.containers[index];
        let Some(connected) = own.connected else { return };
        let action = if connected { "disconnect" } else { "connect" };
        let body = json!({ "Container": own.id }).to_string();
        let answered = self.expect(&format!("POST /networks/other/{action}"), &body, &[200]).is_some();
        self.containers[index].connected = answered.then_some(!connected);
    }

    fn exec(&mut self, index: usize) {
        let command = format!("sleep 0.0{}; exit {EXEC_CODE}", self.dice.below(10));
        let body = json!({ "Cmd": ["sh", "-c", command] }).to_string();
        let line = format!("POST /containers/{}/exec", self.containers[index].id);
        let Some(answer) = self.expect(&line, &body, &[201]) else { return };
        let id = answer["Id"].as_str().expect("an ID").to_owned();
        let start = json!({ "Detach": true }).to_string();
        // An exec that was answered for is there for the next daemon, too.
        let mut started = self.expect(&format!("POST /exec/{id}/start"), &start, &[200]).is_some();
        if !started {
            while self.shared.ask("GET /_ping", "").is_none() && self.daemon == self.shared.daemons() {}
            let Some((status, answer)) = self.shared.ask(&format!("GET /exec/{id}/json"), "") else { return };
            assert_eq!(status, 200, "{answer}");
            started = answer["Running"] == json!(true) || !answer["ExitCode"].is_null();
        }
        if started {
            self.containers[index].execs.push(id);
        }
        if self.dice.once_in(2) {
            self.look(index);
        }
    }

    fn volume(&mut self) {
        if self.dice.once_in(2) || self.volumes.is_empty() {
            let name = self.name();
            let answered = self.expect("POST /volumes/create", &json!({ "Name": name }).to_string(), &[201]).is_some();
            self.volumes.push((name, if answered { Known::Is("there") } else { Known::Unsure }));
            return;
        }
        let (name, _) = self.volumes.swap_remove(0);
        if self.expect(&format!("DELETE /volumes/{name}"), "", &[204, 404]).is_none() {
            self.volumes.push((name, Known::Unsure));
        }
    }

    /// After the daemon was killed: is everything as it was said?
    fn check(&mut self) {
        let daemon = self.shared.daemons();
        if daemon == self.daemon {
            return;
        }
        self.daemon = daemon;
        for index in (0..self.containers.len()).rev() {
            self.look(index);
        }
        for index in (0..self.volumes.len()).rev() {
            let (name, known) = &self.volumes[index];
            let Some((status, answer)) = self.shared.ask(&format!("GET /volumes/{name}"), "") else { continue };
            assert!(status == 200 || *known == Known::Unsure, "volume {name}: {status} {answer}");
            if status == 200 {
                self.volumes[index].1 = Known::Is("there");
            } else {
                self.volumes.swap_remove(index);
            }
        }
        if let Some(id) = self.gone.last()
            && let Some((status, answer)) = self.shared.ask(&format!("GET /containers/{id}/json"), "")
        {
            assert_eq!(status, 404, "a removed container is back: {answer}");
        }
    }

    /// Looks at a container. One that may not be there, and is not, is forgotten.
    fn look(&mut self, index: usize) {
        if self.containers[index].known == Known::Unsure {
            // A signal that nobody was told of may still be on its way: what it does is there a moment later.
            std::thread::sleep(PAUSE * 5);
        }
        let own = &mut self.containers[index];
        let reference = if own.id.is_empty() { &own.names[0] } else { &own.id };
        let Some((status, seen)) = self.shared.ask(&format!("GET /containers/{reference}/json"), "") else { return };
        if status == 404 && own.known == Known::Unsure {
            let own = self.containers.swap_remove(index);
            self.gone.extend(Some(own.id).filter(|id| !id.is_empty()));
            return;
        }
        assert_eq!(status, 200, "{own:?}: {seen}");
        own.id = seen["Id"].as_str().expect("an ID").to_owned();
        let name = seen["Name"].as_str().unwrap_or_default().trim_start_matches('/');
        assert!(own.names.iter().any(|own| own == name), "{own:?} is called {name}");
        own.names = vec![name.to_owned()];
        let state = &seen["State"];
        let status = ["created", "running", "paused", "exited"].into_iter().find(|status| state["Status"] == *status);
        let status = status.unwrap_or_else(|| panic!("{own:?}: {state}"));
        let unsure = own.known == Known::Unsure;
        assert!(unsure || own.known == Known::Is(status), "{own:?}: {state}");
        own.known = Known::Is(status);
        if let Some(code) = own.code {
            assert_eq!(state["ExitCode"], json!(code), "{own:?}: {state}");
        }
        let alive = matches!(status, "running" | "paused");
        let pid = state["Pid"].as_i64().filter(|pid| *pid > 0);
        assert_eq!(alive, pid.is_some(), "{own:?}: {state}");
        assert!(unsure || own.pid.is_none() || own.pid == pid, "{own:?}: {state}");
        own.pid = pid;
        let connected = seen["NetworkSettings"]["Networks"].get("other").is_some();
        assert!(own.connected.is_none_or(|known| known == connected), "{own:?}: {seen}");
        own.connected = Some(connected);
        if status == "running" {
            self.look_at_execs(index);
        }
    }

    /// Every exec that was started has its exit code, whoever was there to see it.
    fn look_at_execs(&mut self, index: usize) {
        while let Some(id) = self.containers[index].execs.last().cloned() {
            let Some((status, seen)) = self.shared.ask(&format!("GET /exec/{id}/json"), "") else { return };
            assert_eq!(status, 200, "{seen}");
            if seen["Running"] == json!(true) {
                std::thread::sleep(PAUSE);
                continue;
            }
            assert_eq!(seen["ExitCode"], json!(EXEC_CODE), "{seen}");
            self.containers[index].execs.pop();
        }
    }
}
