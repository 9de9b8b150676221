//! `/volumes`.

use tare_docker_api::volume::VolumeCreateRequest;

use super::Context;
use crate::error::Result;
use crate::reply::Reply;
use crate::request::Request;

/// `GET /volumes`
pub async fn list(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.volumes(request.query.filters()?).await?))
}

/// `POST /volumes/create`
pub async fn create(context: Context, mut request: Request) -> Result<Reply> {
    let body: VolumeCreateRequest = request.json().await?;
    if body.cluster_volume_spec.is_some() && !request.below(42) {
        return Err(super::unsupported::no_swarm());
    }
    Ok(Reply::created(&context.engine.volume_create(body).await?))
}

/// `GET /volumes/{name}`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.volume_inspect(request.name()).await?))
}

/// `DELETE /volumes/{name}`
pub async fn remove(context: Context, request: Request) -> Result<Reply> {
    context.engine.volume_remove(request.name(), request.query.flag("force")).await?;
    Ok(Reply::no_content())
}

/// `POST /volumes/prune`: below API 1.42 named volumes go too.
pub async fn prune(context: Context, request: Request) -> Result<Reply> {
    let mut filters = request.query.filters()?;
    if request.below(42) {
        filters.add("all", "true");
    }
    Ok(Reply::json(&context.engine.volumes_prune(filters).await?))
}
