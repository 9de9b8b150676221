//! What the API's documents look like to a template: Go's types, in a small language of their own.
//!
//! A template sees a structure, not the JSON it came from: fields that the daemon leaves out have their zero value there
//! (`{{if .State.Health}}`), durations print as `30s`, structures as `{…}`. Documents are described by [`TYPES`]; what it
//! does not describe is plain JSON.
//!
//! A line is a type: its name in Go, then its fields, `Name` or `Name:jsonName`, each with a type: `string`, `bool`, `int`,
//! `duration`, `time`, `any`, `[]T`, `map[T]` (keys are strings), `*T` (may be nil), or the name of another line.

use std::sync::Arc;

use tare_docker_api::time::Time;
use tare_gotemplate::{Json, List, Map, Named, Struct, Type, Value};

use super::text::go_duration;

/// The types.
const TYPES: &str = "
container.InspectResponse ID:Id=string Created=string Path=string Args=[]string State=*container.State Image=string \
 ResolvConfPath=string HostnamePath=string HostsPath=string LogPath=string Name=string RestartCount=int Driver=string \
 Platform=string MountLabel=string ProcessLabel=string AppArmorProfile=string ExecIDs=[]string \
 HostConfig=*container.HostConfig GraphDriver=*storage.DriverData Storage=*storage.Storage SizeRw=*int SizeRootFs=*int \
 Mounts=[]container.MountPoint Config=*container.Config NetworkSettings=*container.NetworkSettings \
 ImageManifestDescriptor=*v1.Descriptor
container.State Status=string Running=bool Paused=bool Restarting=bool OOMKilled=bool Dead=bool Pid=int ExitCode=int \
 Error=string StartedAt=string FinishedAt=string Health=*container.Health
container.Health Status=string FailingStreak=int Log=[]*container.HealthcheckResult
container.HealthcheckResult Start=time End=time ExitCode=int Output=string
container.MountPoint Type=string Name=string Source=string Destination=string Driver=string Mode=string RW=bool \
 Propagation=string
container.NetworkSettings SandboxID=string SandboxKey=string Ports=map[[]network.PortBinding] \
 Networks=map[*network.EndpointSettings]
container.Config Hostname=string Domainname=string User=string AttachStdin=bool AttachStdout=bool AttachStderr=bool \
 ExposedPorts=map[struct{}] Tty=bool OpenStdin=bool StdinOnce=bool Env=[]string Cmd=[]string \
 Healthcheck=*v1.HealthcheckConfig ArgsEscaped=bool Image=string Volumes=map[struct{}] WorkingDir=string \
 Entrypoint=[]string NetworkDisabled=bool OnBuild=[]string Labels=map[string] StopSignal=string StopTimeout=*int \
 Shell=[]string
v1.HealthcheckConfig Test=[]string Interval=duration Timeout=duration StartPeriod=duration StartInterval=duration Retries=int
container.HostConfig Binds=[]string ContainerIDFile=string LogConfig=container.LogConfig NetworkMode=string \
 PortBindings=map[[]network.PortBinding] RestartPolicy=container.RestartPolicy AutoRemove=bool VolumeDriver=string \
 VolumesFrom=[]string ConsoleSize=[]int Annotations=map[string] CapAdd=[]string CapDrop=[]string CgroupnsMode=string \
 DNS:Dns=[]string DNSOptions:DnsOptions=[]string DNSSearch:DnsSearch=[]string ExtraHosts=[]string GroupAdd=[]string \
 IpcMode=string Cgroup=string Links=[]string OomScoreAdj=int PidMode=string Privileged=bool PublishAllPorts=bool \
 ReadonlyRootfs=bool SecurityOpt=[]string StorageOpt=map[string] Tmpfs=map[string] UTSMode=string UsernsMode=string \
 ShmSize=int Sysctls=map[string] Runtime=string Isolation=string CPUShares:CpuShares=int Memory=int NanoCPUs:NanoCpus=int \
 CgroupParent=string BlkioWeight=int BlkioWeightDevice=[]*blkiodev.WeightDevice \
 BlkioDeviceReadBps=[]*blkiodev.ThrottleDevice BlkioDeviceWriteBps=[]*blkiodev.ThrottleDevice \
 BlkioDeviceReadIOps=[]*blkiodev.ThrottleDevice BlkioDeviceWriteIOps=[]*blkiodev.ThrottleDevice CPUPeriod:CpuPeriod=int \
 CPUQuota:CpuQuota=int CPURealtimePeriod:CpuRealtimePeriod=int CPURealtimeRuntime:CpuRealtimeRuntime=int CpusetCpus=string \
 CpusetMems=string Devices=[]container.DeviceMapping DeviceCgroupRules=[]string DeviceRequests=[]container.DeviceRequest \
 MemoryReservation=int MemorySwap=int MemorySwappiness=*int OomKillDisable=*bool PidsLimit=*int \
 Ulimits=[]*container.Ulimit CPUCount:CpuCount=int CPUPercent:CpuPercent=int IOMaximumIOps=int IOMaximumBandwidth=int \
 Mounts=[]mount.Mount MaskedPaths=[]string ReadonlyPaths=[]string Init=*bool
