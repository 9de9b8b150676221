//! The router: one static table of routes, tried in order.
//!
//! A pattern holds at most one `{name}`, which matches anything, slashes included (`/images/{name}/json` matches
//! `/images/a/b/c/json`), and after it at most one `{rest}` without slashes. The same table feeds the answers to unknown
//! paths, the documentation and the tests.

use std::borrow::Cow;

use http::Method;
use tare_docker_api::versions::ApiVersion;

use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;

/// The future a handler returns.
pub type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Reply>> + Send>>;

/// Serves one route. `S` is what the server was made with, the engine.
pub type Handler<S> = fn(S, Request) -> Answer;

/// One route.
pub struct Route<S: 'static> {
    /// `GET`, `POST`, …
    pub method: Method,
    /// `/containers/{name}/json`.
    pub pattern: &'static str,
    /// The operation's name in the API's description.
    pub operation: &'static str,
    /// The API version that introduced it, where that is above the lowest accepted one.
    pub since: Option<ApiVersion>,
    /// Whether it is given up when its client goes away before the answer has begun. What changes something is not, as a
    /// rule; but what waits for somebody else (a registry) may wait for long, and has done nothing before.
    pub until_client_goes: bool,
    /// Serves it.
    pub handler: Handler<S>,
}

/// What the path says beside the route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    /// `{name}`.
    pub name: String,
    /// `{rest}`.
    pub rest: String,
}

/// A table of routes, ready to be searched.
pub struct Router<S: 'static> {
    routes: &'static [Route<S>],
    patterns: Vec<Pattern>,
}

/// A pattern taken apart at its variables.
enum Pattern {
    Exact(&'static str),
    /// Prefix, suffix.
    Name(&'static str, &'static str),
    /// Prefix, middle.
    NameRest(&'static str, &'static str),
}

impl Pattern {
    fn new(pattern: &'static str) -> Self {
        match pattern.split_once("{name}") {
            None => Pattern::Exact(pattern),
            Some((prefix, suffix)) => match suffix.strip_suffix("{rest}") {
                None => Pattern::Name(prefix, suffix),
                Some(middle) => Pattern::NameRest(prefix, middle),
            },
        }
    }

    fn capture<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        match self {
            Pattern::Exact(pattern) => (path == *pattern).then_some(("", "")),
            Pattern::Name(prefix, suffix) => Some((path.strip_prefix(prefix)?.strip_suffix(suffix)?, "")),
            Pattern::NameRest(prefix, middle) => {
                let (name, rest) = path.strip_prefix(prefix)?.rsplit_once(middle)?;
                (!rest.is_empty() && !rest.contains('/')).then_some((name, rest))
            }
        }
    }
}

impl<S> Router<S> {
    /// Prepares a table.
    pub fn new(routes: &'static [Route<S>]) -> Self {
        Router { routes, patterns: routes.iter().map(|route| Pattern::new(route.pattern)).collect() }
    }

    /// The first route that matches method and path (decoded, without the version).
    pub fn find(&self, method: &Method, path: &str) -> Option<(&'static Route<S>, Captures)> {
        let candidates = self.routes.iter().zip(&self.patterns).filter(|(route, _)| route.method == *method);
        candidates.into_iter().find_map(|(route, pattern)| {
            let (name, rest) = pattern.capture(path)?;
            Some((route, Captures { name: name.to_owned(), rest: rest.to_owned() }))
        })
    }

    /// All routes, in order.
    pub fn routes(&self) -> &'static [Route<S>] {
        self.routes
    }
}

/// Splits `/v1.44/rest` into the version's text and `/rest`.
pub fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned = || {
        let after = path.strip_prefix("/v")?;
        let (version, _) = after.split_once('/')?;
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_version.then(|| (version, &after[version.len()..]))
    };
    versioned().map_or((None, path), |(version, rest)| (Some(version), rest))
}

/// Decodes percent escapes in a path and joins repeated slashes (clients put names with a leading slash into paths).
pub fn decode_path(path: &str) -> Result<Cow<'_, str>> {
    let decoded = if path.contains('%') { Cow::Owned(percent_decode(path, false)?) } else { Cow::Borrowed(path) };
    if !decoded.contains("//") {
        return Ok(decoded);
    }
    let mut joined = String::with_capacity(decoded.len());
    for c in decoded.chars() {
        if c != '/' || !joined.ends_with('/') {
            joined.push(c);
        }
    }
    Ok(Cow::Owned(joined))
}

