//! `/exec`, and `/containers/{name}/exec`.

use tare_docker_api::container::{ExecConfig, ExecStart};
use tare_docker_api::stream::media;
use tare_docker_api::versions;
use tare_engine::ErrorKind;

use super::Context;
use crate::error::{Failure, Result};
use crate::reply::{Reply, hijack_head};
use crate::request::Request;

/// `POST /containers/{name}/exec`
pub async fn create(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: ExecConfig = request.json().await?;
    if body.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::bad_request("No exec command specified"));
    }
    if request.below(42) {
        body.console_size = None;
    }
    Ok(Reply::created(&context.engine.exec_create(request.name(), body).await?))
}

/// `POST /exec/{name}/start`: detached an ordinary request, else the connection itself becomes the session.
pub async fn start(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: ExecStart = request.json().await?;
    if request.below(42) || !body.tty {
        body.console_size = None;
    }
    if body.detach {
        context.engine.exec_start_detached(request.name(), &body).await?;
        return Ok(Reply::empty(http::StatusCode::OK));
    }
    let content_type = if body.tty || request.below(42) { media::RAW } else { media::MULTIPLEXED };
    let head = hijack_head(request.wants_upgrade(), content_type, &context.header_lines());
    match context.engine.exec_attach(request.name(), &body) {
        Ok(ticket) => Ok(Reply::hijack(head, |fd, early| async move {
            if let Err(error) = ticket.connect(fd, early).await {
                tracing::debug!("exec: {error}");
            }
        })),
        // What an exec has already done is told within the stream, what its container does not allow before it.
        Err(error) if error.kind == ErrorKind::Conflict && error.message.starts_with("exec command ") => {
            let mut text = format!("{}\r\n", error.message).into_bytes();
            if !body.tty {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let frame = tare_docker_api::stream::frame_header(tare_docker_api::stream::StreamKind::Stdout, length);
                text.splice(..0, frame);
            }
            Ok(Reply::hijack([head, text].concat(), |_, _| async {}))
        }
        Err(error) => Err(error.into()),
    }
}

impl Context {
    /// The headers every answer has, as lines for the head of a taken-over connection.
    fn header_lines(&self) -> String {
        format!(
            "Api-Version: {}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Docker/{} (linux)\r\n",
            versions::MAX,
            self.config.server_version
        )
    }
}

/// `POST /exec/{name}/resize`
pub async fn resize(context: Context, request: Request) -> Result<Reply> {
    let (rows, columns) = (request.query.cells("h", "height")?, request.query.cells("w", "width")?);
    context.engine.exec_resize(request.name(), rows, columns).await?;
    Ok(Reply::empty(http::StatusCode::OK))
}

/// `GET /exec/{name}/json`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.exec_inspect(request.name()).await?))
}
