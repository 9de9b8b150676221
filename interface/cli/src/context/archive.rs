//! Contexts as tar archives, in docker's form: `meta.json`, and certificates below `tls/docker/`.

use std::io::{BufRead as _, BufReader, Read, Write};

use serde_json::Value;
use tare_archive::{Entry, Kind, Reader, Writer};
use tare_docker_client::tls::Material;

use super::store::{FILES, certificates};
use crate::error::CliError;

/// Most bytes of a file in an archive, as in docker.
const FILE_MAX: u64 = 10 << 20;
/// What a zip file begins with.
const ZIP: &[u8] = b"PK";

fn wrong(error: impl std::fmt::Display) -> CliError {
    CliError::new(error.to_string())
}

/// Writes a context.
pub fn write(document: &Value, material: &Material, out: impl Write) -> Result<(), CliError> {
    let mut archive = Writer::new(out);
    file(&mut archive, "meta.json", 0o644, document.to_string().as_bytes())?;
    archive.append(&Entry::new("tls", Kind::Directory, 0o700)).map_err(wrong)?;
    let mut certificates = certificates(material).peekable();
    if certificates.peek().is_some() {
        archive.append(&Entry::new("tls/docker", Kind::Directory, 0o700)).map_err(wrong)?;
    }
    for (name, content) in certificates {
        file(&mut archive, &format!("tls/docker/{name}"), 0o600, content)?;
    }
    archive.finish().map_err(wrong)?.flush()?;
    Ok(())
}

fn file(archive: &mut Writer<impl Write>, path: &str, mode: u32, mut content: &[u8]) -> Result<(), CliError> {
    let mut entry = Entry::new(path, Kind::File, mode);
    entry.size = content.len() as u64;
    archive.append_data(&entry, &mut content).map_err(wrong)
}

/// Reads a context.
pub fn read(input: impl Read) -> Result<(Value, Material), CliError> {
    let mut input = BufReader::new(input);
    if input.fill_buf()?.starts_with(ZIP) {
        return Err(CliError::new("zip files are not supported: import a tar archive"));
    }
    let mut archive = Reader::new(input);
    let (mut document, mut files) = (None, [None, None, None]);
    while let Some(entry) = archive.next_entry().map_err(wrong)? {
        if entry.kind == Kind::Directory {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let place = name.strip_prefix("tls/docker/").and_then(|name| FILES.iter().position(|file| *file == name));
        if entry.kind != Kind::File || (name != "meta.json" && place.is_none()) {
            return Err(CliError::new(format!("unexpected context file: {name}")));
        }
        if entry.size > FILE_MAX {
            return Err(CliError::new(format!("{name}: larger than {FILE_MAX} bytes")));
        }
        let mut content = Vec::new();
        while let Some(chunk) = archive.chunk().map_err(wrong)? {
            content.extend_from_slice(chunk.data);
        }
        match place {
            None => document = Some(serde_json::from_slice(&content).map_err(wrong)?),
            Some(place) => files[place] = Some(content),
        }
    }
    let document: Value = document.ok_or_else(|| CliError::new("invalid context: no metadata found"))?;
    let [authority, certificate, key] = files;
    let skip_verify = super::skips_verify(&document);
    Ok((document, Material { authority, identity: certificate.zip(key), skip_verify }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let document =
            serde_json::json!({"Name": "n", "Endpoints": {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": true}}});
        let identity = Some((b"cert".to_vec(), b"key".to_vec()));
        let material = Material { authority: Some(b"ca".to_vec()), identity, skip_verify: true };
        let mut archive = Vec::new();
        write(&document, &material, &mut archive).unwrap();
        assert_eq!(read(archive.as_slice()).unwrap(), (document, material));
    }

    #[test]
    fn strange_archives_are_refused() {
        let mut archive = Writer::new(Vec::new());
        archive.append(&Entry::new("tls/../../x", Kind::Symlink, 0o777)).unwrap();
        let archive = archive.finish().unwrap();
        let error = read(archive.as_slice()).unwrap_err().message;
        assert!(error.contains("tls/../../x"), "{error}");
        assert!(read(&b"PK\x03\x04"[..]).unwrap_err().message.contains("zip"));
        assert!(read(&b""[..]).is_err());
    }
}
