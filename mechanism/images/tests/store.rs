//! Names, identities, collection, recovery.

mod common;

use std::fs;

use common::{Fixture, Tar, names};
use tare_images::oci::{Index, Platform, media};
use tare_images::{Error, ImageStore};
use tare_reference::{Digest, Reference};

fn reference(s: &str) -> Reference {
    Reference::parse_normalized(s).unwrap().with_default_tag()
}

fn layer(content: &str) -> Vec<u8> {
    Tar::new().file("file", content).done()
}

#[test]
fn images_are_found_as_docker_finds_them() {
    let f = Fixture::new();
    let id = f.image(Some("busybox:latest"), &[layer("1")]);
    let other = f.image(Some("localhost:5000/app:v1"), &[layer("2")]);
    let image = f.store.resolve("busybox").unwrap();
    assert_eq!((&image.id, image.repo_tags()), (&id, vec!["busybox:latest".to_owned()]));
    assert_eq!(image.repo_digests(), [format!("busybox@{id}")]);
    assert!(image.size() > 512 && image.unpacked_size >= 4096);
    for good in ["docker.io/library/busybox", id.as_str(), id.hex(), id.short(), &id.as_str()[..12], &id.hex()[..4]] {
        assert_eq!(f.store.resolve(good).unwrap().id, id, "{good}");
    }
    assert_eq!(f.store.resolve(&format!("busybox@{id}")).unwrap().id, id);
    let text = |s: &str| f.store.resolve(s).unwrap_err().to_string();
    assert_eq!(text("nope"), "No such image: nope:latest");
    assert_eq!(text("busybox:9"), "No such image: busybox:9");
    assert!(text(&format!("app@{id}")).starts_with("No such image: app@sha256:"), "another repository");
    assert_eq!(text("Upper"), "invalid reference format: repository name (library/Upper) must be lowercase");
    assert_eq!(f.store.resolve("localhost:5000/app:v1").unwrap().id, other);
    // a name that looks like a short ID wins
    f.store.tag(&other, &reference(id.short())).unwrap();
    assert_eq!(f.store.resolve(id.short()).unwrap().id, other);
}

#[test]
fn ambiguous_ids_are_refused() {
    let f = Fixture::new();
    let (first, second) = ((0u32..).find_map(|n| {
        let id = f.image(None, &[layer(&n.to_string())]);
        let twin = f.store.list().iter().find(|i| i.id != id && i.id.hex()[..1] == id.hex()[..1]).map(|i| i.id.clone());
        twin.map(|twin| (id, twin))
    }))
    .unwrap();
    // one digit is no short ID; four are rarely shared, so the records are asked directly
    assert!(f.store.resolve(&first.hex()[..1]).is_err());
    assert_eq!(f.store.resolve(&second.hex()[..8]).unwrap().id, second);
}

#[test]
fn a_moved_name_leaves_a_dangling_image() {
    let f = Fixture::new();
    let old = f.image(Some("app"), &[layer("old")]);
    f.store.tag(&old, &reference("app:latest")).unwrap();
    let new = f.image(Some("app:latest"), &[layer("new")]);
    let images = f.store.list();
    assert_eq!(images.len(), 2);
    assert!(f.store.image(&old).unwrap().names.is_empty() || f.store.image(&old).unwrap().repo_tags().is_empty());
    assert_eq!(f.store.resolve("app").unwrap().id, new);
    assert!(f.store.untag(&reference("app:latest"), false).unwrap());
    assert!(!f.store.untag(&reference("app:latest"), false).unwrap());
    assert!(matches!(f.store.resolve("app:latest"), Err(Error::NotFound(_))));
}