container.LogConfig Type=string Config=map[string]
container.RestartPolicy Name=string MaximumRetryCount=int
container.DeviceMapping PathOnHost=string PathInContainer=string CgroupPermissions=string
container.DeviceRequest Driver=string Count=int DeviceIDs=[]string Capabilities=[][]string Options=map[string]
container.Ulimit Name=string Hard=int Soft=int
blkiodev.WeightDevice Path=string Weight=int
blkiodev.ThrottleDevice Path=string Rate=int
mount.Mount Type=string Source=string Target=string ReadOnly=bool Consistency=string BindOptions=*mount.BindOptions \
 VolumeOptions=*mount.VolumeOptions ImageOptions=*mount.ImageOptions TmpfsOptions=*mount.TmpfsOptions
mount.BindOptions Propagation=string NonRecursive=bool CreateMountpoint=bool ReadOnlyNonRecursive=bool \
 ReadOnlyForceRecursive=bool
mount.VolumeOptions NoCopy=bool Labels=map[string] Subpath=string DriverConfig=*mount.Driver
mount.ImageOptions Subpath=string
mount.TmpfsOptions SizeBytes=int Mode=int Options=[][]string
mount.Driver Name=string Options=map[string]
network.PortBinding HostIP:HostIp=string HostPort=string
network.EndpointSettings IPAMConfig=*network.EndpointIPAMConfig Links=[]string Aliases=[]string DriverOpts=map[string] \
 GwPriority=int NetworkID=string EndpointID=string Gateway=string IPAddress=string MacAddress=string IPPrefixLen=int \
 IPv6Gateway=string GlobalIPv6Address=string GlobalIPv6PrefixLen=int DNSNames=[]string
network.EndpointIPAMConfig IPv4Address=string IPv6Address=string LinkLocalIPs=[]string
storage.DriverData Data=map[string] Name=string
storage.Storage RootFS=*storage.RootFSStorage
storage.RootFSStorage Snapshot=*storage.RootFSStorageSnapshot
storage.RootFSStorageSnapshot Name=string
v1.Descriptor MediaType:mediaType=string Digest:digest=string Size:size=int URLs:urls=[]string \
 Annotations:annotations=map[string] Data:data=string Platform:platform=*v1.Platform ArtifactType:artifactType=string
v1.Platform Architecture:architecture=string OS:os=string OSVersion:os.version=string OSFeatures:os.features=[]string \
 Variant:variant=string
image.InspectResponse ID:Id=string RepoTags=[]string RepoDigests=[]string Comment=string Created=string Author=string \
 Config=*v1.DockerOCIImageConfig Architecture=string Variant=string Os=string OsVersion=string Size=int \
 GraphDriver=*storage.DriverData RootFS=image.RootFS Metadata=image.Metadata Descriptor=*v1.Descriptor \
 Manifests=[]image.ManifestSummary Identity=any
