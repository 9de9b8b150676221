//! The server: accepts connections, finds the route, answers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request as HttpRequest, Response, StatusCode, header};
use hyper::body::Incoming;
use tare_docker_api::stream::media;
use tare_docker_api::system::ErrorResponse;
use tare_docker_api::versions::{self, ApiVersion};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::connection;
use crate::error::{Failure, Result};
use crate::reply::{Hijack, Reply, typed};
use crate::request::{Query, Request};
use crate::router::{Captures, Route, Router, decode_path, split_version};
use crate::socket::{Arrival, Listener, Socket};
use crate::upload;

/// Time that requests in flight get when the server stops. Docker's daemon has 15 s for all; containers need none of it here.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed accept: the reason is nearly always a lack of descriptors, which does not go away at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the server says about itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// The product's version, in `Server: Docker/<version> (linux)`.
    pub server_version: String,
    /// The lowest API version accepted.
    pub min_version: ApiVersion,
    /// `Builder-Version` of a ping: `1` sends builds to `POST /build`, `2` to BuildKit.
    pub builder_version: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        let server_version = env!("CARGO_PKG_VERSION").to_owned();
        Config { server_version, min_version: versions::MIN, builder_version: "1" }
    }
}

/// A server of the routes of one table.
pub struct Server<S: 'static> {
    state: S,
    router: Router<S>,
    config: Config,
    headers: CommonHeaders,
    /// Cancelled when the server stops.
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

