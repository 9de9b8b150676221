//! Progress of pulls and pushes.
