//! `images`: lists images, as a tree by default, as a table when asked for anything in particular.

use std::collections::BTreeMap;

use tare_docker_api::filters::Filters;
use tare_docker_api::image::ImageSummary;
use tare_docker_client::Query;
use tare_reference::Reference;

use super::common::{FILTER, filters};
use super::images_tree;
use crate::PROGRAM;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, QUIET, Row};
use crate::output::text::{ago, id, local_time, size3, size4};

/// `images`
pub static COMMAND: Command = Command {
    names: &["image ls", "image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    common: 7,
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[
        Flag::bool("all", "Show all images (default hides intermediate and dangling images)").short('a'),
        Flag::bool("digests", "Show digests"),
        FILTER,
        Flag::text("format", FORMAT_HELP),
        Flag::bool("no-trunc", "Don't truncate output"),
        Flag::bool("quiet", "Only show image IDs").short('q'),
        Flag::bool("tree", "List multi-platform images as a tree (EXPERIMENTAL)"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const DIGEST_TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const RAW: &str = "repository: {{ .Repository }}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
/// What `--format raw` shows of an image, its digest included.
pub const DIGEST_RAW: &str = "repository: {{ .Repository }}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// Columns of a table of images.
pub const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// Subcommands of `image` that are typed after `images` by mistake.
const MISTAKEN: &[&str] =
    &["build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save", "tag"];

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (quiet, digests, expanded) = (m.bool("quiet"), m.bool("digests"), m.bool("tree"));
    let mut tree = as_tree(m)?;
    let mut filters = filters(m);
    let name = m.arg(0);
    if !name.is_empty() {
        filters.add("reference", name);
    }
    let query = Query::new().some("filters", filters.to_json()).flag("all", m.bool("all")).flag("manifests", tree);
    let mut images: Vec<ImageSummary> = cli.client()?.get_json("/images/json", query).await?;
    if !m.bool("all") && hides_dangling(&filters) {
        images.retain(|image| !hidden(image));
    }
    let mut format = m.text("format").to_owned();
    if format.is_empty() && !quiet && !expanded {
        format = cli.config()?.text("imagesFormat").to_owned();
        tree &= format.is_empty();
    }
    let count = images.len();
    if tree {
        cli.out.print(images_tree::render(&images, expanded, &images_tree::Style::of(&cli.out)))?;
    } else {
        let format = if format.is_empty() { "table".to_owned() } else { format };
        let format = template(&format, quiet, digests);
        let with_digests = digests || format.contains("{{.Digest}}");
        let rows = images.iter().flat_map(|i| rows(i, !m.bool("no-trunc"), with_digests, digests)).collect();
        Format::parse(&format)?.write(&cli.out, HEADER, rows)?;
    }
    if count == 0 && m.path == "images" && MISTAKEN.contains(&name) {
        cli.err.println(format!("No images found matching \"{name}\": did you mean \"{PROGRAM} image {name}\"?"))?;
    }
    Ok(0)
}

/// Whether to show the tree; what it cannot show is an error with `--tree`.
fn as_tree(m: &Matches) -> Result<bool, CliError> {
    let wanted = [
        (m.bool("quiet"), "--quiet"),
        (m.bool("no-trunc"), "--no-trunc"),
        (m.bool("digests"), "--show-digest"),
        (!m.text("format").is_empty(), "--format"),
    ];
    match wanted.into_iter().find(|(on, _)| *on) {
        Some((_, flag)) if m.bool("tree") => Err(CliError::new(format!("{flag} is not yet supported with --tree"))),
        other => Ok(other.is_none()),
    }
}

fn hides_dangling(filters: &Filters) -> bool {
    !filters.contains("dangling") || filters.get("dangling").any(|v| v == "false")
}

fn no_names(image: &ImageSummary) -> bool {
    image.repo_tags == ["<none>:<none>"] && image.repo_digests == ["<none>@<none>"]
}

/// Whether a list leaves an image out unless asked for all.
fn hidden(image: &ImageSummary) -> bool {
    image.repo_tags.is_empty() || no_names(image)
}

fn template(format: &str, quiet: bool, digests: bool) -> String {
    match (format, quiet, digests) {
        ("table", true, _) => QUIET.to_owned(),
        ("table", false, true) => DIGEST_TABLE.to_owned(),
        ("table", false, false) => TABLE.to_owned(),
        ("raw", true, _) => "image_id: {{.ID}}".to_owned(),
        ("raw", false, true) => DIGEST_RAW.to_owned(),
        ("raw", false, false) => RAW.to_owned(),
        (other, _, true) if other.starts_with("table") && !other.contains("{{.Digest}}") => {
            format!("{other}\t{{{{.Digest}}}}")
        }
        (other, ..) => other.to_owned(),
    }
}

/// The rows of an image: one for each tag, or for each tag and digest.
pub fn rows(image: &ImageSummary, short: bool, with_digests: bool, digest_rows: bool) -> Vec<Row> {
    let row = |repository: &str, tag: &str, digest: &str| row(image, short, repository, tag, digest);
    if (image.repo_tags.is_empty() && image.repo_digests.is_empty()) || no_names(image) {
        return vec![row("<none>", "<none>", "<none>")];
    }
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in image.repo_tags.iter().chain(image.repo_digests.iter()) {
        let Ok(reference) = Reference::parse_normalized(name) else { continue };
        let repository = reference.familiar_name();
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digests.entry(repository).or_default().push(digest.to_string()),
            (None, Some(tag)) => tags.entry(repository).or_default().push(tag.to_owned()),
            (None, None) => {}
        }
    }
    let mut rows = Vec::new();
    for (repository, tags) in tags {
        let digests = digests.remove(&repository).filter(|_| with_digests).unwrap_or_default();
        for tag in tags {
            if digests.is_empty() {
                rows.push(row(&repository, &tag, "<none>"));
            }
            rows.extend(digests.iter().map(|digest| row(&repository, &tag, digest)));
        }
    }
    for (repository, digests) in digests {
        if digest_rows {
            rows.extend(digests.iter().map(|digest| row(&repository, "<none>", digest)));
        } else {
            rows.push(row(&repository, "<none>", ""));
        }
    }
    rows
}

/// The row of an image in `system df`: its first tag stands for all its names.
pub fn usage_row(image: &ImageSummary, short: bool) -> Row {
    let tag = image.repo_tags.first().filter(|_| !no_names(image));
    let tag = tag.and_then(|name| Reference::parse_normalized(name).ok());
    match &tag {
        Some(reference) => row(image, short, &reference.familiar_name(), reference.tag().unwrap_or("<none>"), ""),
        None => row(image, short, "<none>", "<none>", ""),
    }
}

fn row(image: &ImageSummary, short: bool, repository: &str, tag: &str, digest: &str) -> Row {
    let known = |n: i64, text: String| if n == -1 { "N/A".to_owned() } else { text };
    let unique = if image.size == -1 { -1 } else { image.shared_size };
    Row::new("*formatter.imageContext")
        .with("ID", id(&image.id, short))
        .with("Repository", repository)
        .with("Tag", tag)
        .with("Digest", digest)
        .with("CreatedSince", ago(image.created))
        .with("CreatedAt", local_time(image.created))
        .with("Size", size3(image.size))
        .with("Containers", known(image.containers, image.containers.to_string()))
        .with("SharedSize", known(image.shared_size, size4(image.shared_size)))
        .with("UniqueSize", known(unique, size4(image.size - image.shared_size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
        ImageSummary {
            id: "sha256:0123456789abcdef".into(),
            created: 1_700_000_000,
            size: 192_000_000,
            shared_size: -1,
            containers: -1,
            repo_tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            repo_digests: digests.iter().map(|t| (*t).to_owned()).collect(),
            ..ImageSummary::default()
        }
    }

    fn shown(format: &str, quiet: bool, digests: bool, images: &[ImageSummary]) -> String {
        let format = template(format, quiet, digests);
        let with = digests || format.contains("{{.Digest}}");
        let rows = images.iter().flat_map(|i| rows(i, true, with, digests)).collect();
        Format::parse(&format).unwrap().render(HEADER, rows).unwrap()
    }

    #[test]
    fn tables() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        let images = [image(&["nginx:latest", "nginx:1", "localhost:5000/x:y"], &[&digest]), image(&[], &[])];
        insta::assert_snapshot!(shown("table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}", false, false, &images), @r"
        REPOSITORY         TAG       IMAGE ID       SIZE
        localhost:5000/x   y         0123456789ab   192MB
        nginx              latest    0123456789ab   192MB
        nginx              1         0123456789ab   192MB
        <none>             <none>    0123456789ab   192MB
        ");
        insta::assert_snapshot!(shown("{{.Repository}} {{.Tag}} {{.Digest}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}", false, false, &images), @r"
        localhost:5000/x y <none> N/A N/A N/A
        nginx latest sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa N/A N/A N/A
        nginx 1 sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa N/A N/A N/A
        <none> <none> <none> N/A N/A N/A
        ");
        assert_eq!(shown("table", true, false, &images).lines().count(), 4);
    }

    #[test]
    fn an_image_without_tags_is_hidden() {
        assert!(hidden(&image(&[], &["nginx@sha256:0"])));
        assert!(!hidden(&image(&["a:b"], &[])));
        let mut filters = Filters::default();
        assert!(hides_dangling(&filters));
        filters.add("dangling", "true");
        assert!(!hides_dangling(&filters));
    }
}
