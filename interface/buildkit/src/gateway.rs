//! The service with which a client drives its build: it asks for a Dockerfile to be followed, and gives the result back.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as api;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridge;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::result::Result as Outcome;
use futures_util::Stream;
use prost::Message as _;
use tare_build::{Built, Event, Failure, Options};
use tare_engine::Engine;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::builds::Build;
use crate::caller::Client;
use crate::front::{Front, unsupported};
use crate::results::Inputs;
use crate::{attributes, caches, requests};

/// Says which build a call is part of.
const BUILD: &str = "buildkit-controlapi-buildid";
/// Events that wait to become messages.
const EVENTS_MAX: usize = 64;
/// What clients may ask here.
const CAPABILITIES: [&str; 9] = [
    "solve.base",
    "return",
    "returnmap",
    "proto.refarray",
    "frontend.caps",
    "gateway.solve.metadata",
    "gateway.evaluate",
    "gateway.warnings",
    "reference.output",
];

/// Looks at what a client wants of a Dockerfile.
fn prepare(
    front: &Front,
    build: &Arc<Build>,
    frontend: &str,
    attributes: HashMap<String, String>,
    inputs: &Inputs,
) -> Result<(Options, Arc<Client>, mpsc::Sender<Event>), Status> {
    if !matches!(frontend, "dockerfile.v0" | "gateway.v0") {
        return unsupported(&format!("the frontend {frontend:?}"));
    }
    let mut options = attributes::options(&attributes, inputs)?;
    options.host_network = build.may.host_network;
    if build.may.is_judged_by_client {
        options.warnings.push("the client's policy for sources is not asked by this engine".to_owned());
    }
    let caller = Arc::new(Client::new(front.clone(), Arc::clone(build), attributes));
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    build.tell(events);
    Ok((options, caller, sender))
}

/// Follows a Dockerfile of the client's.
pub(crate) async fn build(
    front: &Front,
    build: &Arc<Build>,
    frontend: &str,
    attributes: HashMap<String, String>,
    inputs: &Inputs,
) -> Result<Built, Status> {
    if let Some(request) = attributes.get(requests::KEY) {
        return unsupported(&format!("the request {request:?} without a gateway"));
    }
    let (options, caller, events) = prepare(front, build, frontend, attributes, inputs)?;
    tare_build::solve(&front.0.engine, options, caller, events).await.map_err(|failure| failed(&failure))
}

/// Answers a request about a Dockerfile of the client's.
async fn answer(
    front: &Front,
    build: &Arc<Build>,
    frontend: &str,
    attributes: HashMap<String, String>,
    inputs: &Inputs,
    request: &str,
) -> Result<api::Result, Status> {
    let request = requests::Request::parse(request)?;
    let (options, caller, events) = prepare(front, build, frontend, attributes, inputs)?;
    let (given, target) = (options.arguments.clone(), options.target.clone());
    let read = tare_build::read(&front.0.engine, options, caller, events).await;
    let read = read.map_err(|error| Status::unknown(error.message))?;
    Ok(api::Result { metadata: request.answer(&read, &given, &target)?, ..api::Result::default() })
}

/// A failure as gRPC says it: with the code that clients leave out.
pub(crate) fn failed(failure: &Failure) -> Status {
    Status::unknown(failure.to_string())
}

impl Front {
    /// The build that a call is part of.
    async fn build_of(&self, metadata: &MetadataMap) -> Result<Arc<Build>, Status> {
        let name = metadata.get(BUILD).and_then(|name| name.to_str().ok());
        let name = name.ok_or_else(|| Status::failed_precondition(format!("no {BUILD} found in context")))?;
        self.0.builds.get(name).await
    }
}

#[tonic::async_trait]
impl LlbBridge for Front {
    type ExecProcessStream = Pin<Box<dyn Stream<Item = Result<api::ExecMessage, Status>> + Send>>;

    async fn ping(&self, request: Request<api::PingRequest>) -> Result<Response<api::PongResponse>, Status> {
        self.build_of(request.metadata()).await?;
        let capability = |id: &&str| ApiCap { id: (*id).to_owned(), enabled: true, ..ApiCap::default() };
        let frontend_api_caps = CAPABILITIES.iter().map(capability).collect();
        Ok(Response::new(api::PongResponse { frontend_api_caps, workers: vec![self.worker()], ..Default::default() }))
    }

