//! Attach over a websocket (RFC 6455): binary frames to and from a socket pair, whose other end the engine gets.

use std::io;
use std::os::fd::OwnedFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::request::Request;

/// Appended to the client's key before hashing (RFC 6455, section 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes moved at once, in each direction.
const PIECE: usize = 16 << 10;
/// Largest payload of a control frame, bytes (RFC 6455, section 5.5).
const CONTROL_MAX: u64 = 125;

const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
/// Last frame of its message.
const FIN: u8 = 0x80;
/// The payload is masked, as all of a client's are.
const MASKED: u8 = 0x80;
/// Payload of a normal close: status 1000.
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// What a client's handshake is answered with.
pub enum Answer {
    /// The head that accepts it.
    Accepted(Vec<u8>),
    /// All that it gets.
    Refused(Vec<u8>),
}

/// Judges a client's handshake, in the words of Go's `websocket`, which Docker's answers are from.
pub fn handshake(request: &Request) -> Answer {
    let refused =
        |line: &str, why: &str| Answer::Refused(format!("HTTP/1.1 400 Bad Request\r\n{line}\r\n{why}").into_bytes());
    let upgrade = request.header("upgrade").eq_ignore_ascii_case("websocket");
    if !upgrade || !request.header("connection").to_ascii_lowercase().contains("upgrade") {
        return refused("", "not websocket protocol");
    }
    let key = request.header("sec-websocket-key");
    if key.is_empty() {
        return refused("", "mismatch challenge/response");
    }
    if request.header("sec-websocket-version") != "13" {
        return refused("Sec-WebSocket-Version: 13\r\n", "missing or bad WebSocket Version");
    }
    // None is spoken here; the only one that is offered is taken all the same.
    let protocol = match request.header("sec-websocket-protocol").trim() {
        "" => String::new(),
        several if several.contains(',') => return refused("", ""),
        one => format!("Sec-WebSocket-Protocol: {one}\r\n"),
    };
    Answer::Accepted(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            accept(key)
        )
        .into_bytes(),
    )
}

fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

/// Gives one end of a socket pair to `connect` and carries bytes between the other end and the client until either closes.
pub async fn bridge<F, T, E>(client: OwnedFd, early: Vec<u8>, connect: F) -> io::Result<()>
where
    F: FnOnce(OwnedFd) -> T,
    T: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    // Only read, write and shutdown are used, which are the same on a TCP socket.
    let client = UnixStream::from_std(client.into())?;
    let (ours, theirs) = UnixStream::pair()?;
    connect(theirs.into_std()?.into()).await.map_err(|error| io::Error::other(error.to_string()))?;
    let (from_client, to_client) = client.into_split();
    let (from_container, to_container) = ours.into_split();
    let to_client = Mutex::new(to_client);
    let from_client = early.as_slice().chain(from_client);
    tokio::select! {
        result = outgoing(from_container, &to_client) => result,
        result = incoming(from_client, to_container, &to_client) => result,
    }
}

/// Output as binary frames, then a close.
async fn outgoing(mut output: impl AsyncRead + Unpin, client: &Mutex<impl AsyncWrite + Unpin>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = output.read(&mut piece).await?;
        let payload = piece.get(..read).unwrap_or_default();
        if payload.is_empty() {
            return send(client, CLOSE, &CLOSE_NORMAL).await;
        }
        send(client, BINARY, payload).await?;
    }
}

/// Writes one frame.
async fn send(client: &Mutex<impl AsyncWrite + Unpin>, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.push(FIN | opcode);
    match u8::try_from(payload.len()) {
        Ok(length) if u64::from(length) <= CONTROL_MAX => frame.push(length),
        _ => {
            let length = u16::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(payload);
    client.lock().await.write_all(&frame).await
}

/// A frame's header.
struct Header {
    opcode: u8,
    length: u64,
    mask: [u8; 4],
}

async fn read_header(client: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
    let (first, second) = (client.read_u8().await?, client.read_u8().await?);
    if second & MASKED == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a client's frame is not masked"));
    }
    let length = match second & !MASKED {
        126 => u64::from(client.read_u16().await?),
        127 => client.read_u64().await?,
        short => u64::from(short),
    };
    let mut mask = [0; 4];
    client.read_exact(&mut mask).await?;
    Ok(Header { opcode: first & 0x0f, length, mask })
}

/// Input out of frames; pings are answered, a close ends it.
async fn incoming(
    mut client: impl AsyncRead + Unpin,
    mut input: impl AsyncWrite + Unpin,
    answers: &Mutex<impl AsyncWrite + Unpin>,
) -> io::Result<()> {
    loop {
        let header = read_header(&mut client).await?;
        let control = header.opcode >= CLOSE;
        if control && header.length > CONTROL_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a control frame is too long"));
        }
        if control {
            let mut payload = Vec::new();
            copy_unmasked(&mut client, &mut payload, &header).await?;
            match header.opcode {
                CLOSE => return send(answers, CLOSE, &CLOSE_NORMAL).await,
                PING => send(answers, PONG, &payload).await?,
                _ => {}
            }
        } else {
            copy_unmasked(&mut client, &mut input, &header).await?;
        }
    }
}

/// Copies a frame's payload piece by piece.
async fn copy_unmasked(
    client: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    header: &Header,
) -> io::Result<()> {
    let mut payload = client.take(header.length);
    let mut mask = header.mask.iter().cycle();
    let mut piece = vec![0; PIECE];
    loop {
        let read = payload.read(&mut piece).await?;
        let Some(bytes) = piece.get_mut(..read).filter(|bytes| !bytes.is_empty()) else { break };
        bytes.iter_mut().zip(&mut mask).for_each(|(byte, mask)| *byte ^= mask);
        to.write_all(bytes).await?;
    }
    if payload.limit() > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// Masks a payload as a client does.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![FIN | opcode, MASKED | 126];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[tokio::test]
    async fn bytes_cross_in_both_directions() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let (sender, container) = tokio::sync::oneshot::channel();
        let early = frame(BINARY, b"early ");
        let task = tokio::spawn(bridge(server.into_std().unwrap().into(), early, |fd| {
            sender.send(fd).unwrap();
            std::future::ready(Ok::<(), io::Error>(()))
        }));
        let mut container = UnixStream::from_std(container.await.unwrap().into()).unwrap();
        client.write_all(&frame(PING, b"are you there")).await.unwrap();
        client.write_all(&frame(0, &[b'x'; 20_000])).await.unwrap();
        let mut pong = [0; 15];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x0dare you there");
        let mut input = vec![0; 20_006];
        container.read_exact(&mut input).await.unwrap();
        assert!(input.starts_with(b"early x") && input.ends_with(b"x"));
        container.write_all(&[b'o'; 300]).await.unwrap();
        let mut head = [0; 4];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!(head, [FIN | BINARY, 126, 1, 44]);
        let mut output = [0; 300];
        client.read_exact(&mut output).await.unwrap();
        assert_eq!(output, [b'o'; 300]);
        drop(container);
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        assert_eq!(close, [FIN | CLOSE, 2, 3, 232]);
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn frames_that_break_the_rules_end_the_session() {
        for bad in [&b"\x82\x01x"[..], b"\x89\xfe\x01\x00mask", b"\x82\x85mask1"] {
            let result = incoming(bad, tokio::io::sink(), &Mutex::new(tokio::io::sink())).await;
            assert!(result.is_err(), "{bad:?}");
        }
    }
}
