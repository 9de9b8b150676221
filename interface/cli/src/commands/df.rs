//! `system df`: what takes up the disk.

use tare_docker_api::container::ContainerSummary;
use tare_docker_api::image::{BuildCacheRecord, ImageSummary};
use tare_docker_api::system::DiskUsage;
use tare_docker_api::volume::Volume;
use tare_docker_client::Query;
use tare_gotemplate::{Json, Template};

use super::{images, ps, volume};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, Row};
use crate::output::text::{ago, go_time, id, size3, size4};

/// `system df`
pub static COMMAND: Command = Command {
    names: &["system df"],
    usage: "[OPTIONS]",
    about: "Show docker disk usage",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::text("format", FORMAT_HELP),
        Flag::bool("verbose", "Show detailed information on space usage").short('v'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const RAW: &str =
    "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";
const RAW_CACHE: &str = "build_cache_id: {{.ID}}\nparent_id: {{.Parent}}\nbuild_cache_type: {{.CacheType}}\n\
    description: {{.Description}}\ncreated_at: {{.CreatedAt}}\ncreated_since: {{.CreatedSince}}\n\
    last_used_at: {{.LastUsedAt}}\nlast_used_since: {{.LastUsedSince}}\nusage_count: {{.UsageCount}}\n\
    in_use: {{.InUse}}\nshared: {{.Shared}}\n";
const HEADER: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const CACHE_HEADER: &[(&str, &str)] = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let verbose = m.bool("verbose");
    let query = Query::new().flag("verbose", verbose);
    let usage: DiskUsage = cli.client()?.get_json("/system/df", query).await?;
    let uses = uses(&usage);
    if verbose {
        cli.out.print(details(&usage, &uses, m.text("format"))?)?;
        return Ok(0);
    }
    let format = match m.text("format") {
        "" | "table" => TABLE,
        "raw" => RAW,
        other => other,
    };
    Format::parse(format)?.write(&cli.out, HEADER, uses.iter().map(Use::row).collect())?;
    Ok(0)
}

/// One line of the summary.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Use {
    kind: &'static str,
    total: i64,
    active: i64,
    size: i64,
    reclaimable: i64,
    /// Whether the share that can be had back is shown.
    share: bool,
}

impl Use {
    fn row(&self) -> Row {
        let mut reclaimable = size4(self.reclaimable);
        if self.share && self.size > 0 {
            reclaimable.push_str(&format!(" ({}%)", i128::from(self.reclaimable) * 100 / i128::from(self.size)));
        }
        Row::new("*formatter.diskUsageImagesContext")
            .with("Type", self.kind)
            .with("TotalCount", self.total.to_string())
            .with("Active", self.active.to_string())
            .with("Size", size4(self.size))
            .with("Reclaimable", reclaimable)
    }
}

/// The summary, from the daemon's or, before API 1.52, from its lists.
fn uses(usage: &DiskUsage) -> [Use; 4] {
    let mut images = Use { kind: "Images", share: true, ..Use::default() };
    let mut containers = Use { kind: "Containers", share: true, ..Use::default() };
    let mut volumes = Use { kind: "Local Volumes", share: true, ..Use::default() };
    let mut cache = Use { kind: "Build Cache", ..Use::default() };
    macro_rules! take {
        ($target:ident, $source:expr) => {
            if let Some(source) = &$source {
                ($target.total, $target.active) = (source.total_count, source.active_count);
                ($target.size, $target.reclaimable) = (source.total_size, source.reclaimable);
            }
        };
    }
    take!(images, usage.image_usage);
    take!(containers, usage.container_usage);
    take!(volumes, usage.volume_usage);
    take!(cache, usage.build_cache_usage);
    if usage.image_usage.is_none() {
        count_images(&mut images, usage.images.as_deref().unwrap_or_default(), usage.layers_size);
    }
    if usage.container_usage.is_none() {
        count_containers(&mut containers, usage.containers.as_deref().unwrap_or_default());
    }
    if usage.volume_usage.is_none() {
        count_volumes(&mut volumes, usage.volumes.as_deref().unwrap_or_default());
    }
    [images, containers, volumes, cache]
}

