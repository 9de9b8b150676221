//! `/tare/alerts`: not Docker's.

use http::StatusCode;
use tare_alerts::Error;
use tare_docker_api::alert::AlertSpec;

use super::Context;
use crate::error::{Failure, Result};
use crate::reply::Reply;
use crate::request::Request;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Taken(_) => StatusCode::CONFLICT,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Target(_) => StatusCode::BAD_GATEWAY,
            Error::Store(_) | Error::Document(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.to_string())
    }
}

/// `GET /tare/alerts`
pub async fn list(context: Context, _: Request) -> Result<Reply> {
    Ok(Reply::json(&context.alerts.list()))
}

/// `POST /tare/alerts`
pub async fn create(context: Context, mut request: Request) -> Result<Reply> {
    let body: AlertSpec = request.json().await?;
    Ok(Reply::created(&context.alerts.add(body).await?))
}

/// `GET /tare/alerts/{name}`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.alerts.inspect(request.name())?))
}

/// `DELETE /tare/alerts/{name}`
pub async fn remove(context: Context, request: Request) -> Result<Reply> {
    context.alerts.remove(request.name()).await?;
    Ok(Reply::no_content())
}

/// `POST /tare/alerts/{name}/test`
pub async fn test(context: Context, request: Request) -> Result<Reply> {
    context.alerts.test(request.name()).await?;
    Ok(Reply::no_content())
}
