//! Contexts as archives, in docker's form: `meta.json`, and the files of every endpoint below `tls/ENDPOINT/`. Written as tar,
//! read as tar or zip.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};
use serde_json::Value;
use tare_archive::{Entry, Kind, Reader, Writer};

use super::store::TlsFiles;
use crate::error::CliError;

/// Most bytes of an archive, and of a file in one, as in docker.
const MAX: u64 = 10 << 20;
/// What a zip file begins with.
const ZIP: &[u8] = b"PK\x03\x04";
/// What the definition is called.
const METADATA: &str = "meta.json";

fn wrong(error: impl std::fmt::Display) -> CliError {
    CliError::new(error.to_string())
}

/// Writes a context.
pub fn write(document: &Value, material: &TlsFiles, out: impl Write) -> Result<(), CliError> {
    let mut archive = Writer::new(out);
    file(&mut archive, METADATA, 0o644, document.to_string().as_bytes())?;
    archive.append(&Entry::new("tls", Kind::Directory, 0o700)).map_err(wrong)?;
    for (endpoint, files) in material {
        archive.append(&Entry::new(format!("tls/{endpoint}"), Kind::Directory, 0o700)).map_err(wrong)?;
        for (name, content) in files {
            file(&mut archive, &format!("tls/{endpoint}/{name}"), 0o600, content)?;
        }
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
pub fn read(input: impl Read) -> Result<(Value, TlsFiles), CliError> {
    let bytes = bounded(input)?;
    let mut found = Found::default();
    if bytes.starts_with(ZIP) {
        read_zip(&bytes, &mut found)?;
    } else {
        read_tar(&bytes, &mut found)?;
    }
    let document = found.document.ok_or_else(|| CliError::new("invalid context: no metadata found"))?;
    Ok((document, found.files))
}

fn bounded(input: impl Read) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    input.take(MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX {
        true => Err(CliError::new("read exceeds the defined limit")),
        false => Ok(bytes),
    }
}

fn read_tar(bytes: &[u8], found: &mut Found) -> Result<(), CliError> {
    let mut archive = Reader::new(bytes);
    while let Some(entry) = archive.next_entry().map_err(wrong)? {
        if entry.kind == Kind::Directory {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        check_path(&name)?;
        if entry.kind != Kind::File {
            continue;
        }
        let mut content = Vec::new();
        while let Some(chunk) = archive.chunk().map_err(wrong)? {
            content.extend_from_slice(chunk.data);
        }
        found.take(&name, content)?;
    }
    Ok(())
}

fn read_zip(bytes: &[u8], found: &mut Found) -> Result<(), CliError> {
    let wrong = |error: rawzip::Error| CliError::new(format!("zip: {error}"));
    let archive = ZipArchive::from_slice(bytes).map_err(wrong)?;
    let mut entries = archive.entries();
    while let Some(header) = entries.next_entry().map_err(wrong)? {
        if header.is_dir() {
            continue;
        }
        let name = String::from_utf8_lossy(header.file_path().as_bytes()).into_owned();
        check_path(&name)?;
        // Links are no files.
        if header.mode().is_symlink() {
            continue;
        }
        let entry = archive.get_entry(header.wayfinder()).map_err(wrong)?;
        let content: Box<dyn Read + '_> = match header.compression_method() {
            CompressionMethod::STORE => Box::new(entry.data()),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry.data())),
            _ => return Err(CliError::new(format!("{name}: zip: unsupported compression algorithm"))),
        };
        found.take(&name, bounded(entry.verifying_reader(content))?)?;
    }
    Ok(())
}

/// Whether a file of this name may be in an archive.
fn check_path(path: &str) -> Result<(), CliError> {
    let why = if path != METADATA && !path.starts_with("tls/") {
        "unexpected context file"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "unexpected path format"
    } else if path.contains('\\') {
        "unexpected '\\' in path"
    } else {
        return Ok(());
    };
    Err(CliError::new(format!("{path}: {why}")))
}

