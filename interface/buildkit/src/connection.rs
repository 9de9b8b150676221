//! gRPC on a byte stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard_buildkit_proto::moby::buildkit::v1::control_server::ControlServer;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridgeServer;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::front::Front;

/// Calls that one connection may have open at once.
const CALLS_MAX: u32 = 128;
/// Bytes that may come before they are read, for one call and for a whole connection.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);
/// Bytes of one message where there may be any number.
const PIECE: usize = 32 << 10;

/// What is answered.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) control: ControlServer<Front>,
    pub(crate) gateway: LlbBridgeServer<Front>,
}

/// Answers calls until the other side closes.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    services: Services,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| answer(services.clone(), request));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(CALLS_MAX)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(mut services: Services, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    match path.split('/').nth(1).unwrap_or_default() {
        "moby.buildkit.v1.Control" => services.control.call(request).await,
        "moby.buildkit.v1.frontend.LLBBridge" => services.gateway.call(request).await,
        _ => Ok(Status::unimplemented(format!("unknown service or method {path}")).into_http()),
    }
}

/// A connection on which the other side answers.
#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Body>);

/// Where calls go: nowhere else than to the other side.
pub(crate) fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

/// Begins to call on a byte stream. The future ends when the connection does.
pub(crate) async fn call(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(Channel, impl Future<Output = Result<(), hyper::Error>>), hyper::Error> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    Ok((Channel(sender), connection))
}

/// Sends bytes as messages, until there are no more or nobody wants them.
pub(crate) async fn send_bytes<T>(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<T>,
    message: impl Fn(Vec<u8>) -> T,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let data = piece.get(..read).unwrap_or_default().to_vec();
        if to.send(message(data)).await.is_err() {
            break;
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
