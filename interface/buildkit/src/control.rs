//! The service that builds are asked of.

use std::collections::HashMap;
use std::pin::Pin;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1 as api;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::Control;
use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::pb;
use futures_util::{Stream, StreamExt as _, stream};
use tare_docker_api::filters::Filters;
use tare_docker_api::image::BuildCacheRecord;
use tare_docker_api::time::Time;
use tare_engine::{Bounds, CacheSelector};
use tare_images::oci::Platform;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status, Streaming};

use crate::builds::May;
use crate::exports::{self, Export};
use crate::front::{Front, unsupported};
use crate::results::Inputs;
use crate::{caches, gateway, nested};

/// The only worker.
const WORKER: &str = "tare";
/// That commands may have the machine's own network.
const HOST_NETWORK: &str = "network.host";
/// The time here, in answers about the history.
const CURRENT_TIME: &str = "buildkit-currenttimestamp";

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Front {
    pub(crate) fn worker(&self) -> WorkerRecord {
        let host = Platform::host();
        let platform = pb::Platform {
            architecture: host.architecture,
            os: host.os,
            variant: host.variant,
            ..pb::Platform::default()
        };
        let mut labels = HashMap::from([
            ("org.mobyproject.buildkit.worker.executor".to_owned(), WORKER.to_owned()),
            // With it, clients know that images go into archives and registries from here.
            ("org.mobyproject.buildkit.worker.snapshotter".to_owned(), "overlayfs".to_owned()),
        ]);
        if let Some(address) = self.0.engine.host_gateway() {
            labels.insert("org.mobyproject.buildkit.worker.moby.host-gateway-ip".to_owned(), address.to_string());
        }
        WorkerRecord {
            id: WORKER.to_owned(),
            labels,
            platforms: vec![platform],
            buildkit_version: Some(version()),
            ..WorkerRecord::default()
        }
    }
}

fn version() -> BuildkitVersion {
    BuildkitVersion {
        package: WORKER.to_owned(),
        version: format!("v{}", env!("CARGO_PKG_VERSION")),
        revision: String::new(),
    }
}

/// A record of the cache in BuildKit's form.
fn usage(record: BuildCacheRecord) -> api::UsageRecord {
    let stamp = |time: Time| Timestamp { seconds: time.seconds(), nanos: 0 };
    api::UsageRecord {
        id: record.id,
        in_use: record.in_use,
        size: record.size,
        parents: record.parents.into_iter().collect(),
        created_at: Some(stamp(record.created_at)),
        last_used_at: record.last_used_at.map(stamp),
        usage_count: record.usage_count,
        description: record.description,
        record_type: record.kind,
        shared: record.shared,
        ..api::UsageRecord::default()
    }
}

/// Refuses what a request asks for beside frontend, attributes and exporter.
fn look_at(request: &api::SolveRequest) -> Result<(), Status> {
    if request.definition.as_ref().is_some_and(|definition| !definition.def.is_empty()) {
        return Err(Status::unimplemented("LLB definitions are not supported by this engine: only Dockerfiles are"));
    }
    if let Some(name) = request.frontend_inputs.keys().next() {
        return unsupported(&format!("the input {name:?} of a build"));
    }
    if request.source_policy.as_ref().is_some_and(|policy| !policy.rules.is_empty()) {
        return unsupported("a source policy");
    }
    if let Some(entitlement) = request.entitlements.iter().find(|entitlement| *entitlement != HOST_NETWORK) {
        // Docker's builder says so of what its configuration does not grant.
        return Err(Status::unknown(format!(
            "granting entitlement {entitlement} is not allowed by build daemon configuration"
        )));
    }
    caches::check(request.cache.as_ref())
}

#[tonic::async_trait]
impl Control for Front {
    type PruneStream = Answers<api::UsageRecord>;
    type StatusStream = Answers<api::StatusResponse>;
    type SessionStream = Answers<api::BytesMessage>;
    type ListenBuildHistoryStream = Answers<api::BuildHistoryEvent>;

