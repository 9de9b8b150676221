//! `manifest …`: puts lists of manifests together, looks at them and at those of registries, and pushes them.

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::manifests::remote::{Found, Remote};
use crate::manifests::store::{Store, missing};
use crate::manifests::{Descriptor, List, Manifest, Platform, reference};
use crate::output::inspect::indent_by;
use tare_reference::Reference;

const INSECURE: Flag = Flag::bool("insecure", "Allow communication with an insecure registry");
/// What docker lays manifests out with.
const STEP: &str = "\t";

/// `manifest create`
pub static CREATE: Command = Command {
    names: &["manifest create"],
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Create a local manifest list for annotating and pushing to a registry",
    common: 0,
    arity: Arity::AtLeast(2),
    interspersed: true,
    flags: &[Flag::bool("amend", "Amend an existing manifest list").short('a'), INSECURE],
    run: |cli, m| Box::pin(create(cli, m)),
};

/// `manifest annotate`
pub static ANNOTATE: Command = Command {
    names: &["manifest annotate"],
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Add additional information to a local image manifest",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[
        Flag::text("arch", "Set architecture"),
        Flag::text("os", "Set operating system"),
        Flag::commas("os-features", "Set operating system feature"),
        Flag::text("os-version", "Set operating system version"),
        Flag::text("variant", "Set architecture variant"),
    ],
    run: |cli, m| Box::pin(async { annotate(cli, m) }),
};

/// `manifest inspect`
pub static INSPECT: Command = Command {
    names: &["manifest inspect"],
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Display an image manifest, or manifest list",
    common: 0,
    arity: Arity::Range(1, 2),
    interspersed: true,
    flags: &[INSECURE, Flag::bool("verbose", "Output additional info including layers and platform").short('v')],
    run: |cli, m| Box::pin(inspect(cli, m)),
};

/// `manifest push`
pub static PUSH: Command = Command {
    names: &["manifest push"],
    usage: "[OPTIONS] MANIFEST_LIST",
    about: "Push a manifest list to a repository",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::bool("insecure", "Allow push to an insecure registry"),
        Flag::bool("purge", "Remove the local manifest list after push").short('p'),
    ],
    run: |cli, m| Box::pin(push(cli, m)),
};

/// `manifest rm`
pub static REMOVE: Command = Command {
    names: &["manifest rm"],
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Delete one or more manifest lists from local storage",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { remove(cli, m) }),
};

async fn create(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let named = reference(m.arg(0))
        .map_err(|error| CliError::new(format!("error parsing name for manifest list {}: {error}", m.arg(0))));
    let (list, store) = (named?, Store::of(cli));
    if store.list(&list)?.is_some() && !m.bool("amend") {
        return Err(CliError::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    for name in &m.args[1..] {
        let name = reference(name)?;
        let manifest = match store.get(&list, &name)? {
            Some(known) => known,
            None => Remote::of(cli, &name, m.bool("insecure")).manifest(&name).await?,
        };
        store.save(&list, &name, &manifest)?;
    }
    cli.out.println(format!("Created manifest list {list}"))?;
    Ok(0)
}

fn annotate(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let parsed = |what: &str, text: &str| {
        reference(text)
            .map_err(|error| CliError::new(format!("annotate: error parsing name for {what} {text}: {error}")))
    };
    let (list, name) = (parsed("manifest list", m.arg(0))?, parsed("manifest", m.arg(1))?);
    let store = Store::of(cli);
    let mut manifest = store
        .get(&list, &name)?
        .ok_or_else(|| CliError::new(format!("manifest for image {} does not exist in {}", m.arg(1), m.arg(0))))?;
    let platform = manifest.descriptor.platform.get_or_insert_default();
    for (flag, field) in [
        ("os", &mut platform.os),
        ("arch", &mut platform.architecture),
        ("variant", &mut platform.variant),
        ("os-version", &mut platform.os_version),
    ] {
        if !m.text(flag).is_empty() {
            m.text(flag).clone_into(field);
        }
    }
    for feature in m.list("os-features") {
        if !platform.os_features.contains(feature) {
            platform.os_features.push(feature.clone());
        }
    }
    if !is_known(platform) {
        return Err(CliError::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            m.text("os"),
            m.text("arch")
        )));
    }
    store.save(&list, &name, &manifest)?;
    Ok(0)
}

