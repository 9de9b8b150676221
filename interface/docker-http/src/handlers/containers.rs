//! `/containers`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Response};
use tare_docker_api::container::{Config, CreateRequest, PathStat, UpdateRequest};
use tare_docker_api::go;
use tare_docker_api::stream::media;
use tare_engine::{AttachOptions, ListOptions, LogOptions, RemoveOptions, StopOptions, WaitCondition};

use super::{Context, websocket};
use crate::body::Body;
use crate::error::{Failure, Result};
use crate::reply::{Reply, channel, encode_line, hijack_head, messages, typed};
use crate::request::Request;
use crate::upload;
use crate::versions::{requests, responses};

/// Largest body of a start that is overlooked, bytes: `null` and `{}` with some space.
const START_BODY_MAX: u64 = 7;

/// `GET /containers/json`
pub async fn list(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let limit = query.int("limit")?.filter(|limit| *limit > 0);
    let options = ListOptions {
        all: query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        size: query.flag("size"),
        filters: query.filters()?,
    };
    let mut containers = context.engine.list(options).await?;
    responses::container_list(request.version, &mut containers);
    Ok(Reply::json(&containers))
}

/// `POST /containers/create`
pub async fn create(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: CreateRequest = request.required_json().await.map_err(|failure| match failure.message.as_str() {
        // The one request that Docker decodes in another place.
        "invalid JSON: got EOF while reading request body" => Failure::bad_request("invalid JSON: EOF"),
        _ => failure,
    })?;
    if body.config == Config::default() {
        return Err(Failure::bad_request("config cannot be empty in order to create a container"));
    }
    let warnings = requests::create(request.version, &mut body)?;
    let platform = request.query.text("platform").filter(|_| !request.below(41));
    let mut response = context.engine.create(request.query.text("name"), platform, body).await?;
    response.warnings.extend(warnings);
    Ok(Reply::created(&response))
}

/// `GET /containers/{name}/json`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    let mut container = context.engine.inspect(request.name(), request.query.flag("size")).await?;
    responses::container(request.version, &mut container);
    Ok(Reply::json(&container))
}

/// `GET /containers/{name}/top`
pub async fn top(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.top(request.name(), request.query.get("ps_args")).await?))
}

/// `GET /containers/{name}/logs`
pub async fn logs(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::bad_request("must specify at least one of 'stdout' or 'stderr'"));
    }
    match query.get("format") {
        _ if request.below(54) => {}
        "" => {}
        "json" => return Err(Failure::not_implemented("logs with format=json are not supported by this engine")),
        _ => return Err(Failure::bad_request("unsupported log format")),
    }
    let follow = query.flag("follow");
    let options = LogOptions {
        stdout,
        stderr,
        since_ns: query.time("since")?.map(|time| time.unix_nanos()),
        until_ns: query.time("until")?.filter(|time| time.seconds() != 0).map(|time| time.unix_nanos()),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        // Anything but a number means all.
        tail: query.get("tail").parse().ok(),
        follow,
    };
    let log = context.engine.logs(request.name(), options).await?;
    let content_type = if log.tty || request.below(42) { media::RAW } else { media::MULTIPLEXED };
    let chunks = channel(log.chunks);
    Ok(Reply::body(content_type, if follow { Body::endless(chunks) } else { Body::chunks(chunks) }))
}

/// `GET /containers/{name}/changes`
pub async fn changes(context: Context, request: Request) -> Result<Reply> {
    let changes = context.engine.changes(request.name()).await?;
    // None at all are null, as clients know it from Docker.
    Ok(Reply::json(&(!changes.is_empty()).then_some(changes)))
}

/// `GET /containers/{name}/export`
pub async fn export(context: Context, request: Request) -> Result<Reply> {
    let archive = context.engine.export(request.name()).await?;
    Ok(Reply::body("application/octet-stream", Body::chunks(channel(archive))))
}

/// `GET /containers/{name}/stats`
pub async fn stats(context: Context, request: Request) -> Result<Reply> {
    let stream = request.query.flag_or("stream", true);
    let one_shot = request.query.flag("one-shot") && !request.below(41);
    let samples = messages(context.engine.stats(request.name(), stream, one_shot).await?, |sample, out| {
        encode_line(&sample, out);
    });
    Ok(Reply::body(media::JSON, if stream { Body::endless(samples) } else { Body::chunks(samples) }))
}

/// `POST /containers/{name}/resize`
pub async fn resize(context: Context, request: Request) -> Result<Reply> {
    let (rows, columns) = (request.query.cells("h", "height")?, request.query.cells("w", "width")?);
    context.engine.resize(request.name(), rows, columns).await?;
    Ok(Reply::empty(http::StatusCode::OK))
}

