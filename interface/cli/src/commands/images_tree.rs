//! The tree of images: what `images` shows by default.

use tare_docker_api::image::{ImageSummary, ManifestSummary};

use crate::cli::Output;
use crate::output::tabs::display_width;
use crate::output::text::{short_id, size3};

/// Spaces between columns.
const SPACING: usize = 3;
/// Narrowest first column; columns that would make it narrower are dropped.
const NARROWEST: usize = 12;
/// Name of an image without one.
const UNTAGGED: &str = "<untagged>";
/// Mark of an image that a container uses.
const IN_USE: &str = "U";

/// How the tree looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; 0: no limit.
    pub width: usize,
    /// With colours.
    pub colours: bool,
}

impl Style {
    /// What suits a stream.
    pub fn of(out: &Output) -> Style {
        let width = if out.is_terminal() { out.width().max(20) } else { 0 };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Style { width, colours: out.is_terminal() && !plain }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("{code}{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What is known about an image or one of its platforms.
struct Details {
    id: String,
    disk_usage: String,
    content_size: String,
    in_use: bool,
}

struct Top {
    names: Vec<String>,
    details: Details,
    platforms: Vec<(String, bool, Details)>,
}

/// The text of the tree; with `expanded` the platforms of each image too.
pub fn render(images: &[ImageSummary], expanded: bool, style: &Style) -> String {
    let mut tops: Vec<Top> = images.iter().flat_map(|image| tops(image, expanded)).collect();
    // Images without a name come last.
    tops.sort_by(|a, b| match (a.names.first(), b.names.first()) {
        (None, None) => std::cmp::Ordering::Equal,
        (None, _) => std::cmp::Ordering::Greater,
        (_, None) => std::cmp::Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    });
    let any_in_use = tops.iter().any(|t| t.details.in_use || t.platforms.iter().any(|(.., d)| d.in_use));
    let extra = "EXTRA".len().max(if any_in_use { mark_width(style) } else { 0 });
    let columns = Columns::fit(style, &tops, extra, any_in_use);
    let mut out = String::new();
    if style.width > 0 {
        out.push_str(&legend(style));
    }
    columns.header(&mut out);
    let spacious = tops.iter().any(|t| !t.platforms.is_empty());
    for top in &tops {
        columns.names(&mut out, &top.names);
        columns.details(&mut out, &top.details);
        if spacious {
            out.push('\n');
        }
        for (i, (platform, available, details)) in top.platforms.iter().enumerate() {
            let branch = if i + 1 == top.platforms.len() { "└─ " } else { "├─ " };
            let colour = if *available { "\x1b[39m" } else { "\x1b[39m\x1b[2m" };
            columns.left(&mut out, &format!("{branch}{platform}"), columns.name, colour);
            columns.details(&mut out, details);
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn tops(image: &ImageSummary, expanded: bool) -> Vec<Top> {
    let mut content = 0;
    let mut in_use = image.containers > 0;
    let mut platforms = Vec::new();
    for manifest in image.manifests.iter() {
        content += manifest.size.content;
        let (true, Some(data)) = (manifest.kind == "image", &manifest.image_data) else { continue };
        in_use |= !data.containers.is_empty();
        if expanded {
            platforms.push((platform(manifest), manifest.available, details_of(manifest, !data.containers.is_empty())));
        }
    }
    let details = || Details {
        id: short_id(&image.id).to_owned(),
        disk_usage: size3(image.size),
        content_size: size3(content),
        in_use,
    };
    let mut names = image.repo_tags.clone();
    names.sort();
    if expanded || names.is_empty() {
        return vec![Top { names, details: details(), platforms }];
    }
    names.into_iter().map(|name| Top { names: vec![name], details: details(), platforms: Vec::new() }).collect()
}

fn platform(manifest: &ManifestSummary) -> String {
    let Some(data) = &manifest.image_data else { return String::new() };
    let p = &data.platform;
    let parts = [p.os.as_str(), p.architecture.as_str(), p.variant.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn details_of(manifest: &ManifestSummary, in_use: bool) -> Details {
    Details {
        id: short_id(&manifest.id).to_owned(),
        disk_usage: size3(manifest.size.total),
        content_size: size3(manifest.size.content),
        in_use,
    }
}

fn mark_width(style: &Style) -> usize {
    if style.colours { 3 } else { 1 }
}

fn mark(style: &Style) -> String {
    if style.colours { format!("\x1b[38;5;0m\x1b[48;5;14m {IN_USE} \x1b[0m") } else { IN_USE.to_owned() }
}

/// What the marks mean, at the right edge.
fn legend(style: &Style) -> String {
    let info = if style.colours {
        "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m"
    } else {
        " Info -> "
    };
    let visible = if style.colours { "i Info → ".chars().count() } else { info.len() };
    let width = visible + 1 + mark_width(style) + " In Use".len();
    format!("{}{info} {} In Use\n", " ".repeat(style.width.saturating_sub(width)), mark(style))
}

/// Width of the first column, and how many of the others there is room for.
struct Columns<'a> {
    style: &'a Style,
    name: usize,
    shown: usize,
    extra: usize,
    any_in_use: bool,
}

impl<'a> Columns<'a> {
    fn fit(style: &'a Style, tops: &[Top], extra: usize, any_in_use: bool) -> Columns<'a> {
        let names = tops
            .iter()
            .flat_map(|t| t.names.iter().map(|n| n.len()).chain(t.names.is_empty().then_some(UNTAGGED.len())));
        // Lengths in bytes, as docker counts them here.
        let platforms = tops.iter().flat_map(|t| t.platforms.iter().map(|(p, ..)| "└─ ".len() + p.len()));
        let widest = names.chain(platforms).max().unwrap_or(0).max("Image".len());
        let mut room = style.width;
        let mut shown = 4;
        if style.width > 0 {
            for (i, width) in [12, 10, 12, extra].into_iter().enumerate() {
                let needed = width + SPACING;
                if room < needed + NARROWEST {
                    shown = i;
                    break;
                }
                room -= needed;
            }
        }
        let name = if style.width == 0 { widest } else { widest.min(room) };
        Columns { style, name, shown, extra, any_in_use }
    }

    fn header(&self, out: &mut String) {
        let title = "\x1b[39m\x1b[1m";
        self.left(out, "IMAGE", self.name, title);
        let titles =
            [("ID", 12, false), ("DISK USAGE", 10, true), ("CONTENT SIZE", 12, true), ("EXTRA", self.extra, false)];
        for (text, width, right) in titles.into_iter().take(self.shown) {
            out.push_str("   ");
            if right { self.right(out, text, width, title) } else { self.left(out, text, width, title) }
        }
        out.push('\n');
    }

    fn names(&self, out: &mut String, names: &[String]) {
        if names.is_empty() {
            self.left(out, UNTAGGED, self.name, "\x1b[39m\x1b[2m");
        }
        for (i, name) in names.iter().enumerate() {
            let last = i + 1 == names.len();
            let long = display_width(name) > self.name;
            self.left(out, name, self.name, "\x1b[34m\x1b[1m");
            if !last || long {
                out.push('\n');
            }
            if last && long {
                out.push_str(&" ".repeat(self.name));
            }
        }
    }

    fn details(&self, out: &mut String, details: &Details) {
        let normal = "\x1b[39m";
        let cells = [(&details.id, 12, false), (&details.disk_usage, 10, true), (&details.content_size, 12, true)];
        for (text, width, right) in cells.into_iter().take(self.shown) {
            out.push_str("   ");
            if right { self.right(out, text, width, normal) } else { self.left(out, text, width, normal) }
        }
        if self.shown < 4 {
            return;
        }
        out.push_str("   ");
        let width = mark_width(self.style);
        let used = if self.any_in_use { width } else { 0 };
        match (self.any_in_use, details.in_use) {
            (true, true) => out.push_str(&mark(self.style)),
            (true, false) => out.push_str(&" ".repeat(width)),
            (false, _) => {}
        }
        out.push_str(&" ".repeat(self.extra.saturating_sub(used)));
    }

    fn left(&self, out: &mut String, text: &str, width: usize, colour: &str) {
        out.push_str(&self.style.paint(colour, text));
        out.push_str(&" ".repeat(width.saturating_sub(display_width(text))));
    }

    fn right(&self, out: &mut String, text: &str, width: usize, colour: &str) {
        out.push_str(&" ".repeat(width.saturating_sub(display_width(text))));
        out.push_str(&self.style.paint(colour, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<ImageSummary> {
        serde_json::from_str(
            r#"[{"Id":"sha256:0123456789abcdef","RepoTags":["nginx:latest","nginx:1"],"Size":192000000,"Containers":1,
            "Manifests":[{"ID":"sha256:fedcba98765432100","Kind":"image","Available":true,"Size":{"Content":70000000,"Total":192000000},
            "ImageData":{"Platform":{"architecture":"amd64","os":"linux"},"Containers":["x"]}},
            {"ID":"sha256:aa","Kind":"image","Available":false,"Size":{"Content":0,"Total":0},
            "ImageData":{"Platform":{"architecture":"arm64","os":"linux","variant":"v8"},"Containers":[]}}]},
            {"Id":"sha256:ffffffffffffffff","RepoTags":["busybox:1.29"],"Size":4000000,"Containers":0}]"#,
        )
        .unwrap()
    }

    #[test]
    fn collapsed() {
        let plain = Style { width: 0, colours: false };
        let text = render(&images(), false, &plain).replace(' ', "·");
        insta::assert_snapshot!(text, @"
        IMAGE··········ID·············DISK·USAGE···CONTENT·SIZE···EXTRA
        busybox:1.29···ffffffffffff··········4MB·············0B········
        nginx:1········0123456789ab········192MB···········70MB···U····
        nginx:latest···0123456789ab········192MB···········70MB···U····
        ");
    }

    #[test]
    fn expanded() {
        let plain = Style { width: 0, colours: false };
        let text = render(&images(), true, &plain).replace(' ', "·");
        insta::assert_snapshot!(text, @r"
        IMAGE···················ID·············DISK·USAGE···CONTENT·SIZE···EXTRA
        busybox:1.29············ffffffffffff··········4MB·············0B········

        nginx:1··············
        nginx:latest············0123456789ab········192MB···········70MB···U····
        ├─·linux/amd64··········fedcba987654········192MB···········70MB···U····
        └─·linux/arm64/v8·······aa·····················0B·············0B········

        ");
    }

    #[test]
    fn a_narrow_terminal_loses_columns() {
        let narrow = Style { width: 40, colours: false };
        let text = render(&images(), false, &narrow).replace(' ', "·");
        insta::assert_snapshot!(text, @r"
        ·······················Info·->··U·In·Use
        IMAGE··········ID·············DISK·USAGE
        busybox:1.29···ffffffffffff··········4MB
        nginx:1········0123456789ab········192MB
        nginx:latest···0123456789ab········192MB
        ");
    }
}