#[test]
fn only_what_nothing_needs_is_collected() {
    let f = Fixture::new();
    let (shared, own) = (layer("shared"), layer("own"));
    let kept = f.image(Some("kept:1"), std::slice::from_ref(&shared));
    let gone = f.image(Some("gone:1"), &[shared, own]);
    let image = f.store.image(&gone).unwrap();
    f.store.create_rw_layer("c1", image.diff_ids()).unwrap();
    f.store.remove(&gone).unwrap();
    f.store.collect().unwrap();
    assert!(f.store.has_layer(&image.diff_ids()[1]), "a container stands on it");
    assert!(!f.store.has_blob(&image.manifest.layers[1].digest), "but its archive is of no use");
    assert_eq!(f.store.rw_layer_lowers("c1").unwrap().len(), 3, "and the mount points");
    f.store.remove_rw_layer("c1").unwrap();
    assert!(f.store.collect().unwrap() > 0);
    assert!(!f.store.has_layer(&image.diff_ids()[1]));
    let left = f.store.image(&kept).unwrap();
    assert!(f.store.has_layer(&left.diff_ids()[0]) && f.store.has_blob(&left.manifest.layers[0].digest));
    f.store.sync().unwrap();
    assert_eq!(names(&f.directory.path().join("trash")).len(), 0);
    // its own and the one of mount points
    assert_eq!(names(&f.directory.path().join("layers")).len(), 2);
    assert_eq!(names(&f.directory.path().join("blobs/sha256")).len(), 3);
}

#[test]
fn leases_put_collection_off() {
    let f = Fixture::new();
    let lease = f.store.lease();
    let descriptor = f.store.write_blob(media::OCI_LAYER, b"not an image's yet").unwrap();
    assert_eq!(f.store.collect().unwrap(), 0);
    assert!(f.store.has_blob(&descriptor.digest));
    drop(lease);
    assert!(!f.store.has_blob(&descriptor.digest), "the last lease does what was put off");
}

#[test]
fn what_is_given_up_goes_with_the_last_lease() {
    let f = Fixture::new();
    let (lease, other) = (f.store.lease(), f.store.lease());
    let descriptor = f.store.write_blob(media::OCI_LAYER, b"of no use").unwrap();
    lease.give_up();
    assert!(f.store.has_blob(&descriptor.digest));
    drop(other);
    assert!(!f.store.has_blob(&descriptor.digest));
}

#[test]
fn the_list_of_images_has_room_for_its_next_version() {
    let f = Fixture::new();
    for n in 0..40 {
        f.image(Some(&format!("app:{n}")), &[layer(&n.to_string())]);
        let length = |name: &str| fs::metadata(f.directory.path().join(name)).unwrap().len();
        assert!(length("index.json.new") >= length("index.json"));
    }
    f.store.untag(&Reference::parse_normalized("app:7").unwrap(), false).unwrap();
    assert_eq!(ImageStore::open(f.directory.path()).unwrap().records(), f.store.records());
}

#[test]
fn a_store_opens_as_it_was_left() {
    let f = Fixture::new();
    let id = f.image(Some("app:1"), &[layer("1")]);
    f.store.create_rw_layer("c1", f.store.image(&id).unwrap().diff_ids()).unwrap();
    fs::create_dir_all(f.directory.path().join("layers/tmp-9/diff")).unwrap();
    fs::write(f.directory.path().join("ingest/tmp-9"), "x").unwrap();
    let again = ImageStore::open(f.directory.path()).unwrap();
    again.sync().unwrap();
    let image = again.resolve("app:1").unwrap();
    assert_eq!(image.id, id);
    assert!(again.has_layer(&image.diff_ids()[0]));
    assert_eq!(again.rw_layers(), ["c1"]);
    assert_eq!(names(&f.directory.path().join("layers")).len(), 2);
    assert_eq!(names(&f.directory.path().join("ingest")).len(), 0);
}

#[test]
fn a_power_loss_takes_what_was_not_on_disk_and_nothing_else() {
    let f = Fixture::new();
    let safe = f.image(Some("safe:1"), &[layer("safe")]);
    f.store.sync().unwrap();
    assert!(!f.directory.path().join("unsynced.json").exists());
    let lost = f.image(Some("lost:1"), &[layer("lost")]);
    f.store.sync().unwrap();
    // as it is before the syncfs, in the boot before this one
    let image = f.store.image(&lost).unwrap();
    let list = serde_json::json!({
        "boot": "another",
        "blobs": [image.id, image.manifest.config.digest, image.manifest.layers[0].digest],
        "layers": image.diff_ids(),
    });
    fs::write(f.directory.path().join("unsynced.json"), list.to_string()).unwrap();
    let again = ImageStore::open(f.directory.path()).unwrap();
    again.sync().unwrap();
    assert_eq!(again.list().iter().map(|i| i.id.clone()).collect::<Vec<_>>(), [safe]);
    assert!(!again.has_layer(&image.diff_ids()[0]) && !again.has_blob(&image.id));
    again.collect().unwrap();
    assert_eq!(names(&f.directory.path().join("layers")).len(), 2);
}

