//! A request as handlers see it: captures, query, version, headers, body.

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;
use tare_docker_api::filters::Filters;
use tare_docker_api::time::{Time, parse_unix};
use tare_docker_api::versions::ApiVersion;

use crate::error::{Failure, Result};
use crate::router::{Captures, percent_decode};
use crate::{json, mismatch};

/// Largest JSON body, bytes. A container's configuration is kilobytes; the largest documents carry long environments.
pub const JSON_BODY_MAX: usize = 4 << 20;

/// The query parameters, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part of the URL after `?`.
    pub fn parse(text: &str) -> Result<Self> {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((percent_decode(key, true)?, percent_decode(value, true)?))
        };
        text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_>>().map(Query)
    }

    /// The first value of a parameter; empty without one.
    pub fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or("")
    }

    /// The first value, `None` when missing or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Docker's booleans: empty, `0`, `no`, `false` and `none` are false in any case; everything else is true.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.get(name).trim();
        !["", "0", "no", "false", "none"].iter().any(|no| value.eq_ignore_ascii_case(no))
    }

    /// A boolean with a default for when it is missing.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// A whole number; `None` when missing or empty. The sentence is Go's.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        let parse =
            |value: &str| value.parse().map_err(|_| Failure::bad_request(go_number_error("strconv.Atoi", value)));
        self.text(name).map(parse).transpose()
    }

    /// One side of a terminal's size, which must be there.
    pub fn cells(&self, name: &str, what: &str) -> Result<u16> {
        let value = self.get(name);
        let fail = |why| Failure::bad_request(format!("invalid resize {what} {value:?}: {why}"));
        let digits = value.strip_prefix('-').unwrap_or(value);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fail("invalid syntax"));
        }
        // The kernel's winsize holds 16 bits, the API 32: larger values are clamped.
        let cells: u32 = value.parse().map_err(|_| fail("value out of range"))?;
        Ok(u16::try_from(cells).unwrap_or(u16::MAX))
    }

    /// Unix seconds with an optional fraction; `None` when missing or empty.
    pub fn time(&self, name: &str) -> Result<Option<Time>> {
        let parse = |value| {
            parse_unix(value).map_err(|error| Failure::bad_request(format!("invalid value for {name:?}: {error}")))
        };
        self.text(name).map(parse).transpose()
    }

    /// The parameter `filters`.
    pub fn filters(&self) -> Result<Filters> {
        Ok(Filters::parse(self.get("filters"))?)
    }
}

/// The error text of Go's `strconv`.
fn go_number_error(function: &str, value: &str) -> String {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let why = if number { "value out of range" } else { "invalid syntax" };
    format!("{function}: parsing {value:?}: {why}")
}

/// A request that was matched to a route.
pub struct Request {
    /// The API version it speaks.
    pub version: ApiVersion,
    /// What the path captured.
    pub captures: Captures,
    /// The query.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, unread.
    pub body: Incoming,
}

impl Request {
    /// `{name}` of the path.
    pub fn name(&self) -> &str {
        &self.captures.name
    }

    /// Whether the API version is below `1.minor`.
    pub fn below(&self, minor: u32) -> bool {
        self.version < ApiVersion::v1(minor)
    }

    /// A header's value; empty when missing or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Whether the client wants the connection switched to another protocol.
    pub fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(header::UPGRADE)
    }

    /// Whether there is certainly no body.
    pub fn has_no_body(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Reads a JSON body; without a body the zero value.
    pub async fn json<T: Default + DeserializeOwned>(&mut self) -> Result<T> {
        self.check_json()?;
        if self.has_no_body() { Ok(T::default()) } else { self.required_json().await }
    }

    /// Reads a JSON body that must be there.
    pub async fn required_json<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.check_json()?;
        decode_json(&self.bytes(JSON_BODY_MAX).await?)
    }

    /// The rule for bodies: `Content-Type` must be `application/json`, unless there is no body at all.
    fn check_json(&self) -> Result<()> {
        let kind = self.header("content-type");
        if kind.is_empty() {
            if self.has_no_body() {
                return Ok(());
            }
            return Err(Failure::bad_request("malformed Content-Type header (): mime: no media type"));
        }
        let media_type = kind.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Failure::bad_request(format!("unsupported Content-Type header ({kind}): must be 'application/json'")))
    }

    /// Reads the whole body, at most `max` bytes.
    pub async fn bytes(&mut self, max: usize) -> Result<Bytes> {
        match Limited::new(&mut self.body, max).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Failure::bad_request(format!("request body is larger than {max} bytes")))
            }
            Err(error) => Err(Failure::bad_request(format!("reading request body: {error}"))),
        }
    }
}

