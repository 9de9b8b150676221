//! Who may remove which image.

mod common;

use common::{Fixture, reference, tar};
use tare_distribution::{Import, Kind, Use};
use tare_reference::Digest;

async fn image(f: &Fixture, name: Option<&str>, content: &str) -> Digest {
    let import = Import { name: name.map(reference), ..Import::default() };
    f.distribution.import(std::io::Cursor::new(tar(&[("x", content)])), import).await.unwrap()
}

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn used(running: bool) -> impl Fn(&Digest) -> Vec<Use> + Send + Sync {
    move |_| vec![Use { container: CONTAINER.to_owned(), image: "busybox".to_owned(), running }]
}

fn unused(_: &Digest) -> Vec<Use> {
    Vec::new()
}

async fn remove(
    f: &Fixture,
    reference: &str,
    force: bool,
    uses: &(impl Fn(&Digest) -> Vec<Use> + Send + Sync),
) -> Vec<String> {
    match f.distribution.remove(reference, force, true, uses).await {
        Ok(removal) => {
            let line = |i: &tare_docker_api::image::DeleteItem| match i.untagged.as_str() {
                "" => format!("Deleted {}", i.deleted),
                name => format!("Untagged {name}"),
            };
            removal.items.iter().map(line).collect()
        }
        Err(e) => vec![format!("{:?} {e}", e.kind())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_name_takes_the_image_along() {
    let f = Fixture::new();
    let id = image(&f, Some("app:1"), "1").await;
    f.store.tag(&id, &reference("app:2")).unwrap();
    f.store.tag(&id, &reference("other:1")).unwrap();
    assert_eq!(remove(&f, "app:1", false, &unused).await, ["Untagged app:1"]);
    assert_eq!(remove(&f, "other:1", false, &unused).await, ["Untagged other:1"]);
    assert_eq!(remove(&f, "app:2", false, &unused).await, ["Untagged app:2".to_owned(), format!("Deleted {id}")]);
    assert_eq!(remove(&f, "app:2", false, &unused).await, ["NotFound No such image: app:2"]);
    f.store.collect().unwrap();
    f.store.sync().unwrap();
    assert_eq!((f.count("blobs/sha256"), f.count("layers")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_id_further_names_need_force() {
    let f = Fixture::new();
    let id = image(&f, Some("app:1"), "1").await;
    f.store.tag(&id, &reference("other:1")).unwrap();
    let short = id.short();
    assert_eq!(
        remove(&f, short, false, &unused).await,
        [format!(
            "Conflict conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )]
    );
    assert_eq!(
        remove(&f, short, true, &unused).await,
        ["Untagged app:1".to_owned(), "Untagged other:1".to_owned(), format!("Deleted {id}")]
    );
    let dangling = image(&f, None, "2").await;
    assert_eq!(remove(&f, dangling.as_str(), false, &unused).await, [format!("Deleted {dangling}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_keep_their_images() {
    let f = Fixture::new();
    let id = image(&f, Some("app:1"), "1").await;
    let short = id.short();
    assert_eq!(
        remove(&f, "app:1", false, &used(false)).await,
        [format!(
            "Conflict conflict: unable to delete app:1 (must be forced) - container 0123456789ab is using its referenced image {short}"
        )]
    );
    assert_eq!(
        remove(&f, short, false, &used(false)).await,
        [format!(
            "Conflict conflict: unable to delete {short} (must be forced) - image is being used by stopped container 0123456789ab"
        )]
    );
    for force in [false, true] {
        assert_eq!(
            remove(&f, short, force, &used(true)).await,
            [format!(
                "Conflict conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"
            )]
        );
    }
    // forced by name: only the name goes
    assert_eq!(remove(&f, "app:1", true, &used(true)).await, ["Untagged app:1"]);
    assert!(f.store.image(&id).unwrap().names.is_empty());
    assert_eq!(remove(&f, short, true, &used(false)).await, [format!("Deleted {id}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_names_is_free_to_go() {
    let f = Fixture::new();
    let id = image(&f, Some("app:1"), "1").await;
    f.store.tag(&id, &reference("app:2")).unwrap();
    assert_eq!(remove(&f, "app:2", false, &used(true)).await, ["Untagged app:2"]);
    let by_digest = format!("app@{id}");
    f.store.tag(&id, &reference(&by_digest)).unwrap();
    assert_eq!(
        remove(&f, &by_digest, false, &unused).await,
        ["Untagged app:1".to_owned(), format!("Untagged {by_digest}"), format!("Deleted {id}")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_what_nobody_uses() {
    let f = Fixture::new();
    let named = image(&f, Some("named:1"), "1").await;
    let dangling = image(&f, None, "2").await;
    let busy = image(&f, None, "3").await;
    let keep = busy.clone();
    let uses = move |id: &Digest| if *id == keep { used(false)(id) } else { Vec::new() };
    let pruned = f.distribution.prune(false, &|_| true, &uses).await.unwrap();
    assert_eq!(pruned.items.iter().map(|i| i.deleted.clone()).collect::<Vec<_>>(), [dangling.to_string()]);
    assert!(pruned.reclaimed > 0);
    assert!(f.distribution.prune(true, &|i| i.names.is_empty(), &uses).await.unwrap().items.is_empty());
    let pruned = f.distribution.prune(true, &|_| true, &uses).await.unwrap();
    assert_eq!((pruned.items[0].untagged.as_str(), pruned.items[1].deleted.as_str()), ("named:1", named.as_str()));
    assert_eq!(f.store.list().len(), 1);
    assert_eq!(f.distribution.remove("nope", false, true, &unused).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn pruning_leaves_used_images_the_names_they_are_called_by() {
    let f = Fixture::new();
    let id = image(&f, Some("busybox:b"), "1").await;
    for name in ["busybox:a", "busybox:latest", "other:1"] {
        f.store.tag(&id, &reference(name)).unwrap();
    }
    let names = || f.store.list().iter().flat_map(tare_images::Image::repo_tags).collect::<Vec<_>>();
    // `used` calls it busybox.
    assert!(f.distribution.prune(false, &|_| true, &used(true)).await.unwrap().spare.is_empty());
    let pruned = f.distribution.prune(true, &|_| true, &used(true)).await.unwrap();
    let spare: Vec<_> = pruned.spare.iter().map(|(of, item)| (of == &id, item.untagged.as_str())).collect();
    assert_eq!(spare, [(true, "busybox:a"), (true, "busybox:b"), (true, "other:1")]);
    assert_eq!((names(), pruned.items.len()), (vec!["busybox:latest".to_owned()], 0));
    // By its ID it has no name of its own, but one stays.
    f.store.tag(&id, &reference("busybox:a")).unwrap();
    let by_id = |_: &Digest| vec![Use { container: CONTAINER.to_owned(), image: id.to_string(), running: false }];
    f.distribution.prune(true, &|_| true, &by_id).await.unwrap();
    assert_eq!(names(), ["busybox:latest"]);
}
