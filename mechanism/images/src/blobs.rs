//! Content by digest: written once, verified while it is written, resumed after interruptions.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tare_reference::Digest;

use crate::oci::Descriptor;
use crate::store::ImageStore;
use crate::{Error, Result, files};

/// Largest manifest, index or configuration that is read into memory, in bytes (containerd's limit for manifests).
pub const MAX_DOCUMENT: u64 = 8 << 20;
/// Bytes read at once when an interrupted blob is verified.
const REPLAY_BUFFER: usize = 256 << 10;
/// How long interrupted blobs are kept for resumption: as long as containerd keeps them.
pub(crate) const INGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl ImageStore {
    /// Whether the content is here, whole.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.state().staged.contains(digest) || files::blob_path(&self.inner.root, digest).exists()
    }

    /// Opens content for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let settled = files::blob_path(&self.inner.root, digest);
        match File::open(&settled) {
            Ok(file) => Ok(file),
            // under the lock nothing moves from ingest/ to blobs/
            Err(_) if self.state().staged.contains(digest) => {
                let path = self.ingest_path(digest);
                File::open(&path).or_else(|_| File::open(&settled)).map_err(Error::io("open", &path))
            }
            Err(e) => File::open(&settled).map_err(|_| Error::io("open", &settled)(e)),
        }
    }

    /// Reads a small document. What it holds was verified when it was written.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", digest.as_str()))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(Error::TooLarge { what: "image document", limit: MAX_DOCUMENT });
        }
        Ok(bytes)
    }

    /// Bytes of a blob, `None` if it is not here.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let settled = fs::metadata(files::blob_path(&self.inner.root, digest));
        settled.or_else(|_| fs::metadata(self.ingest_path_if_staged(digest))).ok().map(|m| m.len())
    }

    /// Writes a small document and describes it.
    pub fn write_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let mut writer = self.begin_blob()?;
        writer.write(bytes)?;
        let (digest, size) = writer.finish()?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Starts to write content whose digest is not known yet. Dropping the writer removes it.
    pub fn begin_blob(&self) -> Result<BlobWriter> {
        let path = self.inner.root.join("ingest").join(files::unique("tmp-"));
        let file =
            File::options().create_new(true).read(true).write(true).open(&path).map_err(Error::io("create", &path))?;
        Ok(self.writer(path, file, 0, None))
    }

    fn writer(&self, path: PathBuf, file: File, prefix: u64, expected: Option<(Digest, u64)>) -> BlobWriter {
        let (store, hasher) = (self.clone(), Sha256::new());
        BlobWriter { store, path, file, hasher, length: 0, prefix, expected, spoiled: false }
    }

    /// Starts or resumes content of known digest and size. Dropping the writer keeps what is there for next time, unless
    /// that is [`BlobWriter::spoil`]ed.
    ///
    /// [`Error::Busy`] while another writer is at it.
    pub fn resume_blob(&self, descriptor: &Descriptor) -> Result<BlobWriter> {
        let digest = &descriptor.digest;
        if !digest.is_sha256() {
            return Err(Error::Algorithm(digest.clone()));
        }
        if !self.state().ingesting.insert(digest.clone()) {
            return Err(Error::Busy(digest.clone()));
        }
        self.open_ingest(descriptor).inspect_err(|_| {
            self.state().ingesting.remove(digest);
        })
    }

    fn open_ingest(&self, descriptor: &Descriptor) -> Result<BlobWriter> {
        let path = self.ingest_path(&descriptor.digest);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut prefix = file.metadata().map_err(Error::io("fstat", &path))?.len();
        if prefix > descriptor.size {
            file.set_len(0).map_err(Error::io("ftruncate", &path))?;
            prefix = 0;
        }
        Ok(self.writer(path, file, prefix, Some((descriptor.digest.clone(), descriptor.size))))
    }

    pub(crate) fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("ingest").join(digest.hex())
    }

    fn ingest_path_if_staged(&self, digest: &Digest) -> PathBuf {
        if self.state().staged.contains(digest) { self.ingest_path(digest) } else { PathBuf::new() }
    }

    /// Moves a staged blob to its place.
    pub(crate) fn settle_blob(&self, digest: &Digest) -> Result<()> {
        let to = files::blob_path(&self.inner.root, digest);
        fs::rename(self.ingest_path(digest), &to).map_err(Error::io("rename", &to))
    }

    /// Interrupted blobs that nobody came back for, and temporary ones of an earlier process. All of them where the disk
    /// has less room than they take: they are kept to save time, and somebody needs the room.
    pub(crate) fn remove_old_ingests(&self) {
        let directory = self.inner.root.join("ingest");
        let mut kept = 0;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let temporary = entry.file_name().as_encoded_bytes().starts_with(b"tmp-");
            let metadata = entry.metadata().ok();
            let age = metadata.as_ref().and_then(|m| m.modified().ok()).and_then(|t| t.elapsed().ok());
            if temporary || age.is_some_and(|age| age > INGEST_LIFETIME) {
                let _ = fs::remove_file(entry.path());
            } else {
                kept += metadata.map_or(0, |m| m.len());
            }
        }
        if kept > 0 && rustix::fs::fstatvfs(&self.inner.dir).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < kept) {
            self.drop_interrupted(Duration::ZERO);
        }
    }

    /// Removes interrupted blobs that nobody has been at for so long: on a full disk all of them are in the way.
    pub fn drop_interrupted(&self, age: Duration) {
        let state = self.state();
        let directory = self.inner.root.join("ingest");
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let digest = entry.file_name().to_str().and_then(Digest::from_sha256_hex);
            let unused = |digest: &Digest| !state.staged.contains(digest) && !state.ingesting.contains(digest);
            let modified = entry.metadata().ok().and_then(|m| m.modified().ok()).and_then(|t| t.elapsed().ok());
            if digest.is_some_and(|digest| unused(&digest)) && modified.unwrap_or_default() >= age {
                // What cannot be removed is tried again at the next start.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Content on its way in.
pub struct BlobWriter {
    store: ImageStore,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    /// Bytes hashed so far; the file's offset.
    length: u64,
    /// Bytes an earlier writer left.
    prefix: u64,
    expected: Option<(Digest, u64)>,
    /// Nothing of it is to be kept.
    spoiled: bool,
}

impl BlobWriter {
    /// Bytes that an interrupted writer left; [`Self::replay`] them before writing, then continue from here.
    pub fn prefix(&self) -> u64 {
        self.prefix
    }

    /// Bytes written so far, those replayed included.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Hashes what is already there and shows it to `see`, piece by piece.
    pub fn replay<E: From<Error>>(&mut self, mut see: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("lseek", &self.path))?;
        let mut buffer = vec![0; REPLAY_BUFFER];
        while self.length < self.prefix {
            let read = self.file.read(&mut buffer).map_err(Error::io("read", &self.path))?;
            let Some(piece) = buffer.get(..read).filter(|p| !p.is_empty()) else { break };
            self.hasher.update(piece);
            self.length += read as u64;
            see(piece)?;
        }
        self.prefix = self.length;
        Ok(())
    }

    /// Throws away what is there, to start from the first byte.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io("ftruncate", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("lseek", &self.path))?;
        self.hasher = Sha256::new();
        (self.length, self.prefix) = (0, 0);
        Ok(())
    }

    /// Nothing of it is worth keeping: what comes from now on is hashed only, and dropping the writer removes what is there.
    pub fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Whether nothing of it is kept.
    pub fn is_spoilt(&self) -> bool {
        self.spoiled
    }

    /// Verifies what was written, without keeping it.
    pub fn verify(&mut self) -> Result<()> {
        self.digest().map(drop)
    }

    /// Appends bytes. More than the descriptor says is an error at once. After an error nothing is kept: a disk that is
    /// full has to become emptier.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let length = self.length + bytes.len() as u64;
        if let Some((digest, size)) = &self.expected
            && length > *size
        {
            self.spoiled = true;
            return Err(Error::SizeMismatch { digest: digest.clone(), expected: *size, actual: length });
        }
        if !self.spoiled
            && let Err(error) = self.file.write_all(bytes)
        {
            self.spoiled = true;
            return Err(Error::io("write", &self.path)(error));
        }
        self.hasher.update(bytes);
        self.length = length;
        Ok(())
    }

    /// Verifies size and digest; then the content is the store's. What does not match is removed.
    pub fn finish(mut self) -> Result<(Digest, u64)> {
        let actual = self.digest()?;
        self.adopt(&actual)?;
        Ok((actual, self.length))
    }

    /// The digest of everything, if it is the one expected.
    fn digest(&mut self) -> Result<Digest> {
        let hash: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        let actual = Digest::from_sha256(&hash);
        if let Some((digest, size)) = &self.expected {
            if self.length < *size {
                // may be resumed
                return Err(Error::SizeMismatch { digest: digest.clone(), expected: *size, actual: self.length });
            }
            if actual != *digest {
                let _ = fs::remove_file(&self.path);
                return Err(Error::DigestMismatch { what: "blob", expected: digest.clone(), actual });
            }
        }
        Ok(actual)
    }

    /// Hands the file to the store, unless the store has the same already.
    fn adopt(&self, digest: &Digest) -> Result<()> {
        let mut state = self.store.state();
        let staged = self.store.ingest_path(digest);
        if files::blob_path(&self.store.inner.root, digest).exists() {
            state.generation += 1;
            return files::remove_if_exists(&self.path);
        }
        if self.path != staged {
            fs::rename(&self.path, &staged).map_err(Error::io("rename", &staged))?;
        }
        state.staged.insert(digest.clone());
        state.generation += 1;
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        match &self.expected {
            Some((digest, _)) => {
                let mut state = self.store.state();
                if self.spoiled || self.length == 0 && self.prefix == 0 && !state.staged.contains(digest) {
                    // Spoilt, or nothing came: nothing is to be resumed.
                    let _ = fs::remove_file(&self.path);
                }
                state.ingesting.remove(digest);
            }
            // after `adopt` there is nothing at this path any more
            None => {
                let _ = fs::remove_file(&self.path);
            }
        }
    }
}
