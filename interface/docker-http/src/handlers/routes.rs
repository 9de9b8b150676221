//! The table of routes: every operation of Docker's API, and Tare's own, in the order in which paths are tried.

use http::Method;
use tare_docker_api::versions::ApiVersion;

use super::{Context, alerts, build, buildkit, containers, exec, images, networks, system, unsupported, volumes};
use crate::router::Route;

macro_rules! routes {
    ($($method:ident $pattern:literal $operation:ident => $handler:path $(, since $minor:literal)? $(, until $goes:ident)?;)*) => {
        &[$(Route {
            method: Method::$method,
            pattern: $pattern,
            operation: stringify!($operation),
            since: routes!(@since $($minor)?),
            until_client_goes: routes!(@until $($goes)?),
            handler: |context, request| Box::pin($handler(context, request)),
        }),*]
    };
    (@until) => { false };
    (@until client_goes) => { true };
    (@since) => { None };
    (@since $minor:literal) => { Some(ApiVersion::v1($minor)) };
}

/// All routes.
pub static ROUTES: &[Route<Context>] = routes! {
    HEAD "/_ping" SystemPingHead => system::ping_head;
    GET "/_ping" SystemPing => system::ping;
    GET "/version" SystemVersion => system::version;
    GET "/info" SystemInfo => system::info;
    GET "/events" SystemEvents => system::events;
    GET "/system/df" SystemDataUsage => system::disk_usage;
    POST "/auth" SystemAuth => system::auth, until client_goes;

    GET "/containers/json" ContainerList => containers::list;
    POST "/containers/create" ContainerCreate => containers::create;
    POST "/containers/prune" ContainerPrune => containers::prune;
    GET "/containers/{name}/json" ContainerInspect => containers::inspect;
    GET "/containers/{name}/top" ContainerTop => containers::top;
    GET "/containers/{name}/logs" ContainerLogs => containers::logs;
    GET "/containers/{name}/changes" ContainerChanges => containers::changes;
    GET "/containers/{name}/export" ContainerExport => containers::export;
    GET "/containers/{name}/stats" ContainerStats => containers::stats;
    GET "/containers/{name}/attach/ws" ContainerAttachWebsocket => containers::attach_websocket;
    GET "/containers/{name}/archive" ContainerArchive => containers::archive_get;
    HEAD "/containers/{name}/archive" ContainerArchiveInfo => containers::archive_head;
    PUT "/containers/{name}/archive" PutContainerArchive => containers::archive_put;
    POST "/containers/{name}/resize" ContainerResize => containers::resize;
    POST "/containers/{name}/start" ContainerStart => containers::start;
    POST "/containers/{name}/stop" ContainerStop => containers::stop;
    POST "/containers/{name}/restart" ContainerRestart => containers::restart;
    POST "/containers/{name}/kill" ContainerKill => containers::kill;
    POST "/containers/{name}/update" ContainerUpdate => containers::update;
    POST "/containers/{name}/rename" ContainerRename => containers::rename;
    POST "/containers/{name}/pause" ContainerPause => containers::pause;
    POST "/containers/{name}/unpause" ContainerUnpause => containers::unpause;
    POST "/containers/{name}/attach" ContainerAttach => containers::attach;
    POST "/containers/{name}/wait" ContainerWait => containers::wait;
    POST "/containers/{name}/exec" ContainerExec => exec::create;
    GET "/containers/{name}/checkpoints" CheckpointList => unsupported::checkpoints;
    POST "/containers/{name}/checkpoints" CheckpointCreate => unsupported::checkpoints;
    DELETE "/containers/{name}/checkpoints/{rest}" CheckpointDelete => unsupported::checkpoints;
    DELETE "/containers/{name}" ContainerDelete => containers::remove;

    POST "/exec/{name}/start" ExecStart => exec::start;
    POST "/exec/{name}/resize" ExecResize => exec::resize;
    GET "/exec/{name}/json" ExecInspect => exec::inspect;

    GET "/images/json" ImageList => images::list;
    GET "/images/search" ImageSearch => images::search;
    GET "/images/get" ImageGetAll => images::save;
    POST "/images/create" ImageCreate => images::create, until client_goes;
    POST "/images/load" ImageLoad => images::load;
    POST "/images/prune" ImagePrune => images::prune;
    GET "/images/{name}/get" ImageGet => images::save;
    GET "/images/{name}/history" ImageHistory => images::history;
    GET "/images/{name}/json" ImageInspect => images::inspect;
    GET "/images/{name}/attestations" ImageAttestations => images::attestations, since 55;
    POST "/images/{name}/push" ImagePush => images::push, until client_goes;
    POST "/images/{name}/tag" ImageTag => images::tag;
    DELETE "/images/{name}" ImageDelete => images::remove;
    POST "/commit" ImageCommit => images::commit;
    GET "/distribution/{name}/json" DistributionInspect => images::distribution;
    POST "/build" ImageBuild => build::build;
    POST "/build/prune" BuildPrune => build::prune;
    POST "/build/cancel" BuildCancel => build::cancel;
    POST "/session" Session => buildkit::session;
    POST "/grpc" Grpc => buildkit::grpc;

    GET "/networks" NetworkList => networks::list;
    GET "/networks/" NetworkList => networks::list;
    GET "/networks/{name}" NetworkInspect => networks::inspect;
    POST "/networks/create" NetworkCreate => networks::create;
    POST "/networks/prune" NetworkPrune => networks::prune;
    POST "/networks/{name}/connect" NetworkConnect => networks::connect;
    POST "/networks/{name}/disconnect" NetworkDisconnect => networks::disconnect;
    DELETE "/networks/{name}" NetworkDelete => networks::remove;

    GET "/volumes" VolumeList => volumes::list;
    GET "/volumes/{name}" VolumeInspect => volumes::inspect;
    POST "/volumes/create" VolumeCreate => volumes::create;
    POST "/volumes/prune" VolumePrune => volumes::prune;
    PUT "/volumes/{name}" VolumeUpdate => unsupported::volume_update, since 42;
    DELETE "/volumes/{name}" VolumeDelete => volumes::remove;

    GET "/swarm" SwarmInspect => unsupported::swarm;
    POST "/swarm/init" SwarmInit => unsupported::swarm_begin;
    POST "/swarm/join" SwarmJoin => unsupported::swarm_begin;
    POST "/swarm/leave" SwarmLeave => unsupported::swarm_leave;
    POST "/swarm/update" SwarmUpdate => unsupported::swarm;
    GET "/swarm/unlockkey" SwarmUnlockkey => unsupported::swarm;
    POST "/swarm/unlock" SwarmUnlock => unsupported::swarm;
    GET "/nodes" NodeList => unsupported::swarm;
    GET "/nodes/{name}" NodeInspect => unsupported::swarm;
    DELETE "/nodes/{name}" NodeDelete => unsupported::swarm;
    POST "/nodes/{name}/update" NodeUpdate => unsupported::swarm;
    GET "/services" ServiceList => unsupported::swarm;
    POST "/services/create" ServiceCreate => unsupported::swarm;
    GET "/services/{name}/logs" ServiceLogs => unsupported::swarm;
    GET "/services/{name}" ServiceInspect => unsupported::swarm;
    DELETE "/services/{name}" ServiceDelete => unsupported::swarm;
    POST "/services/{name}/update" ServiceUpdate => unsupported::swarm;
    GET "/tasks" TaskList => unsupported::swarm;
    GET "/tasks/{name}/logs" TaskLogs => unsupported::swarm;
    GET "/tasks/{name}" TaskInspect => unsupported::swarm;
    GET "/secrets" SecretList => unsupported::swarm;
    POST "/secrets/create" SecretCreate => unsupported::swarm;
    GET "/secrets/{name}" SecretInspect => unsupported::swarm;
    DELETE "/secrets/{name}" SecretDelete => unsupported::swarm;
    POST "/secrets/{name}/update" SecretUpdate => unsupported::swarm;
    GET "/configs" ConfigList => unsupported::swarm;
    POST "/configs/create" ConfigCreate => unsupported::swarm;
    GET "/configs/{name}" ConfigInspect => unsupported::swarm;
    DELETE "/configs/{name}" ConfigDelete => unsupported::swarm;
    POST "/configs/{name}/update" ConfigUpdate => unsupported::swarm;

    GET "/tare/alerts" AlertList => alerts::list;
    POST "/tare/alerts" AlertCreate => alerts::create;
    GET "/tare/alerts/{name}" AlertInspect => alerts::inspect;
    DELETE "/tare/alerts/{name}" AlertDelete => alerts::remove;
    POST "/tare/alerts/{name}/test" AlertTest => alerts::test;

    GET "/plugins" PluginList => unsupported::plugin_list;
    GET "/plugins/privileges" GetPluginPrivileges => unsupported::plugin_install;
    POST "/plugins/pull" PluginPull => unsupported::plugin_install;
    POST "/plugins/create" PluginCreate => unsupported::plugin_install;
    GET "/plugins/{name}/json" PluginInspect => unsupported::plugin;
    POST "/plugins/{name}/enable" PluginEnable => unsupported::plugin;
    POST "/plugins/{name}/disable" PluginDisable => unsupported::plugin;
    POST "/plugins/{name}/upgrade" PluginUpgrade => unsupported::plugin;
    POST "/plugins/{name}/push" PluginPush => unsupported::plugin;
    POST "/plugins/{name}/set" PluginSet => unsupported::plugin;
    DELETE "/plugins/{name}" PluginDelete => unsupported::plugin;
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Router;

    /// Operations in Docker's description of the API.
    const DESCRIBED: usize = 108;
    /// Served without being described: builds over gRPC and their end, checkpoints.
    const UNDESCRIBED: [&str; 5] = ["BuildCancel", "CheckpointCreate", "CheckpointDelete", "CheckpointList", "Grpc"];

    /// Tare's own.
    const OWN: [&str; 5] = ["AlertCreate", "AlertDelete", "AlertInspect", "AlertList", "AlertTest"];

    #[test]
    fn no_route_hides_another() {
        let router = Router::new(ROUTES);
        for route in ROUTES {
            let path = route.pattern.replace("{name}", "a/b").replace("{rest}", "c");
            let (found, _) = router.find(&route.method, &path).unwrap();
            assert_eq!((&found.method, found.pattern), (&route.method, route.pattern));
        }
    }

    #[test]
    fn every_operation_is_there_once() {
        let operations: std::collections::BTreeSet<&str> = ROUTES.iter().map(|route| route.operation).collect();
        assert_eq!(operations.len(), DESCRIBED + UNDESCRIBED.len() + OWN.len());
        assert!(UNDESCRIBED.iter().chain(&OWN).all(|name| operations.contains(name)));
        // The list of networks also answers with a slash at its end.
        assert_eq!(ROUTES.len(), operations.len() + 1);
    }
}
