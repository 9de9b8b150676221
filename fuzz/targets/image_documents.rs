//! Manifests, indexes and configurations of images; compressed streams.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use tare_images::compression::{buffered, decompress};
use tare_images::oci::{Platform, parse_config, parse_index, parse_manifest};

/// What is read of a stream, bytes: a bomb is not the question here.
const MOST: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    if let Ok(index) = parse_index(data) {
        let _ = Platform::host().select(&index.manifests);
    }
    let _ = parse_manifest(data);
    if let Ok(config) = parse_config(data) {
        let _ = config.platform();
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Platform::parse(text);
    }
    if let Ok((_, plain)) = decompress(buffered(std::io::Cursor::new(data.to_vec()))) {
        let _ = plain.take(MOST).read_to_end(&mut Vec::new());
    }
});
