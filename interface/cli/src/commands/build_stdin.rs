//! What comes on standard input for `build -`: an archive, or a Dockerfile alone.

use std::io::{Cursor, Read};

use tare_archive::{Entry, Kind, Reader, Writer};
use tare_docker_client::Body;

use super::build::read_bounded;
use crate::error::CliError;
use crate::streams::transfer;

/// What tells an archive from a Dockerfile: a header of tar's, in bytes.
const HEADER: usize = 512;
/// Where tar's own name is in it.
const MAGIC_AT: usize = 257;

/// The context; `file` is the Dockerfile that the user names in it, which a Dockerfile alone has not.
pub(super) fn context(mut input: Box<dyn Read + Send>, file: &str) -> Result<Body, CliError> {
    let mut start = Vec::new();
    let read = input.by_ref().take(HEADER as u64).read_to_end(&mut start);
    read.map_err(|e| {
        CliError::new(format!("unable to prepare context: failed to peek context header from STDIN: {e}"))
    })?;
    if is_archive(&start) {
        return transfer::reader_body(move || Box::new(Cursor::new(start).chain(input)));
    }
    if !file.is_empty() {
        return Err(CliError::new(
            "unable to prepare context: ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    let dockerfile = read_bounded(Cursor::new(start).chain(input), "-")?;
    archive(&dockerfile)
        .map(|bytes| Body::Full(bytes.into()))
        .map_err(|e| CliError::new(format!("unable to prepare context: {e}")))
}

fn archive(dockerfile: &[u8]) -> Result<Vec<u8>, tare_archive::Error> {
    let mut writer = Writer::new(Vec::new());
    let entry = Entry { size: dockerfile.len() as u64, ..Entry::new("Dockerfile", Kind::File, 0o600) };
    writer.append_data(&entry, &mut &*dockerfile)?;
    writer.finish()
}

/// Whether input that begins so is an archive, compressed or not.
fn is_archive(start: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [&[0x1f, 0x8b, 8], b"BZh", b"\xfd7zXZ\0", &[0x28, 0xb5, 0x2f, 0xfd]];
    let is_tar = || start.get(MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar"));
    let is_header = || start.len() == HEADER && Reader::new(start).next_entry().is_ok();
    compressed.iter().any(|magic| start.starts_with(magic)) || is_tar() || is_header()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_and_dockerfiles() {
        let tar = archive(b"FROM x\n").unwrap();
        assert!(is_archive(&tar[..HEADER]) && is_archive(&[0x1f, 0x8b, 8, 0]) && is_archive(&[0; HEADER]));
        let long = "RUN echo something that goes on and on\n".repeat(100);
        for text in ["", "FROM x\n", "BZ", &long[..HEADER]] {
            assert!(!is_archive(text.as_bytes()), "{text:?}");
        }
        let stdin = |text: &str| -> Box<dyn Read + Send> { Box::new(Cursor::new(text.to_owned())) };
        assert!(matches!(context(stdin(&long), "").unwrap(), Body::Full(_)));
        let refused = context(stdin("FROM x\n"), "Other").map(drop).unwrap_err().to_string();
        assert!(refused.contains("ambiguous Dockerfile source"), "{refused}");
    }
}
