//! What a registry says in the heads of its answers, and its lists.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| tare_registry::fuzzing::read(text));