v1.DockerOCIImageConfig User=string ExposedPorts=map[struct{}] Env=[]string Entrypoint=[]string Cmd=[]string \
 Volumes=map[struct{}] WorkingDir=string Labels=map[string] StopSignal=string ArgsEscaped=bool \
 Healthcheck=*v1.HealthcheckConfig OnBuild=[]string Shell=[]string
image.RootFS Type=string Layers=[]string
image.Metadata LastTagTime=time
image.ManifestSummary ID=string Descriptor=v1.Descriptor Available=bool Size=image.ManifestSize Kind=string ImageData=any \
 AttestationData=any
image.ManifestSize Content=int Total=int
network.Inspect Name=string ID:Id=string Created=time Scope=string Driver=string EnableIPv4=bool EnableIPv6=bool \
 IPAM=network.IPAM Internal=bool Attachable=bool Ingress=bool ConfigFrom=network.ConfigReference ConfigOnly=bool \
 Options=map[string] Labels=map[string] Containers=map[network.EndpointResource] Status=any
network.IPAM Driver=string Options=map[string] Config=[]network.IPAMConfig
network.IPAMConfig Subnet=string IPRange=string Gateway=string AuxAddress:AuxiliaryAddresses=map[string]
network.ConfigReference Network=string
network.EndpointResource Name=string EndpointID=string MacAddress=string IPv4Address=string IPv6Address=string
volume.Volume CreatedAt=string Driver=string Labels=map[string] Mountpoint=string Name=string Options=map[string] \
 Scope=string Status=map[any] UsageData=*volume.UsageData
volume.UsageData RefCount=int Size=int
system.dockerInfo ID=string Containers=int ContainersRunning=int ContainersPaused=int ContainersStopped=int Images=int \
 Driver=string DriverStatus=[][]string Plugins=system.PluginsInfo MemoryLimit=bool SwapLimit=bool CPUCfsPeriod:CpuCfsPeriod=bool \
 CPUCfsQuota:CpuCfsQuota=bool CPUShares=bool CPUSet=bool PidsLimit=bool IPv4Forwarding=bool Debug=bool NFd=int \
 OomKillDisable=bool NGoroutines=int SystemTime=string LoggingDriver=string CgroupDriver=string CgroupVersion=string \
 NEventsListener=int KernelVersion=string OperatingSystem=string OSVersion=string OSType=string Architecture=string \
 IndexServerAddress=string RegistryConfig=any NCPU=int MemTotal=int GenericResources=[]any DockerRootDir=string \
 HTTPProxy:HttpProxy=string HTTPSProxy:HttpsProxy=string NoProxy=string Name=string Labels=[]string ExperimentalBuild=bool \
 ServerVersion=string Runtimes=map[any] DefaultRuntime=string Swarm=any LiveRestoreEnabled=bool Isolation=string \
 InitBinary=string ContainerdCommit=system.Commit RuncCommit=system.Commit InitCommit=system.Commit \
 SecurityOptions=[]string ProductLicense=string DefaultAddressPools=[]system.NetworkAddressPool FirewallBackend=*system.FirewallInfo CDISpecDirs=[]string \
 DiscoveredDevices=[]system.DeviceInfo Containerd=any Warnings=[]string ServerErrors=[]string ClientInfo=*system.clientInfo
system.NetworkAddressPool Base=string Size=int
system.FirewallInfo Driver=string Info=[][]string
system.DeviceInfo Source=string ID=string
system.PluginsInfo Volume=[]string Network=[]string Authorization=[]string Log=[]string
system.Commit ID=string
system.clientInfo Debug=bool Platform=any Version=string GitCommit=string GoVersion=string Os=string Arch=string \
 BuildTime=string Context=string APIVersion:ApiVersion=string DefaultAPIVersion=string Plugins=[]any Warnings=[]string
