//! `/images`, `/commit` and `/distribution`.

use http::StatusCode;
use tare_docker_api::container::Config;
use tare_docker_api::stream::media;
use tare_engine::{ImageDetails, ImportSource};

use super::{Context, decode_platform, json_platform, registry_credentials, streams};
use crate::body::Body;
use crate::error::{Failure, Result};
use crate::reply::{Reply, channel};
use crate::request::Request;
use crate::upload;
use crate::versions::responses;

/// Results of a search that does not say how many it wants.
const SEARCH_LIMIT: usize = 25;

/// `GET /images/json`
pub async fn list(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let manifests = query.flag("manifests") && !request.below(47);
    if query.flag("identity") && !manifests && !request.below(54) {
        return Err(Failure::bad_request("conflicting options: identity requires manifests=1"));
    }
    let details = ImageDetails { shared_size: query.flag("shared-size"), manifests };
    let mut images = context.engine.images(query.filters()?, details).await?;
    responses::image_list(request.version, &mut images);
    Ok(Reply::json(&images))
}

/// `POST /images/create`: a pull, or an import.
pub async fn create(context: Context, request: Request) -> Result<Reply> {
    let Some(image) = request.query.text("fromImage") else { return import(context, request).await };
    // `pull -a` of old clients sends a name that ends in a colon.
    let image = image.strip_suffix(':').unwrap_or(image);
    if is_scratch(image) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "'scratch' is a reserved name"));
    }
    let (tag, platform) = (request.query.get("tag"), request.query.text("platform"));
    streams::progress(context.engine.pull(image, tag, platform, registry_credentials(&request)).await?).await
}

/// Whether a name is that of the empty image, in any spelling.
fn is_scratch(image: &str) -> bool {
    let path = image.strip_prefix("docker.io/").or_else(|| image.strip_prefix("index.docker.io/")).unwrap_or(image);
    let path = path.strip_prefix("library/").unwrap_or(path);
    path.split([':', '@']).next() == Some("scratch")
}

/// Makes an image of a root filesystem's archive in the body.
async fn import(context: Context, request: Request) -> Result<Reply> {
    let Request { query, body, .. } = request;
    let from = query.get("fromSrc");
    let source =
        if from == "-" { ImportSource::Sent(upload::source(body)) } else { ImportSource::Url(from.to_owned()) };
    let message = query.text("message").map_or_else(|| format!("Imported from {from}"), str::to_owned);
    let changes = query.all("changes").map(str::to_owned).collect();
    let stream = context
        .engine
        .import(query.get("repo"), query.get("tag"), &message, changes, query.text("platform"), source)
        .await?;
    streams::progress(stream).await
}

/// `GET /images/{name}/json`
pub async fn inspect(context: Context, request: Request) -> Result<Reply> {
    let manifests = request.query.flag("manifests") && !request.below(48);
    let platform = json_platform(&request, 49)?;
    if manifests && platform.is_some() {
        return Err(Failure::bad_request("conflicting options: manifests and platform options cannot both be set"));
    }
    let image = context.engine.image_inspect(request.name(), platform.as_deref(), manifests).await?;
    Ok(Reply::json(&responses::image(request.version, image)))
}

/// `GET /images/{name}/attestations`
pub async fn attestations(_: Context, _: Request) -> Result<Reply> {
    Err(Failure::not_implemented("attestations of images are not supported by this engine"))
}

/// `GET /images/{name}/history`
pub async fn history(context: Context, request: Request) -> Result<Reply> {
    let platform = json_platform(&request, 48)?;
    Ok(Reply::json(&context.engine.image_history(request.name(), platform.as_deref()).await?))
}

/// `POST /images/{name}/push`
pub async fn push(context: Context, request: Request) -> Result<Reply> {
    let platform = json_platform(&request, 46)?;
    let credentials = registry_credentials(&request);
    let tag = request.query.get("tag");
    streams::progress(context.engine.push(request.name(), tag, platform.as_deref(), credentials).await?).await
}

