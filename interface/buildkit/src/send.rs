//! Sending a client what was built: as an archive, or file by file, of which it asks for the content.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_send_client::FileSendClient as Files;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_client::FileSendClient as Bytes;
use futures_util::stream::poll_fn;
use rustix::fs::OFlags;
use tare_archive::{Entry, Kind, Writer};
use tare_docker_api::file_mode::{CHARACTER_DEVICE, DEVICE, DIRECTORY, NAMED_PIPE, SYMLINK, go_file_mode};
use tare_engine::{ByteStream, Error, Result};
use tare_images::export::{Naming, entries, export};
use tare_images::rootdir::RootDir;
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};

use crate::caller::said;
use crate::connection::origin;
use crate::front::Front;
use crate::session::Session;

const METHOD: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// Messages that wait to be sent.
const WAITING_MAX: usize = 16;
/// Bytes of one message.
const PIECE: usize = 32 << 10;
/// Requests of files that wait to be answered. Clients ask for a file when they have made it, many at once.
const ASKED_MAX: usize = 1024;

async fn session(front: &Front, name: &str) -> Result<Session> {
    let session = front.0.sessions.get(name).await.map_err(said)?;
    match session.answers(METHOD) {
        true => Ok(session),
        false => Err(Error::invalid(format!("method {METHOD} not supported by the client"))),
    }
}

