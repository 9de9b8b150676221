//! Questions before something is removed: what ends the program is a no, in good order.

use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn an_interrupt_is_a_no() {
    let home = tempfile::tempdir().unwrap();
    for signal in ["INT", "TERM"] {
        let mut tare = Command::new(env!("CARGO_BIN_EXE_tare"))
            .args(["-H", "unix:///nowhere", "volume", "prune"])
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = tare.stdout.take().unwrap();
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"[y/N] ") {
            assert_eq!(out.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        let killed = Command::new("kill").args(["-s", signal, &tare.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!((tare.wait().unwrap().code(), rest.as_str()), (Some(0), "\n"), "{signal}");
    }
}
