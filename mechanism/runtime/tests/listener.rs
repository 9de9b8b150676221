//! System calls that a filter leaves to an agent: what the agent gets, and who fails without one.

mod common;

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use common::{Bundle, Running, script, try_run, with};
use serde_json::{Value, json};
use tare_oci_runtime::Spec;

/// Asks the agent at this path about mkdir.
fn asking(spec: Spec, path: &str, no_new_privileges: bool) -> Spec {
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "words",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
    let process = json!({"noNewPrivileges": no_new_privileges});
    with(spec, json!({"process": process, "linux": {"seccomp": seccomp}, "annotations": {"a": "b"}}))
}

/// An agent that wants one descriptor only, and answers nothing.
fn agent(path: &Path) -> JoinHandle<(Value, Vec<OwnedFd>)> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let (length, fds) = tare_sys::socket::recv_with_fds(&connection, &mut buffer).unwrap();
        (serde_json::from_slice(&buffer[..length]).unwrap(), fds)
    })
}

/// The one descriptor is what it should be, and its end is that of all who wait for an answer.
#[track_caller]
fn close(fds: Vec<OwnedFd>) {
    let [fd] = <[OwnedFd; 1]>::try_from(fds).unwrap();
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    assert_eq!(link, Path::new("anon_inode:seccomp notify"));
}

#[test]
fn the_agent_gets_the_descriptor_and_the_state() {
    for no_new_privileges in [false, true] {
        let bundle = Bundle::new();
        let socket = bundle.path().join("agent");
        let agent = agent(&socket);
        let text = "ls /proc/self/fd | wc -l; mkdir /tmp/x";
        let spec = asking(script(text), socket.to_str().unwrap(), no_new_privileges);
        let container = std::thread::scope(|scope| {
            let container = scope.spawn(|| try_run(&bundle, &spec).unwrap());
            let (mut state, fds) = agent.join().unwrap();
            close(fds);
            let pid = state["pid"].take();
            assert!(pid.as_i64().unwrap() > 0);
            assert_eq!(state["state"]["pid"].take(), pid);
            let bundle = bundle.path();
            assert_eq!(
                state,
                json!({"ociVersion": "1.2.1", "fds": ["seccompFd"], "pid": null, "metadata": "words",
                    "state": {"ociVersion": "1.2.1", "id": "test", "status": "creating", "pid": null,
                        "bundle": bundle, "annotations": {"a": "b"}}})
            );
            container.join().unwrap()
        });
        assert_ne!(container.code, 0);
        assert!(container.stderr.contains("Function not implemented"), "{container:?}");
        // Three streams and the directory itself: the process has nothing of it.
        assert_eq!(container.stdout.trim(), "4");
    }
}

#[test]
fn another_process_has_a_descriptor_of_its_own() {
    let bundle = Bundle::new();
    let (first, second) = (bundle.path().join("first"), bundle.path().join("second"));
    let agent_of_init = agent(&first);
    let mut container = Running::new(&bundle, asking(script(""), first.to_str().unwrap(), true));
    close(agent_of_init.join().unwrap().1);
    container.spec = asking(script(""), second.to_str().unwrap(), true);
    let agent_of_exec = agent(&second);
    let process = container.process(&["mkdir", "/tmp/x"]);
    let output = std::thread::scope(|scope| {
        let output = scope.spawn(|| container.try_exec(&bundle, &process).unwrap());
        let (state, fds) = agent_of_exec.join().unwrap();
        close(fds);
        assert_eq!(
            (&state["state"]["status"], &state["state"]["pid"]),
            (&json!("running"), &json!(container.init.pid))
        );
        assert_ne!(state["pid"], state["state"]["pid"]);
        output.join().unwrap()
    });
    assert!(output.stderr.contains("Function not implemented"), "{output:?}");
}

#[test]
fn without_an_agent_there_is_no_container() {
    let bundle = Bundle::new();
    let error = |path: &str| try_run(&bundle, &asking(script("true"), path, false)).unwrap_err().to_string();
    assert_eq!(error(""), "seccomp: SCMP_ACT_NOTIFY needs a listenerPath");
    assert_eq!(error("/nonexistent"), "failed to connect with seccomp agent `/nonexistent`: no such file or directory");
    assert_eq!(error("@nonexistent"), "failed to connect with seccomp agent `@nonexistent`: connection refused");
    // An agent that is not asked for is nobody's business.
    let unused = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent"}}});
    assert_eq!(try_run(&bundle, &with(script("true"), unused)).unwrap().code, 0);
}
