//! Extraction: whatever an archive says, nothing outside of the directory changes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_archive::Reader;
use tare_images::rootdir::RootDir;
use tare_images::unpack::{Options, unpack};

fuzz_target!(|data: &[u8]| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
    std::fs::create_dir(&inside).expect("directory");
    std::fs::write(&outside, "mine").expect("file");
    let root = RootDir::open(&inside).expect("directory");
    // Whether it is a layer's or that of a copy decides what its names mean.
    let layer = data.first().is_some_and(|byte| byte % 2 == 0);
    let archive = data.get(1..).unwrap_or_default();
    let _ = unpack(&mut Reader::new(archive), root, Options { layer, ..Options::default() });
    assert_eq!(std::fs::read_to_string(&outside).expect("file"), "mine");
    assert_eq!(std::fs::read_dir(directory.path()).expect("directory").count(), 2);
});