    async fn info(&self, _: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>, Status> {
        Ok(Response::new(api::InfoResponse { buildkit_version: Some(version()) }))
    }

    async fn list_workers(
        &self,
        _: Request<api::ListWorkersRequest>,
    ) -> Result<Response<api::ListWorkersResponse>, Status> {
        Ok(Response::new(api::ListWorkersResponse { record: vec![self.worker()] }))
    }

    async fn solve(&self, request: Request<api::SolveRequest>) -> Result<Response<api::SolveResponse>, Status> {
        let request = request.into_inner();
        look_at(&request)?;
        let export = Export::asked(&request)?;
        let may = May {
            host_network: request.entitlements.iter().any(|entitlement| entitlement == HOST_NETWORK),
            is_judged_by_client: !request.source_policy_session.is_empty(),
        };
        let record = api::BuildHistoryRecord {
            r#ref: request.r#ref.clone(),
            frontend: request.frontend.clone(),
            frontend_attrs: request.frontend_attrs.clone(),
            exporters: request.exporters.clone(),
            ..api::BuildHistoryRecord::default()
        };
        let mut attributes = request.frontend_attrs;
        attributes.extend(caches::asked(request.cache.as_ref()).map(|imports| ("cache-imports".to_owned(), imports)));
        let (known, returned) = self.0.builds.begin(&request.r#ref, &request.session, may)?;
        // What a client only asks for itself, about the builder, is no build of its user's.
        let recording = (!request.internal).then(|| self.0.history.begin(known.build.hub.clone(), record));
        let work = async {
            let built = if request.frontend.is_empty() {
                // The client drives the build itself, on the gateway, and says there what came of it.
                let reference = returned.await.map_err(|_| Status::cancelled("context canceled"))??;
                known.build.take(&reference)
            } else {
                Some(gateway::build(self, &known.build, &request.frontend, attributes, &Inputs::default()).await?)
            };
            match built {
                Some(built) => exports::export(self, &request.session, export, built).await,
                None => Ok(HashMap::new()),
            }
        };
        let exported = work.await;
        known.build.told().await;
        if let Some(recording) = recording {
            recording.end(exported.clone());
        }
        Ok(Response::new(api::SolveResponse { exporter_response: exported? }))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let name = request.get_ref().r#ref.as_str();
        if let Some(messages) = self.0.history.log(name) {
            return Ok(Response::new(stream::iter(messages).map(Ok).boxed()));
        }
        let build = self.0.builds.get(name).await?;
        let messages = match build.hub.listen() {
            Ok(messages) => messages.boxed(),
            Err(_) => build.hub.follow().boxed(),
        };
        Ok(Response::new(messages))
    }

    async fn session(
        &self,
        request: Request<Streaming<api::BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(nested::open(self, request)?.boxed()))
    }

    async fn disk_usage(
        &self,
        request: Request<api::DiskUsageRequest>,
    ) -> Result<Response<api::DiskUsageResponse>, Status> {
        let selector = CacheSelector::parse(&request.get_ref().filter);
        let selector = selector.map_err(|error| Status::invalid_argument(error.message))?;
        let records = self.0.engine.build_cache().await.map_err(|error| Status::internal(error.message))?;
        let record = records.into_iter().filter(|record| selector.takes(record)).map(usage).collect();
        Ok(Response::new(api::DiskUsageResponse { record }))
    }

    async fn prune(&self, request: Request<api::PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        let request = request.into_inner();
        let selector =
            CacheSelector::parse(&request.filter).map_err(|error| Status::invalid_argument(error.message))?;
        let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let bounds = Bounds {
            reserved: bytes(request.reserved_space),
            max_used: bytes(request.max_used_space),
            min_free: bytes(request.min_free_space),
        };
        let mut filters = Filters::default();
        if request.keep_duration > 0 {
            filters.add("until", format!("{}ns", request.keep_duration));
        }
        let report = self.0.engine.build_prune(filters, selector, bounds).await;
        let report = report.map_err(|error| Status::internal(error.message))?;
        // What was freed is known as a whole: the first record has it.
        let mut size = i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX);
        let mut caches: Vec<String> = report.caches_deleted.into_iter().collect();
        if caches.is_empty() && size > 0 {
            caches.push(WORKER.to_owned());
        }
        let records: Vec<_> = caches
            .into_iter()
            .map(|id| api::UsageRecord { id, size: std::mem::take(&mut size), ..api::UsageRecord::default() })
            .collect();
        Ok(Response::new(stream::iter(records).map(Ok).boxed()))
    }

    async fn listen_build_history(
        &self,
        request: Request<api::BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        let request = request.into_inner();
        let (now, later) = self.0.history.listen(&request);
        let later = stream::unfold(later, move |later| {
            let name = request.r#ref.clone();
            async move {
                let mut later = later?;
                loop {
                    match later.recv().await {
                        Ok(event) if is_of(&event, &name) => return Some((event, Some(later))),
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        });
        let mut response =
            Response::new(stream::iter(now).chain(later).map(Ok).boxed() as Self::ListenBuildHistoryStream);
        // By it, clients tell how long a build in progress has taken.
        if let Ok(time) = jiff::Timestamp::now().to_string().parse() {
            response.metadata_mut().insert(CURRENT_TIME, time);
        }
        Ok(response)
    }

    async fn update_build_history(
        &self,
        request: Request<api::UpdateBuildHistoryRequest>,
    ) -> Result<Response<api::UpdateBuildHistoryResponse>, Status> {
        self.0.history.update(request.get_ref())?;
        Ok(Response::new(api::UpdateBuildHistoryResponse {}))
    }
}

fn is_of(event: &api::BuildHistoryEvent, name: &str) -> bool {
    name.is_empty() || event.record.as_ref().is_some_and(|record| record.r#ref == name)
}
