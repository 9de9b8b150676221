//! The engine as a whole: ping, version, info, events, disk usage, login.

use http::{HeaderValue, Response, header};
use tare_docker_api::auth::AuthConfig;
use tare_docker_api::stream::media;
use tare_docker_api::time::Time;
use tare_engine::EventOptions;

use super::Context;
use crate::body::Body;
use crate::error::{Failure, Result};
use crate::reply::{Reply, encode_line, messages, typed};
use crate::request::{Request, accepted};
use crate::versions::responses;

/// Starts each record of a JSON text sequence (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// `GET /_ping`
pub async fn ping(context: Context, _: Request) -> Result<Reply> {
    Ok(Reply::Response(pong(&context, Body::Full("OK".into()))))
}

/// `HEAD /_ping`
pub async fn ping_head(context: Context, _: Request) -> Result<Reply> {
    let mut response = pong(&context, Body::empty());
    // Said in so many words: the HTTP library leaves it out where there is no body by definition.
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(Reply::Response(response))
}

fn pong(context: &Context, body: Body) -> Response<Body> {
    let mut response = typed(http::StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert("builder-version", HeaderValue::from_static(context.config.builder_version));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    response
}

/// `GET /version`
pub async fn version(context: Context, _: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.version().await?))
}

/// `GET /info`
pub async fn info(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&responses::info(request.version, context.engine.info().await?)))
}

/// `GET /system/df`
pub async fn disk_usage(context: Context, request: Request) -> Result<Reply> {
    let types: Vec<String> = match request.below(42) {
        true => Vec::new(),
        false => request.query.all("type").map(str::to_owned).collect(),
    };
    let usage = context.engine.df(&types).await?;
    Ok(Reply::json(&responses::disk_usage(request.version, request.query.flag("verbose"), usage)))
}

/// `GET /events`
pub async fn events(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let (since, until) = (query.time("since")?, query.time("until")?);
    if let (Some(from), Some(to)) = (since, until)
        && to < from
    {
        let (from, to) = (query.get("since"), query.get("until"));
        return Err(Failure::bad_request(format!("`since` time ({from}) cannot be after `until` time ({to})")));
    }
    let options = EventOptions {
        since_ns: since.map(Time::unix_nanos),
        until_ns: until.map(Time::unix_nanos),
        filters: query.filters()?,
    };
    let default = if request.below(52) { media::JSON } else { media::JSON_LINES };
    let offers = [media::JSON_LINES, media::NDJSON, media::JSON_SEQ];
    let content_type = accepted(&request.headers, &offers).unwrap_or(default);
    let version = request.version;
    let lines = messages(context.engine.events(options)?, move |event, out| {
        if let Some(event) = responses::event(version, event) {
            if content_type == media::JSON_SEQ {
                out.push(RECORD_SEPARATOR);
            }
            encode_line(&event, out);
        }
    });
    Ok(Reply::body(content_type, Body::endless(lines)))
}

/// `POST /auth`
pub async fn auth(context: Context, mut request: Request) -> Result<Reply> {
    let body: AuthConfig = request.required_json().await?;
    Ok(Reply::json(&context.engine.auth(body).await?))
}
