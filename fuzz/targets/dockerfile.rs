//! Dockerfiles, `.dockerignore`, and what is put in place of variables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_dockerfile::ignore::Ignore;
use tare_dockerfile::{Expander, parse, parse_trigger};

fuzz_target!(|text: &str| {
    let _ = parse(text);
    let _ = parse_trigger(text);
    for escape in ['\\', '`'] {
        let expander = Expander::new(escape, &["A=1", "LONG=some words", "EMPTY="]);
        let _ = expander.word(text);
        let _ = expander.words(text);
        let _ = expander.document(text);
    }
    if let Ok(ignore) = Ignore::parse(text) {
        let _ = (ignore.ignores("some/path/to.file"), ignore.has_exceptions());
    }
});