/// `POST /containers/{name}/start`
pub async fn start(context: Context, request: Request) -> Result<Reply> {
    use hyper::body::Body as _;
    if request.body.size_hint().exact().is_none_or(|length| length > START_BODY_MAX) {
        return Err(Failure::bad_request(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if request.query.text("checkpoint").is_some() {
        return Err(Failure::not_implemented("starting from a checkpoint is not supported by this engine"));
    }
    context.engine.start(request.name()).await?;
    Ok(Reply::no_content())
}

fn stop_options(request: &Request) -> Result<StopOptions> {
    let signal = request.query.text("signal").filter(|_| !request.below(42)).map(str::to_owned);
    Ok(StopOptions { signal, timeout_s: request.query.int("t")? })
}

/// `POST /containers/{name}/stop`
pub async fn stop(context: Context, request: Request) -> Result<Reply> {
    context.engine.stop(request.name(), stop_options(&request)?).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/restart`
pub async fn restart(context: Context, request: Request) -> Result<Reply> {
    context.engine.restart(request.name(), stop_options(&request)?).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/kill`
pub async fn kill(context: Context, request: Request) -> Result<Reply> {
    context.engine.kill(request.name(), request.query.text("signal")).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/pause`
pub async fn pause(context: Context, request: Request) -> Result<Reply> {
    context.engine.pause(request.name()).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/unpause`
pub async fn unpause(context: Context, request: Request) -> Result<Reply> {
    context.engine.unpause(request.name()).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/rename`
pub async fn rename(context: Context, request: Request) -> Result<Reply> {
    context.engine.rename(request.name(), request.query.get("name")).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/{name}/update`
pub async fn update(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: UpdateRequest = request.json().await?;
    requests::update(request.version, &mut body);
    Ok(Reply::json(&context.engine.update(request.name(), body).await?))
}

/// `POST /containers/{name}/wait`: the headers say that the wait is registered, the body comes at its end.
pub async fn wait(context: Context, request: Request) -> Result<Reply> {
    let condition = WaitCondition::parse(request.query.get("condition"))?;
    let exit = context.engine.wait(request.name(), condition)?;
    let line = async move { Ok(Bytes::from(go::encode(&exit.await))) };
    Ok(Reply::body(media::JSON, Body::endless(futures_util::stream::once(Box::pin(line)))))
}

fn attach_options(request: &Request) -> AttachOptions {
    let query = &request.query;
    AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        detach_keys: query.text("detachKeys").map(str::to_owned),
        raw: false,
    }
}

/// `POST /containers/{name}/attach`: the connection itself becomes the session. Errors are plain text, as in Docker.
pub async fn attach(context: Context, request: Request) -> Result<Reply> {
    let ticket = match context.engine.attach(request.name(), attach_options(&request)) {
        Ok(ticket) => ticket,
        Err(error) => {
            let failure = Failure::from(error);
            let text = format!("{}\r\n", failure.message);
            return Ok(Reply::Response(typed(failure.status, media::RAW, Body::Full(text.into()))));
        }
    };
    let multiplexed = ticket.multiplexed && !request.below(42);
    let content_type = if multiplexed { media::MULTIPLEXED } else { media::RAW };
    let head = hijack_head(request.wants_upgrade(), content_type, "");
    Ok(Reply::hijack(head, |fd, early| async move {
        if let Err(error) = ticket.connect(fd, early).await {
            tracing::debug!("attach: {error}");
        }
    }))
}

/// `GET /containers/{name}/attach/ws`
pub async fn attach_websocket(context: Context, request: Request) -> Result<Reply> {
    let mut options = AttachOptions { raw: true, ..attach_options(&request) };
    if request.below(42) {
        (options.stdin, options.stdout, options.stderr) = (true, true, true);
    }
    let ticket = context.engine.attach(request.name(), options)?;
    let head = match websocket::handshake(&request) {
        websocket::Answer::Accepted(head) => head,
        websocket::Answer::Refused(all) => return Ok(Reply::hijack(all, |_, _| async {})),
    };
    Ok(Reply::hijack(head, |fd, early| async move {
        let bridged = websocket::bridge(fd, early, |stream| ticket.connect(stream, Vec::new())).await;
        if let Err(error) = bridged {
            tracing::debug!("attach over websocket: {error}");
        }
    }))
}

/// `DELETE /containers/{name}`
pub async fn remove(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let options = RemoveOptions { force: query.flag("force"), volumes: query.flag("v"), link: query.flag("link") };
    context.engine.remove(request.name(), options).await?;
    Ok(Reply::no_content())
}

/// `POST /containers/prune`
pub async fn prune(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.prune_containers(request.query.filters()?).await?))
}

/// The path of an archive request.
fn archive_path(request: &Request) -> Result<&str> {
    if request.name().is_empty() {
        return Err(Failure::bad_request("bad parameter: name cannot be empty"));
    }
    request.query.text("path").ok_or_else(|| Failure::bad_request("bad parameter: path cannot be empty"))
}

/// Puts what is known about a path into the header.
fn with_stat(mut response: Response<Body>, stat: &PathStat) -> Result<Reply> {
    let json = serde_json::to_vec(stat).map_err(|error| Failure::internal(error.to_string()))?;
    let value = HeaderValue::from_str(&STANDARD.encode(json)).map_err(|error| Failure::internal(error.to_string()))?;
    response.headers_mut().insert("x-docker-container-path-stat", value);
    Ok(Reply::Response(response))
}

/// `HEAD /containers/{name}/archive`
pub async fn archive_head(context: Context, request: Request) -> Result<Reply> {
    let stat = context.engine.archive_stat(request.name(), archive_path(&request)?).await?;
    with_stat(Response::new(Body::empty()), &stat)
}

/// `GET /containers/{name}/archive`
pub async fn archive_get(context: Context, request: Request) -> Result<Reply> {
    let (stat, archive) = context.engine.archive_get(request.name(), archive_path(&request)?).await?;
    with_stat(typed(http::StatusCode::OK, media::TAR, Body::chunks(channel(archive))), &stat)
}

/// `PUT /containers/{name}/archive`
pub async fn archive_put(context: Context, request: Request) -> Result<Reply> {
    let path = archive_path(&request)?.to_owned();
    let (keep, owners) = (request.query.flag("noOverwriteDirNonDir"), request.query.flag("copyUIDGID"));
    let Request { captures, body, .. } = request;
    context.engine.archive_put(&captures.name, &path, keep, owners, upload::source(body)).await?;
    Ok(Reply::empty(http::StatusCode::OK))
}
