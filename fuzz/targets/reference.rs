//! Names of images, digests, globs: a name that is read is written as it was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_reference::glob::path_match;
use tare_reference::{Digest, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse_normalized(text) {
        let whole = reference.to_string();
        assert_eq!(Reference::parse_normalized(&whole).expect("what was written"), reference);
        let short = reference.familiar();
        assert_eq!(Reference::parse_normalized(&short).expect("what was written"), reference, "{short}");
        let _ = reference.with_default_tag().matches(text);
    }
    let _ = Reference::parse_any(text);
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.as_str(), text);
    }
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "some/name"));
    let _ = path_match(pattern, name);
});