    async fn solve(&self, request: Request<api::SolveRequest>) -> Result<Response<api::SolveResponse>, Status> {
        let of = self.build_of(request.metadata()).await?;
        let request = request.into_inner();
        if request.definition.as_ref().is_some_and(|definition| !definition.def.is_empty()) {
            return unsupported("an LLB definition");
        }
        let inputs = self.1.inputs(&request.frontend_inputs)?;
        if request.source_policies.iter().any(|policy| !policy.rules.is_empty()) {
            return unsupported("a source policy");
        }
        let mut attributes = request.frontend_opt;
        attributes.extend(caches::of_gateway(&request.cache_imports).map(|all| ("cache-imports".to_owned(), all)));
        if let Some(asked) = attributes.get(requests::KEY).cloned() {
            let result = answer(self, &of, &request.frontend, attributes, &inputs, &asked).await?;
            return Ok(Response::new(api::SolveResponse { result: Some(result), ..api::SolveResponse::default() }));
        }
        let built = build(self, &of, &request.frontend, attributes, &inputs).await?;
        let reference = Engine::random_id();
        let def = Some(self.1.keep(&reference, built.kept()));
        of.keep(reference.clone(), built);
        let result = Outcome::Ref(api::Ref { id: reference, def });
        let result = api::Result { result: Some(result), ..api::Result::default() };
        Ok(Response::new(api::SolveResponse { result: Some(result), ..api::SolveResponse::default() }))
    }

    async fn r#return(&self, request: Request<api::ReturnRequest>) -> Result<Response<api::ReturnResponse>, Status> {
        let of = self.build_of(request.metadata()).await?;
        let request = request.into_inner();
        let returned = match request.error {
            Some(error) => {
                let details = error.encode_to_vec();
                Err(Status::with_details(Code::from(error.code), error.message, details.into()))
            }
            None => match request.result.and_then(|result| result.result) {
                Some(Outcome::Ref(reference)) => Ok(reference.id),
                Some(Outcome::RefDeprecated(id)) => Ok(id),
                None => Ok(String::new()),
                Some(Outcome::Refs(_) | Outcome::RefsDeprecated(_)) => unsupported("a build with several results"),
            },
        };
        of.give_back(returned);
        Ok(Response::new(api::ReturnResponse {}))
    }

    async fn evaluate(&self, _: Request<api::EvaluateRequest>) -> Result<Response<api::EvaluateResponse>, Status> {
        // What was solved is built.
        Ok(Response::new(api::EvaluateResponse {}))
    }

    async fn warn(&self, _: Request<api::WarnRequest>) -> Result<Response<api::WarnResponse>, Status> {
        unsupported("a client's warning")
    }

    async fn inputs(&self, _: Request<api::InputsRequest>) -> Result<Response<api::InputsResponse>, Status> {
        Ok(Response::new(api::InputsResponse::default()))
    }

    async fn resolve_image_config(
        &self,
        _: Request<api::ResolveImageConfigRequest>,
    ) -> Result<Response<api::ResolveImageConfigResponse>, Status> {
        unsupported("a client's look at an image")
    }

    async fn resolve_source_meta(
        &self,
        _: Request<api::ResolveSourceMetaRequest>,
    ) -> Result<Response<api::ResolveSourceMetaResponse>, Status> {
        unsupported("a client's look at a source")
    }

    async fn read_file(&self, _: Request<api::ReadFileRequest>) -> Result<Response<api::ReadFileResponse>, Status> {
        unsupported("a client's look into a result")
    }

    async fn read_dir(&self, _: Request<api::ReadDirRequest>) -> Result<Response<api::ReadDirResponse>, Status> {
        unsupported("a client's look into a result")
    }

    async fn stat_file(&self, _: Request<api::StatFileRequest>) -> Result<Response<api::StatFileResponse>, Status> {
        unsupported("a client's look into a result")
    }

    async fn new_container(
        &self,
        _: Request<api::NewContainerRequest>,
    ) -> Result<Response<api::NewContainerResponse>, Status> {
        unsupported("a client's container in a build")
    }

    async fn release_container(
        &self,
        _: Request<api::ReleaseContainerRequest>,
    ) -> Result<Response<api::ReleaseContainerResponse>, Status> {
        unsupported("a client's container in a build")
    }

    async fn exec_process(
        &self,
        _: Request<Streaming<api::ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        unsupported("a client's container in a build")
    }

    async fn read_file_container(
        &self,
        _: Request<api::ReadFileRequest>,
    ) -> Result<Response<api::ReadFileResponse>, Status> {
        unsupported("a client's container in a build")
    }

    async fn read_dir_container(
        &self,
        _: Request<api::ReadDirRequest>,
    ) -> Result<Response<api::ReadDirResponse>, Status> {
        unsupported("a client's container in a build")
    }

    async fn stat_file_container(
        &self,
        _: Request<api::StatFileRequest>,
    ) -> Result<Response<api::StatFileResponse>, Status> {
        unsupported("a client's container in a build")
    }
}
