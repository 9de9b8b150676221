//! Steps of builds: a build that runs keeps what it has made or found, whatever is pruned or removed meanwhile.

mod common;

use common::{Fixture, reference};
use tare_distribution::{BuildHold, Commit, Use};
use tare_images::Step;
use tare_reference::Digest;

fn unused(_: &Digest) -> Vec<Use> {
    Vec::new()
}

async fn step(f: &Fixture, hold: &BuildHold) -> Digest {
    let commit = Commit { created_by: "a step".to_owned(), ..Commit::default() };
    f.distribution.commit_step(commit, "key".to_owned(), hold).await.unwrap()
}

#[tokio::test]
async fn a_running_build_keeps_its_steps() {
    let f = Fixture::new();
    let first = f.distribution.hold_steps();
    let made = step(&f, &first).await;
    // Another build finds it; the first one ends.
    let second = f.distribution.hold_steps();
    assert_eq!(f.distribution.find_step("key", &second), Some(made.clone()));
    drop(first);
    // It becomes an image, whose removal, by whatever way, is none of the step's.
    for prune in [false, true] {
        f.store.tag(&made, &reference("app:1")).unwrap();
        match prune {
            true => drop(f.distribution.prune(true, &|_| true, &unused).await.unwrap()),
            false => drop(f.distribution.remove("app:1", false, true, &unused).await.unwrap()),
        }
        assert!(f.store.resolve("app:1").is_err());
        f.store.image(&made).unwrap();
    }
    f.distribution.prune_steps(&|_: &Step| true, &unused).await.unwrap();
    assert_eq!(f.distribution.find_step("key", &second), Some(made.clone()));
    // Nobody needs it any more.
    drop(second);
    let pruned = f.distribution.prune(false, &|_| true, &unused).await.unwrap();
    assert_eq!(pruned.items.iter().map(|item| item.deleted.as_str()).collect::<Vec<_>>(), [made.as_str()]);
    let third = f.distribution.hold_steps();
    assert_eq!(f.distribution.find_step("key", &third), None);
}
