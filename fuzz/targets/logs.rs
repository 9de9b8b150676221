//! Files of the log drivers, read forwards, from the end and between two times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_logs::{LogConfig, LogReader, ReadOptions, Step};

fuzz_target!(|data: &[u8]| {
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let path = directory.path().join("log");
    std::fs::write(&path, data).expect("file");
    for driver in ["json-file", "local"] {
        let config = LogConfig {
            driver: driver.to_owned(),
            path: path.clone(),
            max_size: None,
            max_file: 1,
            compress: false,
            attrs: Default::default(),
        };
        let all = ReadOptions::default();
        let tail = ReadOptions { tail: Some(3), ..all };
        let between = ReadOptions { since_ns: Some(1_700_000_000_000_000_000), until_ns: Some(i64::MAX), ..all };
        let [all, tail, _] = [all, tail, between].map(|options| count(&config, options));
        assert_eq!(tail, all.min(3), "{driver}");
    }
});

/// How many entries there are.
fn count(config: &LogConfig, options: ReadOptions) -> usize {
    let mut reader = LogReader::open(config, options).expect("a log");
    let mut count = 0;
    while let Ok(Step::Entry(_)) = reader.next() {
        count += 1;
    }
    count
}
