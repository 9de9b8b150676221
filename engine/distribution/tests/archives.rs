//! load, save, import, commit: images in and out of archives.

mod common;

use std::io::Cursor;
use std::sync::Arc;

use common::{Fixture, Messages, Server, compressed, reference, remote, tar};
use tare_archive::{Entry, Kind, Reader, Writer};
use tare_distribution::{Commit, Distribution, Import};
use tare_images::oci::{Config, Platform};

fn files(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in entries {
        let entry = Entry { size: data.len() as u64, ..Entry::new(*path, Kind::File, 0o644) };
        writer.append_data(&entry, &mut data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// As `docker save` made them before it knew OCI.
fn docker_archive(tags: &str) -> Vec<u8> {
    let layers = [tar(&[("a", "1"), ("gone", "x")]), tar(&[("b", "2"), (".wh.gone", "")])];
    let diff_ids = layers.clone().map(|l| common::server::digest_of(&l).to_string());
    let config = serde_json::json!({
        "architecture": Platform::host().architecture, "os": "linux",
        "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let [one, two] = layers;
    files(&[
        ("l1/VERSION", b"1.0".to_vec()),
        ("l1/json", b"{}".to_vec()),
        ("l1/layer.tar", one),
        ("l2/layer.tar", two),
        ("config.json", config.to_string().into_bytes()),
        (
            "manifest.json",
            format!(r#"[{{"Config":"config.json","RepoTags":{tags},"Layers":["l1/layer.tar","l2/layer.tar"]}}]"#)
                .into(),
        ),
    ])
}

async fn load(d: &Distribution, archive: Vec<u8>) -> (Vec<String>, Option<String>) {
    let messages = Messages::default();
    let result = d.load(Cursor::new(archive), Vec::new(), Arc::new(messages.sink())).await;
    (messages.lines(), result.err().map(|e| e.to_string()))
}

async fn save(d: &Distribution, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut chunks = d.save(&names, &[]).await.unwrap();
    let mut archive = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        archive.extend_from_slice(&chunk.unwrap());
    }
    archive
}

#[tokio::test(flavor = "multi_thread")]
async fn old_archives_are_loaded() {
    let f = Fixture::new();
    let archive = docker_archive(r#"["app:1","app:2"]"#);
    assert_eq!(load(&f.distribution, archive.clone()).await.0, ["Loaded image: app:1", "Loaded image: app:2"]);
    assert_eq!(f.file("app:1", "b").as_deref(), Some("2"));
    assert_eq!(f.file("app:2", "gone"), None);
    let image = f.store.resolve("app:1").unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(["sh".to_owned()].as_slice()));
    assert_eq!(image.manifest.media_type, "application/vnd.docker.distribution.manifest.v2+json");
    let again = load(&f.distribution, compressed(&archive)).await;
    assert_eq!(again.0.len(), 2, "compressed, and all known");
    let nameless = Fixture::new();
    let id = f.store.resolve("app:1").unwrap().id;
    assert_eq!(load(&nameless.distribution, docker_archive("null")).await.0, [format!("Loaded image ID: {id}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_loaded() {
    let f = Fixture::new();
    load(&f.distribution, docker_archive(r#"["app:1","other:x"]"#)).await;
    let archive = save(&f.distribution, &["app:1", "other:x"]).await;
    let mut reader = Reader::new(archive.as_slice());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    assert_eq!(names.iter().filter(|n| n.starts_with("blobs/sha256/") && n.len() > 13).count(), 4);
    for name in ["index.json", "manifest.json", "oci-layout", "repositories"] {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
    let g = Fixture::new();
    assert_eq!(load(&g.distribution, archive).await.0, ["Loaded image: app:1", "Loaded image: other:x"]);
    assert_eq!(g.store.resolve("app:1").unwrap().id, f.store.resolve("app:1").unwrap().id);
    assert_eq!(g.file("other:x", "a").as_deref(), Some("1"));

    // by its ID an image has no name; a repository stands for all its tags
    let id = f.store.resolve("app:1").unwrap().id;
    let h = Fixture::new();
    assert_eq!(
        load(&h.distribution, save(&f.distribution, &[id.short()]).await).await.0,
        [format!("Loaded image ID: {id}")]
    );
    f.store.tag(&id, &reference("app:2")).unwrap();
    let both = load(&h.distribution, save(&f.distribution, &["app"]).await).await.0;
    assert_eq!(both, ["Loaded image: app:1", "Loaded image: app:2"]);
    let error = f.distribution.save(&["nope".to_owned()], &[]).await.err().unwrap();
    assert_eq!(error.to_string(), "No such image: nope:latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_archives_are_refused() {
    let f = Fixture::new();
    let wrong = format!("blobs/sha256/{}", "0".repeat(64));
    let outside = files(&[("manifest.json", br#"[{"Config":"../../etc/passwd","Layers":[]}]"#.to_vec())]);
    for (archive, reason) in [
        (files(&[]), "archive lacks `manifest.json`"),
        (files(&[("oci-layout", b"{}".to_vec())]), "archive lacks `index.json`"),
        (files(&[("manifest.json", b"{".to_vec())]), "invalid manifest.json"),
        (files(&[("manifest.json", br#"[{"Config":"c","Layers":[]}]"#.to_vec())]), "archive lacks `c`"),
        (outside, "archive lacks `../../etc/passwd`"),
        (files(&[(&wrong, b"x".to_vec())]), "unexpected blob digest"),
        (files(&[("../x", b"x".to_vec())]), "is outside of the root"),
        (b"this is no archive at all".to_vec(), "unexpected EOF"),
        (docker_archive(r#"["a:1"]"#)[..2100].to_vec(), "unexpected EOF"),
    ] {
        let error = load(&f.distribution, archive).await.1.unwrap();
        assert!(error.contains(reason), "{error} / {reason}");
    }
    let links = {
        let mut writer = Writer::new(Vec::new());
        for (from, to) in [("a", "b"), ("b", "a")] {
            writer.append(&Entry { link: to.into(), ..Entry::new(from, Kind::Symlink, 0o777) }).unwrap();
        }
        let manifest = br#"[{"Config":"a","Layers":[]}]"#;
        let entry = Entry { size: manifest.len() as u64, ..Entry::new("manifest.json", Kind::File, 0o644) };
        writer.append_data(&entry, &mut manifest.as_slice()).unwrap();
        writer.finish().unwrap()
    };
    assert!(load(&f.distribution, links).await.1.unwrap().contains("archive lacks `a`"));
    assert!(f.store.list().is_empty());
    f.store.collect().unwrap();
    f.store.sync().unwrap();
    assert_eq!((f.count("layers"), f.count("blobs/sha256")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_becomes_an_image() {
    let f = Fixture::new();
    for (i, archive) in [tar(&[("etc/x", "1")]), compressed(&tar(&[("etc/x", "1")]))].into_iter().enumerate() {
        let import = Import {
            name: Some(reference(&format!("tree:{i}"))),
            message: "from a tree".to_owned(),
            changes: vec!["CMD [\"/bin/x\", \"-v\"]".to_owned(), "ENV A=1 B=\"two words\"".to_owned()],
            ..Import::default()
        };
        f.distribution.import(Cursor::new(archive), import).await.unwrap();
    }
    let (one, two) = (f.store.resolve("tree:0").unwrap(), f.store.resolve("tree:1").unwrap());
    assert_eq!(one.diff_ids(), two.diff_ids());
    assert_eq!(one.config.config.cmd.as_deref(), Some(["/bin/x".to_owned(), "-v".to_owned()].as_slice()));
    assert_eq!(one.config.config.env, ["A=1", "B=two words"]);
    assert_eq!(f.store.history(&one)[0].comment, "from a tree");
    assert_eq!(one.manifest.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(f.file("tree:1", "etc/x").as_deref(), Some("1"));
    let bad = Import { changes: vec!["RUN x".to_owned()], ..Import::default() };
    let error = f.distribution.import(Cursor::new(tar(&[])), bad).await.unwrap_err();
    assert_eq!(error.to_string(), "RUN is not a valid change command");
    let error = f.distribution.import(Cursor::new(tar(&[("../x", "")])), Import::default()).await.unwrap_err();
    assert!(error.to_string().contains("outside"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containers_changes_become_an_image() {
    let f = Fixture::new();
    load(&f.distribution, docker_archive(r#"["app:1"]"#)).await;
    let image = f.store.resolve("app:1").unwrap();
    let layer = f.store.create_rw_layer("c", image.diff_ids()).unwrap();
    std::fs::write(layer.upper.join("new"), "new").unwrap();
    let commit = |name: &str| Commit {
        upper: Some(layer.upper.clone()),
        parent: Some(image.content().clone()),
        parent_id: None,
        config: Config { user: "nobody".to_owned(), ..Config::default() },
        changes: vec!["LABEL a=b".to_owned()],
        created_by: "sh -c x".to_owned(),
        author: "me".to_owned(),
        comment: "why".to_owned(),
        name: Some(reference(name)),
        created: None,
    };
    let id = f.distribution.commit(commit("app:2")).await.unwrap();
    let made = f.store.image(&id).unwrap();
    assert_eq!(made.diff_ids().len(), 3);
    assert_eq!(made.manifest.layers[..2], image.manifest.layers);
    assert_eq!((made.config.config.user.as_str(), made.config.config.labels["a"].as_str()), ("nobody", "b"));
    let step = &f.store.history(&made)[0];
    assert_eq!((step.created_by.as_str(), step.comment.as_str()), ("sh -c x", "why"));
    assert!(step.size > 0);
    assert_eq!(f.file("app:2", "new").as_deref(), Some("new"));
    assert_eq!(f.file("app:2", "a").as_deref(), Some("1"));
    std::fs::remove_file(layer.upper.join("new")).unwrap();
    let unchanged = f.store.image(&f.distribution.commit(commit("app:3")).await.unwrap()).unwrap();
    assert_eq!(unchanged.diff_ids(), image.diff_ids(), "no changes make no layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_images_come_back_the_same() {
    let server = Server::start().await;
    let f = Fixture::new();
    load(&f.distribution, docker_archive(r#"["app:1"]"#)).await;
    let id = f.store.resolve("app:1").unwrap().id;
    let name = reference(&server.name("team/app:v1"));
    f.store.tag(&id, &name).unwrap();
    let messages = Messages::default();
    let sink = messages.sink();
    f.distribution.push(&name, None, None, &sink).await.unwrap();
    let image = f.store.image(&id).unwrap();
    let steps = messages.steps();
    assert_eq!(steps[0], format!("The push refers to repository [{}/team/app]", server.address));
    for layer in &image.manifest.layers {
        let id = layer.digest.short();
        assert!(steps.contains(&format!("{id}: Preparing")) && steps.contains(&format!("{id}: Pushed")), "{steps:?}");
    }
    assert_eq!(steps.last().unwrap(), &format!("v1: digest: {id} size: {}", image.target.size));
    let aux = messages.0.lock().unwrap().iter().find_map(|m| m.aux.clone()).unwrap();
    assert_eq!((aux["Tag"].as_str(), aux["Digest"].as_str()), (Some("v1"), Some(id.as_str())));

    let messages = Messages::default();
    let sink = messages.sink();
    f.distribution.push(&name, None, None, &sink).await.unwrap();
    let known = messages.steps().iter().filter(|s| s.ends_with("Layer already exists")).count();
    assert_eq!(known, 2);
    let g = Fixture::new();
    assert_eq!(g.distribution.pull(&name, None, None, &|_| {}).await.unwrap().id, id);

    let text =
        async |name: &str| f.distribution.push(&reference(name), None, None, &|_| {}).await.unwrap_err().to_string();
    assert_eq!(text("nope:1").await, "tag does not exist: nope:1");
    assert_eq!(text("nope").await, "An image does not exist locally with the tag: nope");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_only_what_is_here_is_pushed() {
    let server = Server::start().await;
    let f = Fixture::new();
    let host = Platform::host().architecture;
    let manifests = ["s390x", &host].map(|a| remote(&server, None, a, &[tar(&[("arch", a)])]).target);
    let own = manifests[1].digest.clone();
    let index = common::remote_index(&server, "latest", manifests.to_vec());
    let name = reference(&server.name("multi:latest"));
    f.distribution.pull(&name, None, None, &|_| {}).await.unwrap();
    let elsewhere = Server::start().await;
    let pushed = reference(&elsewhere.name("multi:latest"));
    f.store.tag(&index, &pushed).unwrap();
    let messages = Messages::default();
    let sink = messages.sink();
    f.distribution.push(&pushed, None, None, &sink).await.unwrap();
    assert_eq!(elsewhere.with(|s| s.tags["latest"].clone()), own.to_string());
    let aux: Vec<_> = messages.0.lock().unwrap().iter().filter_map(|m| m.aux.clone()).collect();
    assert_eq!(aux[0]["manifestPushedInsteadOfIndex"], true);
    f.distribution.pull(&name, Some(&Platform::parse("s390x").unwrap()), None, &|_| {}).await.unwrap();
    f.distribution.push(&pushed, None, None, &|_| {}).await.unwrap();
    assert_eq!(elsewhere.with(|s| s.tags["latest"].clone()), index.to_string(), "now all of it is here");
}
