//! The transfer of a client's files.

use std::io::{self, Cursor};
use std::path::Path;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_client::UploadClient;
use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use tare_engine::ByteSource;
use tare_images::rootdir::RootDir;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::{Request, Status};

use crate::connection::origin;
use crate::receive::{ASKED_MAX, Next, Receiver};
use crate::session::Session;

/// Packets that come before they are written.
const WAITING_MAX: usize = 32;
const METHOD: &str = "/moby.filesync.v1.FileSync/diffcopy";

/// Which files.
pub(crate) struct Which<'a> {
    /// Of which of the client's directories.
    pub(crate) directory: &'a str,
    pub(crate) follow: &'a [String],
    pub(crate) exclude: &'a [String],
}

/// Fetches files into an existing directory.
pub(crate) async fn fetch(
    session: &Session,
    which: &Which<'_>,
    place: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Status> {
    if !session.answers(METHOD) {
        return Err(Status::failed_precondition("no local sources enabled"));
    }
    let root = RootDir::open(place).map_err(|error| Status::internal(format!("open {}: {error}", place.display())))?;
    // There is always room: no more requests than this are ever unanswered, and one word at the end.
    let (sender, mut receiver) = mpsc::channel::<Packet>(2 * ASKED_MAX);
    let mut request = Request::new(poll_fn(move |context| receiver.poll_recv(context)));
    let metadata = request.metadata_mut();
    put(metadata, "dir-name", &[which.directory.to_owned()])?;
    put(metadata, "followpaths", which.follow)?;
    put(metadata, "exclude-patterns", which.exclude)?;
    let mut client = FileSyncClient::with_origin(session.channel.clone(), origin());
    let mut packets = client.diff_copy(request).await?.into_inner();
    let (write, mut written) = mpsc::channel::<Packet>(WAITING_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut receiver = Receiver::new(root);
        let mut send = |packet| drop(sender.blocking_send(packet));
        while let Some(packet) = written.blocking_recv() {
            if receiver.packet(packet, &mut send)? == Next::Finished {
                return Ok(());
            }
        }
        Err("the transfer of files broke off".to_owned())
    });
    let mut bytes = 0;
    let came = loop {
        match packets.message().await {
            Ok(Some(packet)) => {
                bytes += packet.data.len() as u64;
                progress(bytes);
                if write.send(packet).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    drop(write);
    let done = writing.await.map_err(|error| Status::internal(error.to_string()))?;
    came?;
    done.map_err(Status::unknown)
}

/// What a client sends as a whole.
pub(crate) async fn upload(session: &Session, path: &str) -> Result<ByteSource, Status> {
    // Nothing is sent to the client.
    let mut request = Request::new(futures_util::stream::empty::<BytesMessage>());
    put(request.metadata_mut(), "urlpath", &[path.to_owned()])?;
    let mut client = UploadClient::with_origin(session.channel.clone(), origin());
    let messages = client.pull(request).await?.into_inner();
    let pieces = messages.map(|message| message.map(|message| Cursor::new(message.data)).map_err(io::Error::other));
    Ok(Box::pin(StreamReader::new(pieces)))
}

/// Values of a header, in the client's way of writing what is not ASCII.
pub(crate) fn put(metadata: &mut MetadataMap, name: &'static str, values: &[String]) -> Result<(), Status> {
    let bad = |value: &str| Status::invalid_argument(format!("{name}: {value:?} cannot be sent"));
    let is_encoded = values.iter().any(|value| !value.is_ascii());
    for value in values {
        let text = if is_encoded { escaped(value) } else { value.clone() };
        metadata.append(name, MetadataValue::try_from(text).map_err(|_| bad(value))?);
    }
    if is_encoded {
        let key = MetadataKey::from_bytes(format!("{name}-encoded").as_bytes()).map_err(|_| bad(name))?;
        metadata.insert(key, MetadataValue::from_static("1"));
    }
    Ok(())
}

/// As in a URL's query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => all.push(char::from(byte)),
            other => all.push_str(&format!("%{other:02X}")),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_carry_any_name() {
        let mut metadata = MetadataMap::new();
        put(&mut metadata, "followpaths", &["ä b".to_owned(), "c".to_owned()]).unwrap();
        let values: Vec<_> = metadata.get_all("followpaths").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values, ["%C3%A4%20b", "c"]);
        assert_eq!(metadata.get("followpaths-encoded").unwrap(), "1");
        put(&mut metadata, "dir-name", &["*.c a".to_owned()]).unwrap();
        assert_eq!(metadata.get("dir-name").unwrap(), "*.c a");
        assert!(metadata.get("dir-name-encoded").is_none());
        assert!(put(&mut metadata, "dir-name", &["a\nb".to_owned()]).is_err());
    }
}
