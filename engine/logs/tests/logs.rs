//! The writer and the reader together, on real files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use tare_logs::{Entry, Limit, LogConfig, LogReader, ReadOptions, Step, Stream, Writer};

struct Log {
    directory: tempfile::TempDir,
    config: LogConfig,
}

fn log(driver: &str) -> Log {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig {
        driver: driver.to_owned(),
        path: directory.path().join("c-json.log"),
        max_size: None,
        max_file: 1,
        compress: false,
        attrs: BTreeMap::new(),
    };
    Log { directory, config }
}

fn rotating(driver: &str, max_size: u64, max_file: u32, compress: bool) -> Log {
    let mut log = log(driver);
    log.config.max_size = Some(max_size);
    log.config.max_file = max_file;
    log.config.compress = compress;
    log
}

impl Log {
    fn path(&self) -> &Path {
        &self.config.path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(&self, lines: std::ops::Range<u32>) {
        let mut writer = Writer::open(&self.config).unwrap();
        write(&mut writer, lines);
    }

    fn reader(&self, options: ReadOptions) -> LogReader {
        LogReader::open(&self.config, options).unwrap()
    }

    fn read(&self, options: ReadOptions) -> Vec<String> {
        let mut reader = self.reader(options);
        let lines = available(&mut reader);
        assert_eq!(reader.next().unwrap(), Step::End);
        lines
    }
}

/// Line n has the time n, in seconds.
fn write(writer: &mut Writer, lines: std::ops::Range<u32>) {
    for line in lines {
        writer.write(Stream::Stdout, format!("line {line}\n").as_bytes(), seconds(line)).unwrap();
    }
}

fn seconds(line: u32) -> i64 {
    i64::from(line) * 1_000_000_000
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.line.clone()).unwrap().trim_end().to_owned()
}

fn available(reader: &mut LogReader) -> Vec<String> {
    let mut lines = Vec::new();
    while let Step::Entry(entry) = reader.next().unwrap() {
        lines.push(text(&entry));
    }
    lines
}

fn expected(lines: std::ops::Range<u32>) -> Vec<String> {
    lines.map(|line| format!("line {line}")).collect()
}

fn is_awake(reader: &LogReader) -> bool {
    let fd = reader.wake_fd().unwrap();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&rustix::event::Timespec::default())).unwrap() == 1
}

const DRIVERS: [&str; 2] = ["json-file", "local"];

