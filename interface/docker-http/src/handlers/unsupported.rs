//! What this engine does not have, answered as a Docker without it would answer.

use http::StatusCode;

use super::Context;
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;

/// 503: there is no swarm.
pub fn no_swarm() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    )
}

/// All of swarm, services, tasks, nodes, secrets and configs.
pub async fn swarm(_: Context, _: Request) -> Result<Reply> {
    Err(no_swarm())
}

/// What would begin a swarm.
pub async fn swarm_begin(_: Context, _: Request) -> Result<Reply> {
    Err(Failure::not_implemented("swarm mode is not supported by this engine"))
}

/// `POST /swarm/leave`
pub async fn swarm_leave(_: Context, _: Request) -> Result<Reply> {
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
}

/// `PUT /volumes/{name}`
pub async fn volume_update(_: Context, _: Request) -> Result<Reply> {
    let message = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message))
}

/// `GET /plugins`: none.
pub async fn plugin_list(_: Context, request: Request) -> Result<Reply> {
    request.query.filters()?.validate(&["capability", "enabled"])?;
    Ok(Reply::json::<[(); 0]>(&[]))
}

/// One plugin: there is none of that name.
pub async fn plugin(_: Context, request: Request) -> Result<Reply> {
    Err(Failure::new(StatusCode::NOT_FOUND, format!("plugin {:?} not found", request.name())))
}

/// What would install a plugin.
pub async fn plugin_install(_: Context, _: Request) -> Result<Reply> {
    Err(Failure::not_implemented("plugins are not supported by this engine"))
}

/// Checkpoints.
pub async fn checkpoints(_: Context, _: Request) -> Result<Reply> {
    Err(Failure::not_implemented("checkpoints are not supported by this engine"))
}
