//! What the fuzzer needs to see.

use crate::auth::parse_challenges;
use crate::{http, repository};

/// Reads a text as whatever a registry says in heads and errors.
pub fn read(text: &str) {
    let challenges = parse_challenges(text.lines());
    assert!(challenges.len() <= text.lines().count());
    let _ = repository::next_page(text);
    assert!(http::message_of(text.as_bytes()).chars().count() <= http::MAX_MESSAGE);
}