/// Decodes `%xx`, and in a query `+` as a space. Go's sentence for a broken escape.
pub(crate) fn percent_decode(text: &str, plus: bool) -> Result<String> {
    let broken = |escape: &str| Failure::bad_request(format!("invalid URL escape {escape:?}"));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2)) else {
                    let end = text.len().min(at + 3);
                    return Err(broken(text.get(at..end).unwrap_or("%")));
                };
                out.push(u8::try_from(high * 16 + low).unwrap_or(0));
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| Failure::bad_request("invalid URL: not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn route(method: Method, pattern: &'static str) -> Route<()> {
        Route {
            method,
            pattern,
            operation: pattern,
            since: None,
            until_client_goes: false,
            handler: |(), _| unreachable!(),
        }
    }

    static ROUTES: [Route<()>; 6] = [
        route(Method::GET, "/images/json"),
        route(Method::GET, "/images/{name}/json"),
        route(Method::DELETE, "/images/{name}"),
        route(Method::GET, "/containers/{name}/attach/ws"),
        route(Method::POST, "/containers/{name}/attach"),
        route(Method::DELETE, "/containers/{name}/checkpoints/{rest}"),
    ];

    fn find(method: Method, path: &str) -> Option<(&'static str, String, String)> {
        let (route, captures) = Router::new(&ROUTES).find(&method, path)?;
        Some((route.pattern, captures.name, captures.rest))
    }

    fn named(pattern: &'static str, name: &str) -> Option<(&'static str, String, String)> {
        Some((pattern, name.into(), String::new()))
    }

    #[test]
    fn names_may_hold_slashes() {
        assert_eq!(find(Method::GET, "/images/json"), named("/images/json", ""));
        assert_eq!(find(Method::GET, "/images/a/b:c/json"), named("/images/{name}/json", "a/b:c"));
        assert_eq!(find(Method::DELETE, "/images/a/json"), named("/images/{name}", "a/json"));
        assert_eq!(find(Method::DELETE, "/images/"), named("/images/{name}", ""));
        assert_eq!(find(Method::GET, "/containers/a/attach/ws"), named("/containers/{name}/attach/ws", "a"));
        assert_eq!(find(Method::POST, "/containers/a/attach/ws"), None);
        assert_eq!(find(Method::GET, "/images/a"), None);
        assert_eq!(find(Method::GET, "/imagesjson"), None);
        let checkpoint = find(Method::DELETE, "/containers/a/b/checkpoints/c");
        assert_eq!(checkpoint, Some(("/containers/{name}/checkpoints/{rest}", "a/b".into(), "c".into())));
        assert_eq!(find(Method::DELETE, "/containers/a/checkpoints/c/d"), None);
    }

    #[test]
    fn versions_are_split_off() {
        assert_eq!(split_version("/v1.44/info"), (Some("1.44"), "/info"));
        assert_eq!(split_version("/v1.2.3/info"), (Some("1.2.3"), "/info"));
        for path in ["/version", "/volumes/x", "/v/info", "/v1.44", "/vx/info", "info", ""] {
            assert_eq!(split_version(path), (None, path));
        }
    }

    #[test]
    fn paths_are_decoded_and_slashes_joined() {
        assert_eq!(decode_path("/a%2Fb%20c").unwrap(), "/a/b c");
        assert_eq!(decode_path("//a///b/").unwrap(), "/a/b/");
        assert_eq!(decode_path("/a+b").unwrap(), "/a+b");
        assert!(decode_path("/a%ff").is_err() && decode_path("/a%2").is_err() && decode_path("/%é").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(path in "\\PC{0,40}", query in "[a-z%&=+é0-9]{0,40}") {
            let _ = decode_path(&path).map(|path| find(Method::GET, split_version(&path).1));
            let _ = crate::request::Query::parse(&query);
            let _ = crate::request::Query::parse(&path);
        }

        #[test]
        fn escaping_is_undone(text in "\\PC{0,20}") {
            let escaped: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(percent_decode(&escaped, true).unwrap(), text);
        }

        #[test]
        fn any_name_comes_back(name in "[a-z0-9/:@._-]{1,40}") {
            let found = find(Method::GET, &format!("/containers/{name}/attach/ws"));
            prop_assert_eq!(found, Some(("/containers/{name}/attach/ws", name, String::new())));
        }
    }
}
