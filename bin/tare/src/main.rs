//! The program `tare`: the command line, the daemon (`tare daemon`) and the OCI runtime (`tare oci`). Wiring only.
#![forbid(unsafe_code)]

mod daemon;
mod man;
mod oci;

use std::ffi::OsString;
use std::process::ExitCode;

use tare_cli::Invocation;

/// Commands that are not the client's.
const LOCAL: &[(&str, &str)] =
    &[("daemon", "Run the engine"), ("oci", "Run containers from OCI bundles, without the engine")];

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    let program = if args.is_empty() { OsString::new() } else { args.remove(0) };
    match args.first().and_then(|first| first.to_str()) {
        Some("daemon") => {
            args.remove(0);
            daemon::main(args)
        }
        Some("oci") => {
            args.remove(0);
            oci::main(args)
        }
        Some("man") => man::main(args.get(1..).unwrap_or_default()),
        _ => {
            let executable = std::env::current_exe().ok();
            let code = tare_cli::main(Invocation { program, args, executable, local: LOCAL });
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
    }
}