/// What an archive holds.
#[derive(Default)]
struct Found {
    document: Option<Value>,
    files: TlsFiles,
}

impl Found {
    /// A file whose name is good.
    fn take(&mut self, name: &str, content: Vec<u8>) -> Result<(), CliError> {
        if name == METADATA {
            self.document = Some(serde_json::from_slice(&content).map_err(wrong)?);
            return Ok(());
        }
        let place = name.strip_prefix("tls/").and_then(|rest| rest.split_once('/'));
        let Some((endpoint, file)) = place.filter(|(_, file)| !file.contains('/')) else {
            return Err(CliError::new("archive format is invalid"));
        };
        let files: &mut BTreeMap<_, _> = self.files.entry(endpoint.to_owned()).or_default();
        files.insert(file.to_owned(), content);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material() -> TlsFiles {
        let files = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect();
        [("docker".to_owned(), files(&["ca.pem", "cert.pem", "key.pem"])), ("other".to_owned(), files(&["token"]))]
            .into()
    }

    fn document() -> Value {
        serde_json::json!({"Name": "n", "Metadata": {"Description": "d", "Mine": 1}, "Endpoints": {"docker": {"Host": "tcp://h:1"}}})
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut archive = Vec::new();
        write(&document(), &material(), &mut archive).unwrap();
        assert_eq!(read(archive.as_slice()).unwrap(), (document(), material()));
    }

    /// A zip file with these files, deflated or as they are.
    fn zipped(files: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
        archive.new_dir("tls/").create().unwrap();
        for (name, content) in files {
            let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
            let descriptor = if method == CompressionMethod::DEFLATE {
                let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
                let mut writer = config.wrap(encoder);
                writer.write_all(content).unwrap();
                let (encoder, descriptor) = writer.finish().unwrap();
                encoder.finish().unwrap();
                descriptor
            } else {
                let mut writer = config.wrap(&mut entry);
                writer.write_all(content).unwrap();
                writer.finish().unwrap().1
            };
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap();
        bytes
    }

    #[test]
    fn zip_files_are_read_stored_and_deflated() {
        let mut files = vec![(METADATA.to_owned(), document().to_string().into_bytes())];
        for (endpoint, of_it) in material() {
            files.extend(of_it.into_iter().map(|(name, content)| (format!("tls/{endpoint}/{name}"), content)));
        }
        for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
            let bytes = zipped(&files, method);
            assert_eq!(read(bytes.as_slice()).unwrap(), (document(), material()));
            assert!(read(&bytes[..bytes.len() / 2]).is_err(), "half a file");
        }
    }

    #[test]
    fn a_zip_file_that_is_spoilt_is_refused() {
        let files = [(METADATA.to_owned(), document().to_string().into_bytes())];
        let mut bytes = zipped(&files, CompressionMethod::STORE);
        let at = bytes.windows(8).position(|window| window == b"tcp://h:").unwrap();
        bytes[at + 6] = b'x';
        assert!(read(bytes.as_slice()).is_err());
    }

    #[test]
    fn a_zip_file_cannot_burst() {
        let content = vec![b' '; usize::try_from(MAX).unwrap() + 1];
        let bytes = zipped(&[(METADATA.to_owned(), content)], CompressionMethod::DEFLATE);
        assert_eq!(read(bytes.as_slice()).unwrap_err().message, "read exceeds the defined limit");
    }

    #[test]
    fn names_that_are_refused() {
        for (name, text) in [
            ("x", "x: unexpected context file"),
            ("tls/a/../b", "tls/a/../b: unexpected path format"),
            ("tls//b", "tls//b: unexpected path format"),
            ("tls/a\\b/c", "tls/a\\b/c: unexpected '\\' in path"),
            ("tls/b", "archive format is invalid"),
            ("tls/a/b/c", "archive format is invalid"),
        ] {
            let mut archive = Writer::new(Vec::new());
            file(&mut archive, name, 0o600, b"").unwrap();
            assert_eq!(read(archive.finish().unwrap().as_slice()).unwrap_err().message, text);
        }
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