fn count_images(out: &mut Use, images: &[ImageSummary], layers: i64) {
    (out.total, out.size) = (i64::try_from(images.len()).unwrap_or(0), layers);
    for image in images {
        match image.containers {
            1.. => out.active += 1,
            0 if image.size != -1 && image.shared_size != -1 => out.reclaimable += image.size - image.shared_size,
            _ => {}
        }
    }
}

fn count_containers(out: &mut Use, containers: &[ContainerSummary]) {
    out.total = i64::try_from(containers.len()).unwrap_or(0);
    for container in containers {
        out.size += container.size_rw;
        if matches!(container.state.as_str(), "running" | "paused" | "restarting") {
            out.active += 1;
        } else {
            out.reclaimable += container.size_rw;
        }
    }
}

fn count_volumes(out: &mut Use, volumes: &[Volume]) {
    out.total = i64::try_from(volumes.len()).unwrap_or(0);
    for usage in volumes.iter().filter_map(|v| v.usage_data.as_ref()) {
        let size = usage.size.max(0);
        out.size += size;
        if usage.ref_count > 0 {
            out.active += 1;
        } else {
            out.reclaimable += size;
        }
    }
}

/// The long text, or what a template makes of all rows.
fn details(usage: &DiskUsage, uses: &[Use; 4], format: &str) -> Result<String, CliError> {
    let short = matches!(format, "" | "table");
    let (images, containers, volumes, cache) = lists(usage);
    let image_rows: Vec<Row> = images.iter().map(|i| images::usage_row(i, short)).collect();
    // The size of the image under a container is no use of the container.
    let containers = containers.iter().map(|c| ContainerSummary { size_root_fs: 0, ..c.clone() });
    let container_rows: Vec<Row> = containers.map(|c| ps::row(c, short)).collect();
    let volume_rows: Vec<Row> = volumes.iter().map(|v| volume::row(v.clone())).collect();
    let mut cache: Vec<&BuildCacheRecord> = cache.iter().collect();
    cache.sort_by(|a, b| a.last_used_at.cmp(&b.last_used_at).then_with(|| a.id.cmp(&b.id)));
    let cache_rows: Vec<Row> = cache.into_iter().map(|c| cache_row(c, short)).collect();
    if format == "raw" {
        return raw([image_rows, container_rows, volume_rows, cache_rows]);
    }
    if !short {
        return templated(format, [image_rows, container_rows, volume_rows, cache_rows]);
    }
    let table = |format: &str, header, rows| Format::parse(format).and_then(|f| f.render(header, rows));
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
        table(
            "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
            images::HEADER,
            image_rows
        )?,
        table(
            "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
            ps::HEADER,
            container_rows
        )?,
        table("table {{.Name}}\t{{.Links}}\t{{.Size}}", volume::HEADER, volume_rows)?,
        size4(uses[3].size),
        table(
            "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
            CACHE_HEADER,
            cache_rows
        )?,
    ))
}

type Lists<'a> = (&'a [ImageSummary], &'a [ContainerSummary], &'a [Volume], &'a [BuildCacheRecord]);

fn lists(usage: &DiskUsage) -> Lists<'_> {
    let images = usage.image_usage.as_ref().map(|u| u.items.as_slice()).or(usage.images.as_deref());
    let containers = usage.container_usage.as_ref().map(|u| u.items.as_slice()).or(usage.containers.as_deref());
    let volumes = usage.volume_usage.as_ref().map(|u| u.items.as_slice()).or(usage.volumes.as_deref());
    let cache = usage.build_cache_usage.as_ref().map(|u| u.items.as_slice()).or(usage.build_cache.as_deref());
    (images.unwrap_or_default(), containers.unwrap_or_default(), volumes.unwrap_or_default(), cache.unwrap_or_default())
}

