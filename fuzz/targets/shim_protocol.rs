//! What daemon and shim say to each other, and the files they leave for each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_shim_protocol::{ExecRecord, ExitRecord, Message, Request, ShimConfig, ShimState, decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = decode::<Request>(data) {
        let packet = encode(&request).expect("a packet");
        assert_eq!(decode::<Request>(&packet).expect("what was written"), request);
    }
    if let Ok(message) = decode::<Message>(data) {
        let packet = encode(&message).expect("a packet");
        assert_eq!(decode::<Message>(&packet).expect("what was written"), message);
    }
    let _ = serde_json::from_slice::<ShimConfig>(data);
    let _ = serde_json::from_slice::<ShimState>(data);
    let _ = serde_json::from_slice::<ExitRecord>(data);
    let _ = serde_json::from_slice::<ExecRecord>(data);
});