#[test]
fn an_index_offers_its_platforms() {
    let f = Fixture::new();
    let mut manifests = Vec::new();
    for architecture in ["arm64", "amd64"] {
        let mut target = f.target(&[layer(architecture)], architecture);
        target.platform =
            Some(Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), ..Platform::default() });
        manifests.push(target);
    }
    // not downloaded
    let mut absent = manifests[0].clone();
    absent.digest = Digest::from_sha256(&[9; 32]);
    absent.platform = Some(Platform::parse("linux/s390x").unwrap());
    manifests.push(absent);
    let index = Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests, ..Index::default() };
    let target = f.store.write_blob(media::OCI_INDEX, &serde_json::to_vec(&index).unwrap()).unwrap();
    f.store.publish(&target, &[reference("multi")]).unwrap();
    let platform = |p: &str| f.store.resolve_platform("multi", Some(&Platform::parse(p).unwrap()));
    assert_eq!(f.store.resolve("multi").unwrap().config.architecture, Platform::host().architecture);
    assert_eq!(platform("linux/arm64/v8").unwrap().config.architecture, "arm64");
    assert_eq!(
        platform("linux/s390x").unwrap_err().to_string(),
        "image with reference multi was found but does not provide the specified platform (linux/s390x)"
    );
    let all = f.store.manifests(&target).unwrap();
    assert_eq!(all.iter().map(|m| m.content.is_some()).collect::<Vec<_>>(), [true, true, false]);
    f.store.collect().unwrap();
    assert!(platform("linux/arm64").is_ok(), "every platform that is here is kept");
}

#[test]
fn content_is_verified_and_resumed() {
    let f = Fixture::new();
    let data = vec![7u8; 700_000];
    let descriptor = f.store.write_blob("x/y", &data).unwrap();
    f.store.publish(&f.target(&[layer("1")], "amd64"), &[]).unwrap();
    f.store.collect().unwrap();
    assert!(!f.store.has_blob(&descriptor.digest));

    let mut writer = f.store.resume_blob(&descriptor).unwrap();
    assert!(matches!(f.store.resume_blob(&descriptor), Err(Error::Busy(_))));
    writer.write(&data[..300_000]).unwrap();
    drop(writer);
    let mut writer = f.store.resume_blob(&descriptor).unwrap();
    assert_eq!(writer.prefix(), 300_000);
    let mut seen = 0;
    writer
        .replay(|piece| {
            seen += piece.len();
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(seen, 300_000);
    writer.write(&data[300_000..]).unwrap();
    assert_eq!(writer.finish().unwrap(), (descriptor.digest.clone(), 700_000));
    assert!(f.store.has_blob(&descriptor.digest));

    let mut wrong = descriptor.clone();
    wrong.digest = Digest::from_sha256(&[3; 32]);
    let mut writer = f.store.resume_blob(&wrong).unwrap();
    writer.write(&data).unwrap();
    assert!(matches!(writer.write(b"more"), Err(Error::SizeMismatch { .. })));
    assert!(matches!(writer.finish(), Err(Error::DigestMismatch { .. })));
    assert_eq!(f.store.resume_blob(&wrong).unwrap().prefix(), 0, "what is wrong is not resumed");
    let mut short = f.store.resume_blob(&wrong).unwrap();
    short.write(b"short").unwrap();
    assert!(matches!(short.finish(), Err(Error::SizeMismatch { .. })));
}

#[test]
fn names_are_told_in_the_order_of_the_full_ones() {
    let f = Fixture::new();
    let id = f.image(Some("own/app:1"), &[layer("1")]);
    for name in ["zebra:1", "app:2", "example.com/app:3"] {
        f.store.tag(&id, &reference(name)).unwrap();
    }
    assert_eq!(f.store.image(&id).unwrap().repo_tags(), ["app:2", "zebra:1", "own/app:1", "example.com/app:3"]);
}