/// What is known of a request before its handler sees it.
type Accepted<S> = (&'static Route<S>, Captures, ApiVersion, Query);

/// Headers of every answer to a known route.
struct CommonHeaders {
    server: HeaderValue,
    api_version: HeaderValue,
}

impl CommonHeaders {
    fn new(config: &Config) -> Self {
        let value = |text: String| HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        CommonHeaders {
            server: value(format!("Docker/{} (linux)", config.server_version)),
            api_version: value(versions::MAX.to_string()),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Server<S> {
    /// A server that calls the handlers of `routes` with `state`.
    pub fn new(state: S, routes: &'static [Route<S>], config: Config) -> Arc<Self> {
        Arc::new(Server {
            state,
            router: Router::new(routes),
            headers: CommonHeaders::new(&config),
            config,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Serves the listeners until [`Server::stop`].
    pub async fn serve(self: &Arc<Self>, listeners: Vec<Listener>) {
        let accepting: Vec<_> =
            listeners.into_iter().map(|listener| tokio::spawn(self.clone().accept_from(listener))).collect();
        for task in accepting {
            if let Err(error) = task.await {
                tracing::error!("accepting connections: {error}");
            }
        }
    }

    async fn accept_from(self: Arc<Self>, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok(arrival) => self.spawn_arrival(arrival),
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Serves one connection in the background.
    pub fn spawn_connection(self: &Arc<Self>, socket: Socket) {
        self.spawn_arrival(Arrival::Ready(socket));
    }

    fn spawn_arrival(self: &Arc<Self>, arrival: Arrival) {
        let server = self.clone();
        self.tasks.spawn(async move {
            let established = tokio::select! {
                established = arrival.establish() => established,
                () = server.stop.cancelled() => None,
            };
            if let Some(socket) = established {
                connection::serve(server, socket).await;
            }
        });
    }

    /// Stops accepting, lets requests in flight finish for [`SHUTDOWN_GRACE`] and ends streams without an end.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("{} connections still open when the server stopped", self.tasks.len());
        }
    }

    /// The routes, in order.
    pub fn routes(&self) -> &'static [Route<S>] {
        self.router.routes()
    }

    /// What the server says about itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Answers one request, or says that the connection is taken over.
    pub(crate) async fn answer(&self, request: HttpRequest<Incoming>) -> Result<Response<Body>, Hijack> {
        let (parts, body) = request.into_parts();
        if parts.method == Method::OPTIONS {
            return Ok(self.with_headers(Response::new(Body::empty()), true));
        }
        let (route, captures, version, query) = match self.accept(&parts) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                upload::discard(body);
                return Ok(*refusal);
            }
        };
        let request = Request { version, captures, query, headers: parts.headers, body };
        let only_reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let result = if only_reads || route.until_client_goes {
            (route.handler)(self.state.clone(), request).await
        } else {
            self.run_to_the_end(route, request).await
        };
        match result {
            Ok(Reply::Response(response)) => Ok(self.with_headers(self.with_stop(response), true)),
            Ok(Reply::Hijack(hijack)) => Err(hijack),
            Err(failure) => {
                if failure.status.is_server_error() {
                    tracing::error!("{} {}: {failure}", route.method, route.pattern);
                }
                Ok(self.with_headers(failure_response(&failure, false), true))
            }
        }
    }

    /// The route of a request, the parts of its path, its version and query; or the refusal.
    fn accept(&self, parts: &http::request::Parts) -> Result<Accepted<S>, Box<Response<Body>>> {
        let path = decode_path(parts.uri.path()).map_err(|failure| Box::new(failure_response(&failure, false)))?;
        let (asked, path) = split_version(&path);
        let Some((route, captures)) = self.router.find(&parts.method, path) else {
            return Err(Box::new(failure_response(&Failure::page_not_found(), false)));
        };
        let version = self
            .check_version(asked, route)
            .map_err(|(failure, plain)| Box::new(self.with_headers(failure_response(&failure, plain), false)))?;
        let query = Query::parse(parts.uri.query().unwrap_or(""))
            .map_err(|failure| Box::new(self.with_headers(failure_response(&failure, false), true)))?;
        Ok((route, captures, version, query))
    }

    /// Runs a handler that changes something: it finishes even when its client goes away.
    async fn run_to_the_end(&self, route: &'static Route<S>, request: Request) -> Result<Reply> {
        let task = tokio::spawn((route.handler)(self.state.clone(), request));
        task.await.unwrap_or_else(|error| Err(Failure::internal(format!("{}: {error}", route.operation))))
    }

    /// The version to speak, or the error and whether it is written as plain text.
    fn check_version(&self, asked: Option<&str>, route: &Route<S>) -> Result<ApiVersion, (Failure, bool)> {
        let Some(asked) = asked else { return Ok(versions::MAX) };
        let version: ApiVersion = asked
            .parse()
            .map_err(|error: versions::InvalidVersion| (Failure::bad_request(error.to_string()), false))?;
        let min = self.config.min_version;
        if version < min {
            let message = format!(
                "client version {asked} is too old. Minimum supported API version is {min}, \
                 please upgrade your client to a newer version"
            );
            return Err((Failure::bad_request(message), version < versions::FLOOR));
        }
        if version > versions::MAX {
            let max = versions::MAX;
            let message = format!("client version {asked} is too new. Maximum supported API version is {max}");
            return Err((Failure::bad_request(message), false));
        }
        match route.since.filter(|since| version < *since) {
            Some(since) => {
                let message = format!("{} {} requires minimum API version {since}", route.method, route.pattern);
                Err((Failure::bad_request(message), false))
            }
            None => Ok(version),
        }
    }

    /// Adds the headers of every answer. `experimental` is left out where the request was refused for its version.
    fn with_headers(&self, mut response: Response<Body>, experimental: bool) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert("api-version", self.headers.api_version.clone());
        if experimental {
            headers.insert("docker-experimental", HeaderValue::from_static("false"));
        }
        headers.insert("ostype", HeaderValue::from_static("linux"));
        headers.insert(header::SERVER, self.headers.server.clone());
        response
    }

    /// Lets an endless body end with the server.
    fn with_stop(&self, mut response: Response<Body>) -> Response<Body> {
        if let Body::Endless(_, stop) = response.body_mut() {
            *stop = Some(Box::pin(self.stop.clone().cancelled_owned()));
        }
        response
    }
}

/// `{"message":"…"}` with its status; plain text for clients that predate it. A 304 has no body.
pub(crate) fn failure_response(failure: &Failure, plain: bool) -> Response<Body> {
    if failure.status == StatusCode::NOT_MODIFIED {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = failure.status;
        return response;
    }
    if plain {
        let text = format!("{}\n", failure.message);
        return typed(failure.status, "text/plain; charset=utf-8", Body::Full(text.into()));
    }
    let body = tare_docker_api::go::encode(&ErrorResponse { message: failure.message.clone() });
    typed(failure.status, media::JSON, Body::Full(body.into()))
}
