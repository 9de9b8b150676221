//! Requests: method, path, query, headers, body.

use std::io;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;

use crate::Inner;
use crate::error::Error;
use crate::host::Host;

/// What hyper sends.
pub(crate) type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

/// Parameters of a request, encoded as they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(String);

impl Query {
    /// No parameters.
    pub fn new() -> Query {
        Query::default()
    }

    /// Adds a parameter.
    #[must_use]
    pub fn add(mut self, key: &str, value: impl AsRef<str>) -> Query {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        encode(&mut self.0, key, "");
        self.0.push('=');
        encode(&mut self.0, value.as_ref(), "");
        self
    }

    /// Adds a parameter unless it is empty.
    #[must_use]
    pub fn some(self, key: &str, value: impl AsRef<str>) -> Query {
        if value.as_ref().is_empty() { self } else { self.add(key, value) }
    }

    /// Adds `key=1` when `on`.
    #[must_use]
    pub fn flag(self, key: &str, on: bool) -> Query {
        if on { self.add(key, "1") } else { self }
    }

    /// The encoded text, without `?`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes all but unreserved characters and those in `keep`.
fn encode(out: &mut String, text: &str, keep: &str) {
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') || keep.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// A request's body.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// All at once.
    Full(Bytes),
    /// As it comes, chunked.
    Stream(std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl Body {
    /// A body sent as it comes. An error ends the request.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }

    fn into_http(self) -> HttpBody {
        match self {
            Body::Empty => Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync(),
            Body::Full(bytes) => Full::new(bytes).map_err(|e| match e {}).boxed_unsync(),
            Body::Stream(stream) => BodyExt::boxed_unsync(StreamBody::new(stream.map(|part| part.map(Frame::data)))),
        }
    }
}

/// A request to be sent by [`crate::Client::send`].
#[derive(Default)]
pub struct Request {
    method: Method,
    path: String,
    query: Query,
    headers: Vec<(HeaderName, String)>,
    body: Body,
}

impl Request {
    fn new(method: Method, path: impl Into<String>) -> Request {
        Request { method, path: path.into(), ..Request::default() }
    }
    /// `GET path`; the path is without version and not encoded.
    pub fn get(path: impl Into<String>) -> Request {
        Request::new(Method::GET, path)
    }
    /// `HEAD path`
    pub fn head(path: impl Into<String>) -> Request {
        Request::new(Method::HEAD, path)
    }
    /// `POST path`
    pub fn post(path: impl Into<String>) -> Request {
        Request::new(Method::POST, path)
    }
    /// `PUT path`
    pub fn put(path: impl Into<String>) -> Request {
        Request::new(Method::PUT, path)
    }
    /// `DELETE path`
    pub fn delete(path: impl Into<String>) -> Request {
        Request::new(Method::DELETE, path)
    }
    /// Sets the parameters.
    #[must_use]
    pub fn query(mut self, query: Query) -> Request {
        self.query = query;
        self
    }
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Request {
        self.headers.push((HeaderName::from_static(name), value.into()));
        self
    }
    /// Sets a JSON body.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Request {
        // Values of our own types always encode; a map with odd keys would give an empty body, which the daemon refuses.
        self.body = Body::Full(serde_json::to_vec(value).unwrap_or_default().into());
        self.header("content-type", "application/json")
    }
    /// Sets a body of another type.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: Body) -> Request {
        self.body = body;
        self.header("content-type", content_type)
    }

    /// Path and query as they are sent.
    pub(crate) fn target(&self, prefix: &str) -> String {
        let mut target = prefix.to_owned();
        // What a path may hold besides unreserved characters (RFC 3986, section 3.3), and the slash.
        encode(&mut target, &self.path, "/:@!$&'()*+,;=");
        if !self.query.0.is_empty() {
            target.push('?');
            target.push_str(&self.query.0);
        }
        target
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn into_http(self, target: &str, inner: &Inner) -> Result<http::Request<HttpBody>, Error> {
        let bad = |why: &dyn std::fmt::Display| Error::Exchange(format!("{target}: {why}"));
        let host = match inner.connection.host() {
            Host::Unix(_) => "api.moby.localhost",
            Host::Tcp(address) => address,
            Host::Ssh(_) => "docker.example.com",
        };
        let mut request = http::Request::builder().method(self.method.clone()).uri(target).header("host", host);
        for (name, value) in &inner.headers {
            request = request.header(name, value);
        }
        request = request.header("user-agent", concat!("tare/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value).map_err(|e| bad(&format!("header {name}: {e}")))?;
            request = request.header(name, value);
        }
        request.body(self.body.into_http()).map_err(|e| bad(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let query = Query::new().add("filters", r#"{"a":["b c"]}"#).some("x", "").flag("all", true).flag("no", false);
        let request = Request::get("/images/a/b:c@sha256:1 ?é/json").query(query);
        insta::assert_snapshot!(request.target("/v1.55"), @"/v1.55/images/a/b:c@sha256:1%20%3F%C3%A9/json?filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D&all=1");
    }
}