/// Decodes one JSON document. The sentences are Docker's.
fn decode_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::bad_request("invalid JSON: got EOF while reading request body"));
    }
    let mut decoder = serde_json::Deserializer::from_slice(body);
    let value = T::deserialize(&mut decoder).map_err(|error| {
        let complaint = json::complaint(body).or_else(|| mismatch::complaint::<T>(body, &error));
        let complaint = complaint.unwrap_or_else(|| error.to_string());
        Failure::bad_request(format!("invalid JSON: {complaint}"))
    })?;
    decoder.end().map_err(|_| Failure::bad_request("unexpected content after JSON"))?;
    Ok(value)
}

/// The offer that `Accept` names with the highest weight, wildcards aside; the first of equals.
pub fn accepted<'o>(headers: &HeaderMap, offers: &[&'o str]) -> Option<&'o str> {
    let mut best: Option<(f32, &str)> = None;
    let specs: Vec<(&str, f32)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(accept_item)
        .collect();
    for offer in offers {
        for (kind, weight) in &specs {
            if *weight > 0.0 && kind.eq_ignore_ascii_case(offer) && best.is_none_or(|(top, _)| *weight > top) {
                best = Some((*weight, offer));
            }
        }
    }
    best.map(|(_, offer)| offer)
}

/// One element of `Accept` or `Accept-Encoding`: the value and its weight.
fn accept_item(item: &str) -> (&str, f32) {
    let mut parts = item.split(';').map(str::trim);
    let kind = parts.next().unwrap_or("");
    let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
    (kind, weight)
}

#[cfg(test)]
mod tests {
    use tare_docker_api::container::CreateRequest;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn booleans() {
        for no in ["", "x=", "x=0", "x=No", "x=FALSE", "x=none", "x=%20false%20", "y=1"] {
            assert!(!query(no).flag("x"), "{no}");
        }
        for yes in ["x=1", "x=yes", "x=f", "x=00", "x=1&x=0"] {
            assert!(query(yes).flag("x"), "{yes}");
        }
        assert!(query("").flag_or("x", true) && !query("x").flag_or("x", true));
    }

    #[test]
    fn repeated_and_escaped() {
        let query = query("names=a%2Fb&names=c+d&&k");
        assert_eq!(query.all("names").collect::<Vec<_>>(), ["a/b", "c d"]);
        assert!(query.has("k") && query.text("k").is_none());
        assert_eq!(Query::parse("a=%zz").unwrap_err().message, r#"invalid URL escape "%zz""#);
        assert_eq!(Query::parse("a=%").unwrap_err().message, r#"invalid URL escape "%""#);
    }

    #[test]
    fn numbers() {
        assert_eq!(query("t=-1").int("t"), Ok(Some(-1)));
        assert_eq!(query("t=").int("t"), Ok(None));
        assert_eq!(query("t=x").int("t").unwrap_err().message, r#"strconv.Atoi: parsing "x": invalid syntax"#);
        assert_eq!(
            query("h=x").cells("h", "height").unwrap_err().message,
            r#"invalid resize height "x": invalid syntax"#
        );
        assert_eq!(query("").cells("h", "height").unwrap_err().message, r#"invalid resize height "": invalid syntax"#);
        assert_eq!(
            query("h=-5").cells("h", "height").unwrap_err().message,
            r#"invalid resize height "-5": value out of range"#
        );
        assert_eq!(query("h=70000").cells("h", "height"), Ok(u16::MAX));
        assert_eq!(
            query("since=x").time("since").unwrap_err().message,
            r#"invalid value for "since": invalid timestamp "x": invalid seconds "x": invalid syntax"#
        );
    }

    #[test]
    fn json_bodies() {
        let decode = |body: &str| decode_json::<CreateRequest>(body.as_bytes()).map(|_| ()).unwrap_err().message;
        assert_eq!(decode(""), "invalid JSON: got EOF while reading request body");
        assert_eq!(decode("{} {}"), "unexpected content after JSON");
        assert_eq!(decode("{x"), "invalid JSON: invalid character 'x' looking for beginning of object key string");
        assert!(decode(r#"{"Tty":"no"}"#).starts_with("invalid JSON: "));
        assert!(decode_json::<CreateRequest>(b" {} \n").is_ok());
    }

    #[test]
    fn accept_ignores_wildcards_and_obeys_weights() {
        let offers = ["application/jsonl", "application/x-ndjson"];
        let ask = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            accepted(&headers, &offers)
        };
        assert_eq!(ask("*/*"), None);
        assert_eq!(ask("application/jsonl;q=0.5, application/x-ndjson"), Some("application/x-ndjson"));
        assert_eq!(ask("application/x-ndjson, application/jsonl"), Some("application/jsonl"));
        assert_eq!(ask("application/jsonl;q=0"), None);
        assert_eq!(accepted(&HeaderMap::new(), &offers), None);
    }
}
