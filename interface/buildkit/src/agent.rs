//! A client's SSH agent, for a command that was granted it.

use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest};
use futures_util::stream::poll_fn;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use crate::connection::{origin, send_bytes};
use crate::files::put;
use crate::session::Session;

/// Messages under way.
const WAITING_MAX: usize = 4;
const METHOD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";

/// Whether the client has an agent of this name.
pub(crate) async fn check(session: &Session, id: &str) -> Result<bool, Status> {
    if !session.answers(METHOD) {
        return Ok(false);
    }
    let mut client = SshClient::with_origin(session.channel.clone(), origin());
    match client.check_agent(CheckAgentRequest { id: id.to_owned() }).await {
        Ok(_) => Ok(true),
        // Clients say of a name that they do not know nothing more than that.
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented | Code::Unknown) => Ok(false),
        Err(status) => Err(status),
    }
}

/// Connects a command's connection with the agent, to the end of either.
pub(crate) async fn forward(session: &Session, id: &str, connection: UnixStream) -> Result<(), Status> {
    let (from, mut to) = connection.into_split();
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let mut request = Request::new(poll_fn(move |context| receiver.poll_recv(context)));
    put(request.metadata_mut(), "buildkit.ssh.id", &[id.to_owned()])?;
    let mut client = SshClient::with_origin(session.channel.clone(), origin());
    let asking = send_bytes(from, sender, |data| BytesMessage { data });
    let answering = async move {
        let mut answers = client.forward_agent(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if to.write_all(&answer.data).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let (answered, ()) = tokio::join!(answering, asking);
    answered
}
