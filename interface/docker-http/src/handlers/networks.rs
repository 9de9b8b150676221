//! `/networks`.

use http::StatusCode;
use tare_docker_api::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};

use super::Context;
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;
use crate::versions::{requests, responses};

/// `GET /networks`
pub async fn list(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.networks(request.query.filters()?).await?))
}

/// `GET /networks/{name}`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    let verbose = request.query.get("verbose");
    if !["", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"].contains(&verbose) {
        return Err(Failure::bad_request(format!(
            "invalid value for verbose: {verbose}: strconv.ParseBool: parsing {verbose:?}: invalid syntax"
        )));
    }
    if !["", "local"].contains(&request.query.get("scope")) {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("network {} not found", request.name())));
    }
    let mut network = context.engine.network_inspect(request.name()).await?;
    responses::network(request.version, &mut network);
    Ok(Reply::json(&network))
}

/// `POST /networks/create`
pub async fn create(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: NetworkCreateRequest = request.json().await?;
    requests::network_create(request.version, &mut body);
    Ok(Reply::created(&context.engine.network_create(body).await?))
}

/// `DELETE /networks/{name}`
pub async fn remove(context: Context, request: Request) -> Result<Reply> {
    context.engine.network_remove(request.name()).await?;
    Ok(Reply::no_content())
}

/// `POST /networks/{name}/connect`
pub async fn connect(context: Context, mut request: Request) -> Result<Reply> {
    let mut body: NetworkConnectRequest = request.json().await?;
    requests::network_connect(request.version, &mut body);
    context.engine.network_connect(request.name(), body).await?;
    Ok(Reply::empty(StatusCode::OK))
}

/// `POST /networks/{name}/disconnect`
pub async fn disconnect(context: Context, mut request: Request) -> Result<Reply> {
    let body: NetworkDisconnectRequest = request.json().await?;
    context.engine.network_disconnect(request.name(), body).await?;
    Ok(Reply::empty(StatusCode::OK))
}

/// `POST /networks/prune`
pub async fn prune(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.networks_prune(request.query.filters()?).await?))
}
