//! What the fuzzer needs to see.

use std::path::Path;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::buildkit::v1::SolveRequest;
use prost::Message as _;
use tare_images::rootdir::RootDir;

use crate::exports::Export;
use crate::receive::{Next, Receiver};
use crate::results::Inputs;
use crate::{attributes, caches};

/// Reads bytes as what a client asks for.
pub fn request(bytes: &[u8]) {
    let Ok(request) = SolveRequest::decode(bytes) else { return };
    let _ = (Export::asked(&request), caches::check(request.cache.as_ref()));
    let _ = attributes::options(&request.frontend_attrs, &Inputs::default());
}

/// Reads bytes as the packets of a transfer into `directory`, each after its length.
///
/// # Panics
/// When the directory cannot be opened.
pub fn transfer(mut bytes: &[u8], directory: &Path) {
    let mut receiver = Receiver::new(RootDir::open(directory).expect("directory"));
    while let Ok(packet) = Packet::decode_length_delimited(&mut bytes) {
        match receiver.packet(packet, &mut drop) {
            Ok(Next::More) => {}
            Ok(Next::Finished) | Err(_) => return,
        }
    }
}