/// `POST /images/{name}/tag`
pub async fn tag(context: Context, request: Request) -> Result<Reply> {
    context.engine.tag(request.name(), request.query.get("repo"), request.query.get("tag")).await?;
    Ok(Reply::empty(StatusCode::CREATED))
}

/// `DELETE /images/{name}`
pub async fn remove(context: Context, request: Request) -> Result<Reply> {
    if request.name().trim().is_empty() {
        return Err(Failure::bad_request("image name cannot be blank"));
    }
    let platforms = request.query.all("platforms").filter(|_| !request.below(50)).map(decode_platform);
    let platforms = platforms.collect::<Result<Vec<_>>>()?;
    let (force, keep_parents) = (request.query.flag("force"), request.query.flag("noprune"));
    Ok(Reply::json(&context.engine.image_remove(request.name(), force, keep_parents, &platforms).await?))
}

/// `GET /images/search`
pub async fn search(context: Context, request: Request) -> Result<Reply> {
    let query = &request.query;
    let limit =
        query.int("limit").map_err(|error| Failure::bad_request(format!("invalid limit specified: {error}")))?;
    let limit = match limit.unwrap_or(0) {
        0 => SEARCH_LIMIT,
        limit if (1..=100).contains(&limit) => usize::try_from(limit).unwrap_or(SEARCH_LIMIT),
        limit => return Err(Failure::bad_request(format!("limit {limit} is outside the range of [1, 100]"))),
    };
    let credentials = registry_credentials(&request);
    Ok(Reply::json(&context.engine.search(query.get("term"), limit, query.filters()?, credentials).await?))
}

/// `POST /images/prune`
pub async fn prune(context: Context, request: Request) -> Result<Reply> {
    Ok(Reply::json(&context.engine.images_prune(request.query.filters()?).await?))
}

/// The platforms of a save or load: at most one below API 1.52, none below 1.48.
fn platforms(request: &Request) -> Result<Vec<String>> {
    if request.below(48) {
        return Ok(Vec::new());
    }
    let asked: Vec<&str> = request.query.all("platform").collect();
    if asked.len() > 1 && request.below(52) {
        return Err(Failure::bad_request(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later",
        ));
    }
    asked.into_iter().map(decode_platform).collect()
}

/// `GET /images/get` and `GET /images/{name}/get`
pub async fn save(context: Context, request: Request) -> Result<Reply> {
    let names = match request.name() {
        "" => request.query.all("names").map(str::to_owned).collect(),
        name => vec![name.to_owned()],
    };
    let platforms = platforms(&request)?;
    let archive = context.engine.save(names, &platforms).await?;
    Ok(Reply::body(media::TAR, Body::chunks(channel(archive))))
}

/// `POST /images/load`: errors are always in the stream.
pub async fn load(context: Context, request: Request) -> Result<Reply> {
    let platforms = platforms(&request)?;
    let quiet = request.query.flag_or("quiet", true);
    let stream = context.engine.load(quiet, &platforms, upload::source(request.body)).await?;
    Ok(streams::progress_with_errors(stream).await)
}

/// `POST /commit`
pub async fn commit(context: Context, mut request: Request) -> Result<Reply> {
    let body: Config = request.json().await?;
    let config = Some(body).filter(|body| *body != Config::default());
    let query = &request.query;
    let changes = query.all("changes").map(str::to_owned).collect();
    let response = context
        .engine
        .commit(
            query.get("container"),
            query.get("repo"),
            query.get("tag"),
            query.get("comment"),
            query.get("author"),
            query.flag_or("pause", true),
            changes,
            config,
        )
        .await?;
    Ok(Reply::created(&response))
}

/// `GET /distribution/{name}/json`
pub async fn distribution(context: Context, request: Request) -> Result<Reply> {
    let credentials = registry_credentials(&request);
    Ok(Reply::json(&context.engine.distribution_inspect(request.name(), credentials).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_image_in_all_spellings() {
        for name in ["scratch", "scratch:latest", "library/scratch", "docker.io/library/scratch@sha256:0"] {
            assert!(is_scratch(name), "{name}");
        }
        for name in ["me/scratch", "localhost/scratch", "scratchy", ""] {
            assert!(!is_scratch(name), "{name}");
        }
    }
}