/// Sends bytes, which go into one file.
pub(crate) async fn archive(front: &Front, name: &str, mut bytes: ByteStream) -> Result<()> {
    let session = session(front, name).await?;
    let (sender, mut receiver) = mpsc::channel::<BytesMessage>(WAITING_MAX);
    let request = Request::new(poll_fn(move |context| receiver.poll_recv(context)));
    let passing = async move {
        while let Some(piece) = bytes.recv().await {
            let piece = piece.map_err(|error| Error::internal(error.to_string()))?;
            for data in piece.chunks(PIECE) {
                if sender.send(BytesMessage { data: data.to_vec() }).await.is_err() {
                    // The client says why it wants no more.
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    let (passed, done) = tokio::join!(passing, written(session, request));
    passed.and(done)
}

/// Ends when the client has written everything.
async fn written(
    session: Session,
    request: Request<impl futures_util::Stream<Item = BytesMessage> + Send + 'static>,
) -> Result<()> {
    let mut client = Bytes::with_origin(session.channel, origin());
    let mut answers = client.diff_copy(request).await.map_err(said)?.into_inner();
    while answers.message().await.map_err(said)?.is_some() {}
    Ok(())
}

/// Sends files in an archive.
pub(crate) async fn tar(front: &Front, name: &str, root: RootDir) -> Result<()> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let packing = tokio::task::spawn_blocking(move || {
        let mut writer = Writer::new(BufWriter::with_capacity(PIECE, Pieces(sender.clone())));
        let packed = export(&root, b"", &Naming::default(), &mut writer).map_err(io::Error::other);
        if let Err(error) = packed.and_then(|()| writer.finish().map(drop).map_err(io::Error::other)) {
            // Whoever reads may have gone.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let sent = archive(front, name, receiver).await;
    packing.await.map_err(|error| Error::internal(error.to_string()))?;
    sent
}

/// Bytes of an archive on their way.
struct Pieces(mpsc::Sender<io::Result<hyper::body::Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(hyper::body::Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends files one by one: first what there is, then the content of those that are asked for.
pub(crate) async fn directory(front: &Front, name: &str, root: RootDir) -> Result<()> {
    let session = session(front, name).await?;
    let (sender, mut receiver) = mpsc::channel::<Packet>(WAITING_MAX);
    let request = Request::new(poll_fn(move |context| receiver.poll_recv(context)));
    let (ask, asked) = mpsc::channel(ASKED_MAX);
    let sending = tokio::task::spawn_blocking(move || {
        let sent = send(&root, &sender, asked);
        if let Err(why) = &sent {
            let data = why.clone().into_bytes();
            let _ = sender.blocking_send(Packet { r#type: PacketType::PacketErr.into(), data, ..Packet::default() });
        }
        sent
    });
    let heard = async move {
        let mut client = Files::with_origin(session.channel, origin());
        listen(client.diff_copy(request).await?.into_inner(), ask).await
    };
    let heard = heard.await.map_err(said);
    let sent = sending.await.map_err(|error| Error::internal(error.to_string()))?;
    // If the client has refused, sending only noticed that nobody listens.
    heard.and(sent.map_err(Error::internal))
}

/// Passes on what a client asks for.
async fn listen(mut packets: Streaming<Packet>, ask: mpsc::Sender<u32>) -> std::result::Result<(), Status> {
    let mut ask = Some(ask);
    while let Some(packet) = packets.message().await? {
        match (PacketType::try_from(packet.r#type), &ask) {
            (Ok(PacketType::PacketReq), Some(to)) => {
                // Whoever sends has gone: it says why.
                let _ = to.send(packet.id).await;
            }
            // It has everything.
            (Ok(PacketType::PacketFin), _) => ask = None,
            (Ok(PacketType::PacketErr), _) => {
                let why = String::from_utf8_lossy(&packet.data);
                return Err(Status::unknown(format!("error from receiver: {why}")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn send(
    root: &RootDir,
    sender: &mpsc::Sender<Packet>,
    mut asked: mpsc::Receiver<u32>,
) -> std::result::Result<(), String> {
    let gone = || "the transfer of files broke off".to_owned();
    let mut files: Vec<Option<Vec<u8>>> = Vec::new();
    let mut told = HashSet::new();
    let listed = entries(root, &mut |entry| {
        let stat = stat(&entry);
        files.push((entry.kind == Kind::File).then_some(entry.path));
        let packet = Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() };
        let failed = |_| tare_images::Error::Malformed { what: "transfer", reason: "broke off".to_owned() };
        sender.blocking_send(packet).map_err(failed)
    });
    listed.map_err(|error| error.to_string())?;
    let end = Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() };
    sender.blocking_send(end).map_err(|_| gone())?;
    let mut piece = vec![0; PIECE];
    while let Some(id) = asked.blocking_recv() {
        let path = files.get(id as usize).and_then(Option::as_ref).filter(|_| told.insert(id));
        let path = path.ok_or_else(|| format!("invalid file id {id}"))?;
        let failed = |error: io::Error| format!("{}: {error}", String::from_utf8_lossy(path));
        let file = root.open_at(path, OFlags::RDONLY | OFlags::NOFOLLOW).map_err(|error| failed(error.into()))?;
        let mut file = File::from(file);
        loop {
            let read = file.read(&mut piece).map_err(failed)?;
            let data = piece.get(..read).unwrap_or_default().to_vec();
            let packet = Packet { r#type: PacketType::PacketData.into(), id, data, ..Packet::default() };
            sender.blocking_send(packet).map_err(|_| gone())?;
            // No bytes are the end of the file.
            if read == 0 {
                break;
            }
        }
    }
    sender.blocking_send(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() }).map_err(|_| gone())
}

/// What an archive would say, in the client's form.
fn stat(entry: &Entry) -> Stat {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kind = match entry.kind {
        Kind::Directory => DIRECTORY,
        Kind::Symlink => SYMLINK,
        Kind::Fifo => NAMED_PIPE,
        Kind::CharDevice => DEVICE | CHARACTER_DEVICE,
        Kind::BlockDevice => DEVICE,
        _ => 0,
    };
    Stat {
        path: text(&entry.path),
        mode: go_file_mode(entry.mode & 0o7777) | kind,
        uid: u32::try_from(entry.uid).unwrap_or_default(),
        gid: u32::try_from(entry.gid).unwrap_or_default(),
        size: i64::try_from(entry.size).unwrap_or(i64::MAX),
        mod_time: entry.mtime.seconds.saturating_mul(1_000_000_000),
        linkname: text(&entry.link),
        devmajor: entry.device.0.into(),
        devminor: entry.device.1.into(),
        xattrs: entry.xattrs.iter().map(|(name, value)| (text(name), value.clone())).collect(),
    }
}