system.versionInfo Client=system.clientVersion Server=*system.serverVersion
system.clientVersion Platform=*system.PlatformInfo Version=string APIVersion:ApiVersion=string DefaultAPIVersion=string \
 GitCommit=string GoVersion=string Os=string Arch=string BuildTime=string Context=string
system.serverVersion Platform=system.PlatformInfo Version=string APIVersion:ApiVersion=string MinAPIVersion=string Os=string \
 Arch=string Components=[]system.ComponentVersion GitCommit=string GoVersion=string KernelVersion=string Experimental=bool \
 BuildTime=string
system.PlatformInfo Name=string
system.ComponentVersion Name=string Version=string Details=map[string]
events.Message Type=string Action=string Actor=events.Actor Scope:scope=string Time:time=int TimeNano:timeNano=int
events.Actor ID=string Attributes=map[string]
";

/// A value of the type `name` (`*` in front of it: a pointer to one), as Go would decode it from `json`.
pub fn typed(name: &str, json: &Json) -> Value {
    build(name, Some(json))
}

fn line(name: &str) -> Option<impl Iterator<Item = (&'static str, &'static str, &'static str)>> {
    let mut words =
        TYPES.lines().map(str::split_whitespace).find_map(|mut words| (words.next() == Some(name)).then_some(words));
    let words = words.take()?;
    Some(words.filter_map(|word| {
        let (names, ty) = word.split_once('=')?;
        let (go, json) = names.split_once(':').unwrap_or((names, names));
        Some((go, json, ty))
    }))
}

/// `json`: what the document has there, if anything.
fn build(ty: &str, json: Option<&Json>) -> Value {
    let present = json.filter(|j| !matches!(j, Json::Null));
    if let Some(inner) = ty.strip_prefix('*') {
        return match present {
            None => Value::NilPointer(declared(ty, inner)),
            // Errors name the pointer.
            Some(_) => line(inner).map_or_else(|| build(inner, json), |fields| structure(ty, fields, present)),
        };
    }
    if let Some(inner) = ty.strip_prefix("[]") {
        let items = match present {
            Some(Json::Array(items)) => items.iter().map(|item| build(inner, Some(item))).collect(),
            _ => Vec::new(),
        };
        return Value::List(Arc::new(List { type_name: ty.to_owned().into(), items, nil: present.is_none() }));
    }
    if let Some(inner) = ty.strip_prefix("map[").and_then(|t| t.strip_suffix(']')) {
        let entries = match present {
            Some(Json::Object(entries)) => {
                entries.iter().map(|(key, value)| (key.as_str().into(), build(inner, Some(value)))).collect()
            }
            _ => Vec::new(),
        };
        return Value::Map(Arc::new(Map {
            type_name: format!("map[string]{inner}").into(),
            entries,
            nil: present.is_none(),
        }));
    }
    match (ty, present) {
        ("string", Some(Json::Str(text))) => Value::str(text),
        ("string", _) => Value::str(""),
        ("bool", other) => Value::Bool(matches!(other, Some(Json::Bool(true)))),
        ("int", Some(number)) => Value::from(number),
        ("int", None) => Value::Int(0),
        ("duration", other) => duration(other),
        ("time", other) => time(other),
        ("struct{}", _) => structure("struct {}", std::iter::empty(), present),
        _ => match line(ty) {
            Some(fields) => structure(ty, fields, present),
            None => present.map_or(Value::Nil, Value::from),
        },
    }
}

fn declared(ty: &str, inner: &str) -> Arc<Type> {
    let fields = line(inner).map(|fields| fields.map(|(go, ..)| go.into()).collect()).unwrap_or_default();
    Arc::new(Type { name: ty.to_owned().into(), fields })
}

