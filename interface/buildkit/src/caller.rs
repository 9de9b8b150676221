//! A client as the builder sees it.

use std::collections::HashMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::filesync::v1::CredentialsRequest;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use futures_util::future::BoxFuture;
use tare_build::Caller;
use tare_build::caller::{Directory, Login, Wanted};
use tare_engine::{ByteSource, Error, Result};
use tokio::net::UnixStream;
use tonic::{Code, Status};

use crate::agent;
use crate::builds::Build;
use crate::connection::origin;
use crate::files::{self, Which};
use crate::front::Front;
use crate::session::Session;

const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
/// Where contexts are that clients have as an archive.
pub(crate) const UPLOADS: &str = "http://buildkit-session";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";

/// A client in one build.
pub(crate) struct Client {
    front: Front,
    build: Arc<Build>,
    attributes: HashMap<String, String>,
}

impl Client {
    pub(crate) fn new(front: Front, build: Arc<Build>, attributes: HashMap<String, String>) -> Client {
        Client { front, build, attributes }
    }

    async fn session(&self) -> Result<Session> {
        self.front.0.sessions.get(&self.build.session).await.map_err(said)
    }

    /// The session, if it answers a method; not every request has one.
    async fn answering(&self, method: &str) -> Result<Option<Session>> {
        if self.build.session.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.session().await?).filter(|session| session.answers(method)))
    }

    /// A directory's name and the session that has it: clients that build several things share some.
    fn directory<'a>(&'a self, directory: &'a Directory) -> (&'a str, &'a str) {
        let by_key = |key: &str, default| self.attributes.get(key).map_or(default, String::as_str);
        let name = match directory {
            Directory::Context => by_key("contextkey", "context"),
            Directory::Dockerfile => by_key("dockerfilekey", "dockerfile"),
            Directory::Named(name) => name,
        };
        let session = self.attributes.get(&format!("local-sessionid:{name}"));
        (name, session.unwrap_or(&self.build.session))
    }
}

impl Caller for Client {
    fn archive(&self) -> BoxFuture<'_, Result<Option<ByteSource>>> {
        Box::pin(async move {
            if let Some(archive) = self.build.archive() {
                return Ok(Some(archive));
            }
            let Some(path) = self.attributes.get("context").and_then(|url| url.strip_prefix(UPLOADS)) else {
                return Ok(None);
            };
            files::upload(&self.session().await?, path).await.map(Some).map_err(said)
        })
    }

    fn files<'a>(&'a self, wanted: Wanted, progress: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (directory, session) = self.directory(&wanted.directory);
            let session = self.front.0.sessions.get(session).await.map_err(said)?;
            let which = Which { directory, follow: &wanted.follow, exclude: &wanted.exclude };
            files::fetch(&session, &which, &wanted.place, progress).await.map_err(said)
        })
    }

    fn login<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Login>>> {
        Box::pin(async move {
            let Some(session) = self.answering(CREDENTIALS).await? else { return Ok(None) };
            let mut client = AuthClient::with_origin(session.channel, origin());
            let answer = client.credentials(CredentialsRequest { host: host.to_owned() }).await.map_err(said)?;
            let answer = answer.into_inner();
            let login = Login { username: answer.username, secret: answer.secret };
            Ok(Some(login).filter(|login| *login != Login::default()))
        })
    }

    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            let Some(session) = self.answering(SECRET).await? else { return Ok(None) };
            let mut client = SecretsClient::with_origin(session.channel, origin());
            match client.get_secret(GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() }).await {
                Ok(answer) => Ok(Some(answer.into_inner().data)),
                Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
                Err(status) => Err(said(status)),
            }
        })
    }

    fn has_agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            if self.build.session.is_empty() {
                return Ok(false);
            }
            agent::check(&self.session().await?, id).await.map_err(said)
        })
    }

    fn agent<'a>(&'a self, id: &'a str, connection: UnixStream) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Ok(session) = self.session().await else { return };
            if let Err(status) = agent::forward(&session, id, connection).await {
                tracing::debug!("forwarding an agent: {status}");
            }
        })
    }
}

/// What a client answered instead, as the build's error.
pub(crate) fn said(status: Status) -> Error {
    Error::invalid(status.message().to_owned())
}