/// Every row as lines of its own.
fn raw(rows: [Vec<Row>; 4]) -> Result<String, CliError> {
    let sized = format!("{}size: {{{{.Size}}}}\n", ps::RAW);
    let formats = [
        format!("type: Image\n{}", images::DIGEST_RAW),
        format!("type: Container\n{sized}"),
        "type: Volume\nname: {{.Name}}\ndriver: {{.Driver}}\n".to_owned(),
        format!("type: Build Cache\n{RAW_CACHE}"),
    ];
    let texts = formats.iter().zip(rows).map(|(format, rows)| Format::parse(format)?.render(HEADER, rows));
    texts.collect()
}

fn cache_row(record: &BuildCacheRecord, short: bool) -> Row {
    let mark = if record.in_use { "*" } else { "" };
    Row::new("*formatter.buildCacheContext")
        .with("ID", format!("{}{mark}", id(&record.id, short)))
        .with("CacheType", record.kind.as_str())
        .with("Parent", record.parents.join(", "))
        .with("Description", record.description.as_str())
        .with("CreatedAt", go_time(record.created_at))
        .with("LastUsedAt", record.last_used_at.map_or(String::new(), go_time))
        .with("Size", size3(record.size))
        .with("CreatedSince", ago(record.created_at.seconds()))
        .with("LastUsedSince", record.last_used_at.map_or(String::new(), |t| ago(t.seconds())))
        .with("UsageCount", record.usage_count.to_string())
        .with("InUse", record.in_use.to_string())
        .with("Shared", record.shared.to_string())
}

/// Runs a template on all rows at once: `.Images`, `.Containers`, `.Volumes`, `.BuildCache`.
fn templated(format: &str, rows: [Vec<Row>; 4]) -> Result<String, CliError> {
    use std::sync::Arc;
    use tare_gotemplate::{List, Struct, Type, Value};
    let bad = |e: tare_gotemplate::Error| CliError::new(format!("template parsing error: {e}"));
    let format = if format == "json" { "{{json .}}" } else { format };
    let template = Template::parse(&format.replace("\\t", "\t").replace("\\n", "\n")).map_err(bad)?;
    let names = ["Images", "Containers", "Volumes", "BuildCache"];
    let list = |rows: Vec<Row>| {
        let items = rows.into_iter().map(|row| Value::Object(Arc::new(row))).collect();
        Value::List(Arc::new(List { type_name: "[]".into(), items, nil: false }))
    };
    let values: Vec<Value> = rows.into_iter().map(list).collect();
    let json = names.iter().zip(&values).map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
    let ty = Type { name: "*formatter.diskUsageContext".into(), fields: names.iter().map(|n| (*n).into()).collect() };
    template
        .execute(&Value::Struct(Arc::new(Struct { ty: Arc::new(ty), values, json: Json::Object(json) })))
        .map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_kinds() {
        let new: DiskUsage = serde_json::from_str(
            r#"{"ImageUsage":{"ActiveCount":1,"TotalCount":3,"TotalSize":135200000,"Reclaimable":67600000},
            "ContainerUsage":{"TotalCount":2},"VolumeUsage":{},"BuildCacheUsage":{}}"#,
        )
        .unwrap();
        let format = Format::parse(TABLE).unwrap();
        insta::assert_snapshot!(format.render(HEADER, uses(&new).iter().map(Use::row).collect()).unwrap(), @r"
        TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images          3         1         135.2MB   67.6MB (50%)
        Containers      2         0         0B        0B
        Local Volumes   0         0         0B        0B
        Build Cache     0         0         0B        0B
        ");
        let old: DiskUsage = serde_json::from_str(
            r#"{"LayersSize":200,"Images":[{"Containers":1,"Size":100,"SharedSize":0},{"Containers":0,"Size":100,"SharedSize":40}],
            "Containers":[{"SizeRw":5,"State":"running"},{"SizeRw":7,"State":"exited"}],
            "Volumes":[{"Name":"v","UsageData":{"Size":10,"RefCount":0}}],"BuildCache":[]}"#,
        )
        .unwrap();
        let numbers = uses(&old).map(|u| (u.total, u.active, u.size, u.reclaimable));
        assert_eq!(numbers, [(2, 1, 200, 60), (2, 1, 12, 7), (1, 0, 10, 10), (0, 0, 0, 0)]);
    }
}
