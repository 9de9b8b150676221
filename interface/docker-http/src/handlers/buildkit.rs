//! `/grpc` and `/session`: connections that BuildKit's clients take over.

use std::io;
use std::os::fd::OwnedFd;

use tare_buildkit::Greeting;
use tokio::net::{TcpStream, UnixStream};

use super::Context;
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;
use crate::socket::{Rewound, Socket};

/// What both connections speak from then on.
const PROTOCOL: &str = "h2c";
const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// `POST /grpc`: the client calls.
pub async fn grpc(context: Context, request: Request) -> Result<Reply> {
    check(&request)?;
    Ok(Reply::hijack(HEAD.to_vec(), move |connection, early| async move {
        match stream(connection, early) {
            Ok(stream) => context.front.serve(stream).await,
            Err(error) => tracing::warn!("taking over a connection: {error}"),
        }
    }))
}

/// `POST /session`: the client is called.
pub async fn session(context: Context, request: Request) -> Result<Reply> {
    check(&request)?;
    let id = request.header("x-docker-expose-session-uuid").to_owned();
    if context.front.attends(&id) {
        return Err(Failure::internal(format!("session {id} already exists")));
    }
    let methods = request.headers.get_all("x-docker-expose-session-grpc-method").iter();
    let methods = methods.filter_map(|method| method.to_str().ok().map(str::to_owned)).collect();
    let greeting = Greeting { id, methods };
    Ok(Reply::hijack(HEAD.to_vec(), move |connection, early| async move {
        match stream(connection, early) {
            Ok(stream) => drop(context.front.attend(greeting, stream).await),
            Err(error) => tracing::warn!("taking over a connection: {error}"),
        }
    }))
}

fn check(request: &Request) -> Result<()> {
    match request.header("upgrade") {
        "" => Err(Failure::internal("no upgrade proto in request")),
        PROTOCOL => Ok(()),
        other => Err(Failure::internal(format!("protocol {other} not supported"))),
    }
}

/// The connection as a stream again, whatever its kind.
fn stream(connection: OwnedFd, early: Vec<u8>) -> io::Result<Rewound> {
    let socket = match rustix::net::getsockname(&connection)?.address_family() {
        rustix::net::AddressFamily::UNIX => Socket::Unix(UnixStream::from_std(connection.into())?),
        _ => Socket::Tcp(TcpStream::from_std(connection.into())?),
    };
    Ok(Rewound::new(early, socket))
}
