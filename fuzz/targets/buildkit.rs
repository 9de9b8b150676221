//! What a client of BuildKit's protocol asks for, and the files that it sends: nothing outside of their directory changes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    if kind % 2 == 0 {
        return tare_buildkit::fuzzing::request(data);
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
    std::fs::create_dir(&inside).expect("directory");
    std::fs::write(&outside, "mine").expect("file");
    tare_buildkit::fuzzing::transfer(data, &inside);
    assert_eq!(std::fs::read_to_string(&outside).expect("file"), "mine");
    assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 2);
});
