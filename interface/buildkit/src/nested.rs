//! A session within a connection on which the client calls: clients that build several things at once open one this way for
//! what these share.

use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

use crate::connection::send_bytes;
use crate::front::Front;
use crate::session::Greeting;

/// Bytes under way in either direction.
const PIPE: usize = 64 << 10;
/// Messages that wait to be sent.
const WAITING_MAX: usize = 4;

/// Opens a session; what is to be sent on it comes back.
pub(crate) fn open(
    front: &Front,
    request: Request<Streaming<BytesMessage>>,
) -> Result<impl Stream<Item = Result<BytesMessage, Status>> + Send + use<>, Status> {
    let greeting = greeting(request.metadata());
    if greeting.id.is_empty() || front.attends(&greeting.id) {
        return Err(Status::already_exists(format!("session {} already exists", greeting.id)));
    }
    let mut messages = request.into_inner();
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (from, mut to) = tokio::io::split(theirs);
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let coming = async move {
        while let Ok(Some(message)) = messages.message().await {
            if to.write_all(&message.data).await.is_err() {
                break;
            }
        }
        // Ends the session; one that has ended hears of it no more.
        let _ = to.shutdown().await;
    };
    let going = send_bytes(from, sender, |data| Ok(BytesMessage { data }));
    let session = front.clone().attend(greeting, ours);
    tokio::spawn(async move { tokio::join!(coming, going, session) });
    Ok(poll_fn(move |context| receiver.poll_recv(context)))
}

fn greeting(metadata: &MetadataMap) -> Greeting {
    let texts = |name: &str| -> Vec<String> {
        metadata.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    Greeting {
        id: texts("x-docker-expose-session-uuid").pop().unwrap_or_default(),
        methods: texts("x-docker-expose-session-grpc-method"),
    }
}