#[test]
fn the_file_is_dockers() {
    let mut log = log("json-file");
    log.config.attrs = BTreeMap::from([("tag".to_owned(), "web".to_owned())]);
    let mut writer = Writer::open(&log.config).unwrap();
    writer.write(Stream::Stdout, b"hello\nunfin", 1_767_323_045_120_000_000).unwrap();
    writer.write(Stream::Stderr, b"<oops>\n", 1_767_323_046_000_000_000).unwrap();
    assert_eq!(writer.pending(Stream::Stdout), b"unfin");
    writer.finish(Stream::Stdout, 1_767_323_047_000_000_001).unwrap();
    insta::assert_snapshot!(fs::read_to_string(log.path()).unwrap(), @r#"
    {"log":"hello\n","stream":"stdout","attrs":{"tag":"web"},"time":"2026-01-02T03:04:05.12Z"}
    {"log":"\u003coops\u003e\n","stream":"stderr","attrs":{"tag":"web"},"time":"2026-01-02T03:04:06Z"}
    {"log":"unfin","stream":"stdout","attrs":{"tag":"web"},"time":"2026-01-02T03:04:07.000000001Z"}
    "#);
    let metadata = fs::metadata(log.path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert_eq!(writer.position().unwrap(), (metadata.ino(), metadata.len()));
}

#[test]
fn entries_come_back_whole() {
    for driver in DRIVERS {
        let mut log = log(driver);
        log.config.attrs = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let mut writer = Writer::open(&log.config).unwrap();
        writer.write(Stream::Stderr, "caf\u{e9}\n".as_bytes(), 7).unwrap();
        writer.write(Stream::Stdout, b"end", 8).unwrap();
        writer.finish(Stream::Stdout, 9).unwrap();
        let mut reader = log.reader(ReadOptions::default());
        let first =
            Entry { stream: Stream::Stderr, time_ns: 7, line: "caf\u{e9}\n".into(), attrs: log.config.attrs.clone() };
        assert_eq!(reader.next().unwrap(), Step::Entry(first));
        let Step::Entry(last) = reader.next().unwrap() else { panic!("no second entry") };
        assert_eq!((last.time_ns, last.partial(), &last.line[..]), (9, true, &b"end"[..]));
        assert_eq!(reader.next().unwrap(), Step::End);
    }
}

#[test]
fn none_stores_nothing_and_others_are_refused() {
    let mut log = log("none");
    log.write(0..10);
    assert!(log.names().is_empty());
    assert_eq!(
        LogReader::open(&log.config, ReadOptions::default()).unwrap_err().kind(),
        std::io::ErrorKind::Unsupported
    );
    log.config.driver = "syslog".to_owned();
    assert_eq!(Writer::open(&log.config).unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}

#[test]
fn a_missing_log_is_empty() {
    for driver in DRIVERS {
        assert!(log(driver).read(ReadOptions::default()).is_empty());
    }
}

#[test]
fn rotation_keeps_max_file_files_below_max_size() {
    for (driver, max_file) in [("json-file", 1), ("json-file", 3), ("local", 1), ("local", 3)] {
        let log = rotating(driver, 1000, max_file, false);
        log.write(0..200);
        assert_eq!(log.names().len(), max_file as usize, "{:?}", log.names());
        for name in log.names() {
            assert!(fs::metadata(log.directory.path().join(name)).unwrap().len() <= 1000);
        }
        let lines = log.read(ReadOptions::default());
        let first = 200 - u32::try_from(lines.len()).unwrap();
        assert_eq!(lines, expected(first..200));
    }
}

#[test]
fn a_record_larger_than_max_size_gets_a_file_of_its_own() {
    let log = rotating("json-file", 10, 3, false);
    log.write(0..2);
    assert_eq!(log.names(), ["c-json.log", "c-json.log.1"]);
    assert_eq!(log.read(ReadOptions::default()), expected(0..2));
}

#[test]
fn rotated_files_are_compressed_in_the_background() {
    for driver in DRIVERS {
        let log = rotating(driver, 2000, 4, true);
        let mut writer = Writer::open(&log.config).unwrap();
        write(&mut writer, 0..100);
        assert!(log.names().iter().all(|name| !name.ends_with(".gz")));
        while writer.background().unwrap() {}
        assert_eq!(
            log.names(),
            ["c-json.log", "c-json.log.1.gz", "c-json.log.2.gz", "c-json.log.3.gz"][..log.names().len()]
        );
        assert!(log.names().len() > 1);
        let before = log.read(ReadOptions::default());
        assert_eq!(before, expected(100 - u32::try_from(before.len()).unwrap()..100));
        // With compression overtaken by more rotations than there are files.
        write(&mut writer, 100..130);
        writer.background().unwrap();
        write(&mut writer, 130..400);
        while writer.background().unwrap() {}
        assert!(log.names().iter().all(|name| name.ends_with(".gz") || name.ends_with(".log")), "{:?}", log.names());
        let lines = log.read(ReadOptions::default());
        assert_eq!(lines, expected(400 - u32::try_from(lines.len()).unwrap()..400));
    }
}

#[test]
fn the_last_lines_across_files() {
    for driver in DRIVERS {
        for compress in [false, true] {
            let log = rotating(driver, 3000, 10, compress);
            let mut writer = Writer::open(&log.config).unwrap();
            write(&mut writer, 0..300);
            while writer.background().unwrap() {}
            assert!(log.names().len() > 2);
            for count in [0, 1, 2, 60, 61, 150, 299, 300, 500] {
                let options = ReadOptions { tail: Some(count), ..ReadOptions::default() };
                let first = 300_usize.saturating_sub(count);
                assert_eq!(
                    log.read(options),
                    expected(u32::try_from(first).unwrap()..300),
                    "{driver} {compress} {count}"
                );
            }
        }
    }
}

#[test]
fn the_last_lines_of_a_file_of_many_blocks() {
    for driver in DRIVERS {
        let log = log(driver);
        let mut writer = Writer::open(&log.config).unwrap();
        for line in 0..40_000_u32 {
            let padding = "x".repeat(usize::try_from(line % 97).unwrap());
            writer.write(Stream::Stdout, format!("{line}{padding}\n").as_bytes(), seconds(line)).unwrap();
        }
        let lines = log.read(ReadOptions { tail: Some(39_000), ..ReadOptions::default() });
        assert_eq!(lines.len(), 39_000);
        assert!(lines[0].starts_with("1000x") && lines[38_999].starts_with("39999"));
    }
}

#[test]
fn since_and_until() {
    for driver in DRIVERS {
        let log = log(driver);
        log.write(0..20_000);
        for (since, until) in [(0, 5), (10_000, 10_001), (19_999, 30_000), (20_000, 30_000), (12_345, 20_000)] {
            let options = ReadOptions {
                since_ns: Some(seconds(since)),
                until_ns: Some(seconds(until) - 1),
                ..ReadOptions::default()
            };
            assert_eq!(log.read(options), expected(since..until.min(20_000)), "{driver} {since} {until}");
        }
    }
}

#[test]
fn files_before_since_are_not_opened_up() {
    let log = rotating("json-file", 5000, 10, false);
    log.write(0..200);
    // An old file with nonsense that would show if it were read.
    fs::write(log.directory.path().join("c-json.log.9"), "{}\n").unwrap();
    let options = ReadOptions { since_ns: Some(seconds(150)), ..ReadOptions::default() };
    assert_eq!(log.read(options), expected(150..200));
}

#[test]
fn tail_counts_before_since_filters() {
    let log = log("json-file");
    log.write(0..100);
    let options = ReadOptions { tail: Some(10), since_ns: Some(seconds(95)), ..ReadOptions::default() };
    assert_eq!(log.read(options), expected(95..100));
    let options = ReadOptions { tail: Some(10), since_ns: Some(seconds(5)), ..ReadOptions::default() };
    assert_eq!(log.read(options), expected(90..100));
}

#[test]
fn following_a_growing_and_rotating_log() {
    for driver in DRIVERS {
        for (max_file, compress) in [(3, false), (3, true), (1, false)] {
            let log = rotating(driver, 3000, max_file, compress);
            let mut reader = log.reader(ReadOptions { follow: true, ..ReadOptions::default() });
            assert_eq!(reader.next().unwrap(), Step::WouldBlock);
            let mut writer = Writer::open(&log.config).unwrap();
            let mut seen = Vec::new();
            for start in (0..600).step_by(20) {
                write(&mut writer, start..start + 20);
                writer.background().unwrap();
                assert!(is_awake(&reader), "{driver} {max_file} {start}");
                seen.extend(available(&mut reader));
                assert_eq!(seen.len(), start as usize + 20);
                // `background` also wakes it: a compressed file is a new file.
                assert_eq!(available(&mut reader).len(), 0);
            }
            assert!(!is_awake(&reader));
            assert_eq!(reader.next().unwrap(), Step::WouldBlock);
            write(&mut writer, 600..601);
            reader.set_stopped();
            seen.extend(available(&mut reader));
            assert_eq!(seen, expected(0..601), "{driver} {max_file} {compress}");
            assert_eq!(reader.next().unwrap(), Step::End);
        }
    }
}

#[test]
fn following_through_several_rotations_at_once() {
    for compress in [false, true] {
        let log = rotating("json-file", 2000, 6, compress);
        let mut writer = Writer::open(&log.config).unwrap();
        write(&mut writer, 0..10);
        let mut reader = log.reader(ReadOptions { follow: true, tail: Some(2), ..ReadOptions::default() });
        assert_eq!(available(&mut reader), expected(8..10));
        write(&mut writer, 10..100);
        while writer.background().unwrap() {}
        assert!(log.names().len() > 3);
        assert_eq!(available(&mut reader), expected(10..100));
    }
}

#[test]
fn following_sees_a_line_only_when_it_is_whole() {
    let log = log("json-file");
    log.write(0..1);
    let whole = fs::read(log.path()).unwrap();
    let mut reader = log.reader(ReadOptions { follow: true, tail: Some(0), ..ReadOptions::default() });
    let mut file = fs::File::options().append(true).open(log.path()).unwrap();
    file.write_all(&whole[..20]).unwrap();
    assert_eq!(reader.next().unwrap(), Step::WouldBlock);
    file.write_all(&whole[20..]).unwrap();
    assert_eq!(available(&mut reader), expected(0..1));
    // Emptied by an administrator.
    file.set_len(0).unwrap();
    assert_eq!(reader.next().unwrap(), Step::WouldBlock);
    file.write_all(&whole).unwrap();
    assert_eq!(available(&mut reader), expected(0..1));
}

#[test]
fn a_limit_ends_the_replay() {
    for driver in DRIVERS {
        let log = rotating(driver, 3000, 5, false);
        let mut writer = Writer::open(&log.config).unwrap();
        write(&mut writer, 0..50);
        let (file, offset) = writer.position().unwrap();
        write(&mut writer, 50..120);
        let options = ReadOptions { limit: Some(Limit { file, offset }), follow: true, ..ReadOptions::default() };
        let lines = log.read(options);
        assert_eq!(lines.last().map(String::as_str), Some("line 49"));
        assert_eq!(log.read(ReadOptions { tail: Some(3), ..options }), expected(47..50));
    }
}

#[test]
fn damage_costs_only_what_is_damaged() {
    for driver in DRIVERS {
        let log = log(driver);
        log.write(0..10);
        // Torn by a crash, and a new run after it.
        let size = fs::metadata(log.path()).unwrap().len();
        fs::File::options().write(true).open(log.path()).unwrap().set_len(size - 3).unwrap();
        log.write(10..20);
        let mut left = expected(0..9);
        left.extend(expected(10..20));
        assert_eq!(log.read(ReadOptions::default()), left, "{driver}");
        assert_eq!(log.read(ReadOptions { tail: Some(4), ..ReadOptions::default() }), expected(16..20));
    }
}

#[test]
fn nonsense_in_the_middle_is_skipped() {
    for (driver, nonsense) in [
        ("json-file", &b"{\"log\":\"x\n\xff\xfe\n\0\0\0\n{\"log\":\"a\\n\",\"stream\":\"stdin\",\"time\":\"x\"}\n"[..]),
        ("local", &b"\x1e\x05\xff\xff\0\0garbage\x1e\x1e\x01"[..]),
    ] {
        let log = log(driver);
        log.write(0..5);
        fs::File::options().append(true).open(log.path()).unwrap().write_all(nonsense).unwrap();
        // As the shim would go on that wrote before: without looking at the end again.
        let second = LogConfig { path: PathBuf::from(format!("{}.more", log.path().display())), ..log.config.clone() };
        write(&mut Writer::open(&second).unwrap(), 5..5000);
        let more = fs::read(&second.path).unwrap();
        fs::File::options().append(true).open(log.path()).unwrap().write_all(&more).unwrap();
        assert_eq!(log.read(ReadOptions::default()), expected(0..5000), "{driver}");
        if driver == "local" {
            assert_eq!(log.read(ReadOptions { tail: Some(4998), ..ReadOptions::default() }), expected(2..5000));
        }
    }
}

#[test]
fn a_line_without_end_is_skipped_in_bounded_memory() {
    let log = log("json-file");
    log.write(0..1);
    let mut file = fs::File::options().append(true).open(log.path()).unwrap();
    for _ in 0..5 {
        file.write_all(&vec![b'x'; 1024 * 1024]).unwrap();
    }
    file.write_all(b"\n").unwrap();
    log.write(1..2);
    assert_eq!(log.read(ReadOptions::default()), expected(0..2));
}

#[test]
fn a_full_disk_loses_records_and_nothing_else() {
    let log = log("json-file");
    let mut config = log.config.clone();
    config.path = PathBuf::from("/dev/full");
    let mut writer = Writer::open(&config).unwrap();
    assert!(writer.write(Stream::Stdout, b"lost\n", 0).is_err());
    assert!(writer.write(Stream::Stdout, b"lost as well\n", 0).is_err());
}

#[test]
fn a_rotation_that_fails_drops_no_older_file() {
    let log = rotating("json-file", 400, 3, false);
    let mut writer = Writer::open(&log.config).unwrap();
    write(&mut writer, 0..30);
    let before = log.names();
    let oldest = fs::read(log.directory.path().join("c-json.log.2")).unwrap();
    // There is no room for another file.
    let obstacle = log.directory.path().join("c-json.log.next");
    fs::create_dir(&obstacle).unwrap();
    for number in 30..60 {
        // What it says does not matter here.
        let _ = writer.write(Stream::Stdout, format!("line {number}\n").as_bytes(), 0);
    }
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(log.names(), before);
    assert_eq!(fs::read(log.directory.path().join("c-json.log.2")).unwrap(), oldest);
    write(&mut writer, 60..61);
    assert_ne!(fs::read(log.directory.path().join("c-json.log.2")).unwrap(), oldest);
}