fn structure(
    ty: &str,
    fields: impl Iterator<Item = (&'static str, &'static str, &'static str)>,
    json: Option<&Json>,
) -> Value {
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (go, key, field_type) in fields {
        names.push(go.into());
        values.push(build(field_type, json.and_then(|j| j.get(key))));
    }
    let ty = Arc::new(Type { name: ty.to_owned().into(), fields: names });
    let json = json.cloned().unwrap_or(Json::Object(Vec::new()));
    Value::Struct(Arc::new(Struct { ty, values, json }))
}

fn duration(json: Option<&Json>) -> Value {
    let nanos = match json {
        Some(Json::Int(nanos)) => *nanos,
        _ => 0,
    };
    let named = Named {
        type_name: "time.Duration".into(),
        text: go_duration(nanos),
        base: Value::Int(nanos),
        json: Json::Int(nanos),
    };
    Value::Named(Arc::new(named))
}

fn time(json: Option<&Json>) -> Value {
    let text = json.and_then(Json::as_str).unwrap_or("0001-01-01T00:00:00Z");
    let shown = text.parse::<Time>().map_or_else(|_| text.to_owned(), super::text::go_time);
    let named = Named {
        type_name: "time.Time".into(),
        text: shown.clone(),
        // Structures are always true.
        base: Value::str(shown),
        json: Json::Str(text.to_owned()),
    };
    Value::Named(Arc::new(named))
}

#[cfg(test)]
mod tests {
    use tare_gotemplate::Template;

    use super::*;

    /// Names of types that [`build`] knows without a line.
    const BASIC: &[&str] = &["string", "bool", "int", "duration", "time", "any", "struct{}"];

    #[test]
    fn every_type_is_described() {
        for word in TYPES.split_whitespace().filter_map(|w| w.split_once('=')) {
            let mut ty = word.1;
            loop {
                let inner = ty.strip_prefix('*').or_else(|| ty.strip_prefix("[]"));
                let inner = inner.or_else(|| ty.strip_prefix("map[").and_then(|t| t.strip_suffix(']')));
                let Some(inner) = inner else { break };
                ty = inner;
            }
            assert!(BASIC.contains(&ty) || line(ty).is_some(), "{ty} is not described");
        }
    }

    fn shown(template: &str) -> String {
        let document = br#"{"Id":"abc","State":{"Status":"running","Running":true,"Pid":7,"Error":""},"Args":["a"],
            "Config":{"Healthcheck":{"Interval":30000000000},"Labels":{"b":"2","a":"1"},"ExposedPorts":{"80/tcp":{}}},
            "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"81/tcp":null}}}"#;
        let value = typed("container.InspectResponse", &Json::parse(document).unwrap());
        Template::parse(template).unwrap().execute(&value).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_zero_value() {
        assert_eq!(shown("{{.State.Health}}"), "<nil>");
        assert_eq!(shown("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}"), "none");
        assert_eq!(shown("{{.RestartCount}} {{.Mounts}} {{.Driver}}|{{.HostConfig}}"), "0 [] |<nil>");
        assert_eq!(shown("{{json .Mounts}} {{json .Config.Volumes}} {{json .Args}}"), r#"null null ["a"]"#);
        assert_eq!(shown("{{len .Mounts}}{{.Config.Volumes}}{{.ExecIDs}}"), "0map[][]");
    }

    #[test]
    fn structures_print_as_in_go() {
        assert_eq!(shown("{{.State}}"), "{running true false false false false 7 0    <nil>}");
        assert_eq!(
            shown("{{.Config.Labels}} {{.Config.Healthcheck.Interval}} {{.Config.ExposedPorts}}"),
            "map[a:1 b:2] 30s map[80/tcp:{}]"
        );
        assert_eq!(shown("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}"), "8080");
        assert_eq!(
            shown("{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{(index $c 0).HostPort}} {{break}}{{end}}"),
            "80/tcp=8080 "
        );
        assert_eq!(shown("{{json .State}}"), r#"{"Status":"running","Running":true,"Pid":7,"Error":""}"#);
        assert_eq!(
            shown("{{.ID}} {{.Nope}}"),
            "template: :1:10: executing \"\" at <.Nope>: can't evaluate field Nope in type container.InspectResponse"
        );
    }
}
