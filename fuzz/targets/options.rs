//! Values of the command line's options, and files of variables.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tare_cli::opts::{
    csv, detach_keys, device, env, mount, network, number, platform, ports, security, ulimit, volume,
};
use tare_cli::values;

fuzz_target!(|text: &str| {
    let cwd = Path::new("/work");
    let _ = (csv::record(text).is_ok(), detach_keys::parse(text).is_ok(), platform::parse(text).is_ok());
    let _ = (mount::parse(text, cwd).is_ok(), volume::parse(text, cwd).is_ok(), network::parse(text).is_ok());
    let _ = (ports::parse(text).is_ok(), ports::publish(&[text.to_owned()]).is_ok(), ulimit::parse(text).is_ok());
    let _ = (device::parse(text).is_ok(), device::cgroup_rule(text).is_ok(), device::weight(text).is_ok());
    let _ = (device::bytes_per_second(text).is_ok(), device::operations_per_second(text).is_ok());
    let _ = (device::gpus(text).is_ok(), security::parse(&[text.to_owned()]).is_ok(), number::int(text).is_ok());
    let _ = (network::mac_address(text).is_ok(), env::check(text).is_ok(), values::parse_bool(text).is_ok());
    let _ =
        (values::parse_int(text, 64).is_ok(), values::parse_uint(text, 32).is_ok(), values::parse_cpus(text).is_ok());
    let _ = (values::parse_duration(text).is_ok(), values::parse_bytes(text).is_ok());
    let _ = env::to_map(&[text]);
    let _ = Path::new(values::quote(text).as_str()).is_absolute();
    let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("file");
    std::fs::write(file.path(), text).expect("file");
    let _ = env::files(&[file.path().display().to_string()], Some(&|_: &str| Some("found".to_owned())));
});
