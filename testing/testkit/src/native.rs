//! Programs in C, for what no shell can do: single system calls, and libraries that are loaded into others.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Output;

/// Compiles a program that needs nothing around it.
///
/// # Panics
/// When it does not compile.
pub fn program(source: &str, to: &Path) {
    compile(source, to, &["-static"]);
}

/// Compiles a shared library.
///
/// # Panics
/// When it does not compile.
pub fn library(source: &str, to: &Path) {
    compile(source, to, &["-shared", "-fPIC"]);
}

fn compile(source: &str, to: &Path, flags: &[&str]) {
    let file = to.with_extension("c");
    fs::write(&file, source).expect("source file");
    let output = Output::of("cc", Command::new("cc").args(flags).arg("-o").arg(to).arg(&file));
    assert_eq!(output.status, 0, "{output}");
    fs::remove_file(file).expect("source file");
}
