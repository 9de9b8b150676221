//! The OCI runtime's configuration: read leniently, and what is written is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_oci_runtime::{Spec, State};

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<State>(data);
    let Ok(spec) = Spec::from_slice(data) else { return };
    let written = serde_json::to_vec(&spec).expect("JSON");
    let again = Spec::from_slice(&written).expect("what was written");
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
});