/// Systems that Go builds for, and their processors; docker takes no others.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64"]),
];

fn is_known(platform: &Platform) -> bool {
    KNOWN.iter().any(|(os, all)| *os == platform.os && all.contains(&platform.architecture.as_str()))
}

async fn inspect(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let verbose = m.bool("verbose");
    let name = reference(m.args.last().map_or("", String::as_str))?;
    let store = Store::of(cli);
    if m.args.len() > 1 {
        let manifest = store.get(&reference(m.arg(0))?, &name)?.ok_or_else(|| missing(&name))?;
        return show(cli, &manifest, verbose);
    }
    if let Some(manifests) = store.list(&name)? {
        return show_list(cli, &name, &manifests, verbose);
    }
    let remote = Remote::of(cli, &name, m.bool("insecure"));
    match remote.find(&name).await? {
        Found::Manifest(manifest) => show(cli, &manifest, verbose),
        Found::List(entries) if verbose => show_list(cli, &name, &remote.members(&name, &entries).await?, true),
        Found::List(entries) => {
            let manifests: Vec<Manifest> = entries.into_iter().map(|entry| listed(&name, entry)).collect();
            show_list(cli, &name, &manifests, false)
        }
    }
}

/// A manifest of which no more is known, or wanted, than its list says.
fn listed(list: &Reference, descriptor: Descriptor) -> Manifest {
    Manifest { reference: list.with_digest(descriptor.digest.clone()), descriptor, raw: Vec::new() }
}

fn show(cli: &Cli, manifest: &Manifest, verbose: bool) -> Result<i32, CliError> {
    let text = if verbose { manifest.document().into_bytes() } else { manifest.raw.clone() };
    cli.out.println(indent_by(STEP, &text))?;
    Ok(0)
}

fn show_list(cli: &Cli, name: &Reference, manifests: &[Manifest], verbose: bool) -> Result<i32, CliError> {
    let text = if verbose {
        let documents: Vec<String> = manifests.iter().map(Manifest::document).collect();
        indent_by(STEP, format!("[{}]", documents.join(",")).as_bytes())
    } else {
        let list = List::of(manifests, name);
        list.map_err(|error| CliError::new(format!("failed to assemble ManifestDescriptor: {error}")))?.text
    };
    cli.out.println(text)?;
    Ok(0)
}

async fn push(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (name, store) = (reference(m.arg(0))?, Store::of(cli));
    let manifests = store.list(&name)?.ok_or_else(|| missing(&name))?;
    if manifests.is_empty() {
        return Err(CliError::new(format!("{name} not found")));
    }
    for manifest in &manifests {
        let platform = manifest.descriptor.platform.as_ref();
        if platform.is_none_or(|platform| platform.architecture.is_empty() || platform.os.is_empty()) {
            return Err(CliError::new(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                manifest.reference
            )));
        }
    }
    let list = List::of(&manifests, &name)?;
    let remote = Remote::of(cli, &name, m.bool("insecure"));
    for manifest in manifests.iter().filter(|manifest| manifest.reference.path() != name.path()) {
        let pushed = remote.copy(manifest, &name).await?;
        cli.out.println(format!("Pushed ref {pushed} with digest: {}", manifest.descriptor.digest))?;
    }
    cli.out.println(remote.put(&name, &list).await?.to_string())?;
    if m.bool("purge") {
        store.remove(&name)?;
    }
    Ok(0)
}

fn remove(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let store = Store::of(cli);
    let remove = |name: &String| {
        let name = reference(name)?;
        store.list(&name)?.ok_or_else(|| missing(&name))?;
        store.remove(&name)
    };
    CliError::join(m.args.iter().filter_map(|name| remove(name).err()).collect()).map_or(Ok(0), Err)
}
