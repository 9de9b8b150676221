//! Reading and writing archives: round trips, agreement with another reader, hostile input.

use std::io::{Cursor, Read};

use proptest::prelude::*;
use tare_archive::path::{NameError, classify, clean, whiteout_of};
use tare_archive::{BLOCK, Entry, EntryName, Error, Kind, MAX_EXTENSION, Reader, Time, Whiteout, Writer, pax};

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append_data(entry, &mut data.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    // a small buffer, so that data comes in several chunks
    let mut reader = Reader::new(std::io::BufReader::with_capacity(700, bytes));
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = vec![0; usize::try_from(entry.size.min(1 << 22)).unwrap()];
        while let Some(chunk) = reader.chunk()? {
            let at = usize::try_from(chunk.offset).unwrap();
            if let Some(to) = data.get_mut(at..at + chunk.data.len()) {
                to.copy_from_slice(chunk.data);
            }
        }
        all.push((entry, data));
    }
    Ok(all)
}

fn file(path: &str, data: &[u8]) -> (Entry, Vec<u8>) {
    (Entry { size: data.len() as u64, ..Entry::new(path, Kind::File, 0o644) }, data.to_vec())
}

/// A header as written, with some of its bytes replaced and the checksum made right again.
fn patched(mut archive: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    archive[at..at + bytes.len()].copy_from_slice(bytes);
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..BLOCK].iter().map(|&b| u32::from(b)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive
}

/// A raw extension entry (`x`, `L`, `K`) in front of an archive.
fn extended(flag: u8, data: &[u8], archive: &[u8]) -> Vec<u8> {
    let mut entry = Entry::new("ext", Kind::Other(flag), 0o644);
    entry.size = data.len() as u64;
    let mut front = write(&[(entry, data.to_vec())]);
    front.truncate(front.len() - 2 * BLOCK);
    front.extend_from_slice(archive);
    front
}

#[test]
fn every_kind_survives_a_round_trip() {
    let mut entries = vec![file("dir/file", b"hello"), file("empty", b""), file(&"d/".repeat(80), b"")];
    entries[2].0.kind = Kind::Directory;
    entries[0].0.xattrs = vec![
        (b"security.capability".to_vec(), b"\x01\x00\x00\x02\n\x00=\n\xff".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
    ];
    entries[0].0.mtime = Time { seconds: 1_700_000_000, nanoseconds: 5 };
    entries[1].0.mtime = Time { seconds: -2, nanoseconds: 750_000_000 };
    entries[1].0.uid = 4_000_000_000;
    entries[1].0.mode = 0o6755;
    for (kind, link, device) in [
        (Kind::Symlink, "/a/target".repeat(20), (0, 0)),
        (Kind::HardLink, "dir/file".to_owned(), (0, 0)),
        (Kind::CharDevice, String::new(), (5, 1)),
        (Kind::BlockDevice, String::new(), (259, 70_000)),
        (Kind::Fifo, String::new(), (0, 0)),
    ] {
        let entry = Entry { link: link.into_bytes(), device, ..Entry::new(format!("{kind:?}"), kind, 0o600) };
        entries.push((entry, Vec::new()));
    }
    let mut back = read(&write(&entries)).unwrap();
    assert_eq!(back[2].0.path, entries[2].0.path);
    back[2].0.path.clone_from(&entries[2].0.path);
    assert_eq!(back, entries);
}

#[test]
fn gnu_long_names_win_over_pax_and_headers() {
    let archive = extended(b'L', b"the/long/name\0", &write(&[file("short", b"x")]));
    assert_eq!(read(&archive).unwrap()[0].0.path, b"the/long/name");
    let mut records = Vec::new();
    pax::push(&mut records, b"path", b"pax/name");
    let both = extended(b'x', &records, &archive);
    assert_eq!(read(&both).unwrap()[0].0.path, b"the/long/name");
    let only = extended(b'x', &records, &write(&[file("short", b"x")]));
    assert_eq!(read(&only).unwrap()[0].0.path, b"pax/name");
}

#[test]
fn the_pax_size_is_the_size() {
    // the header says 0 bytes; who believes it reads the data as headers
    let mut records = Vec::new();
    pax::push(&mut records, b"size", b"1024");
    let inner = write(&[file("smuggled", b"")]);
    let archive = patched(write(&[file("outer", &inner[..1024])]), 124, b"00000000000");
    let found = read(&extended(b'x', &records, &archive)).unwrap();
    assert_eq!(found.iter().map(|(e, _)| e.path.as_slice()).collect::<Vec<_>>(), [b"outer"]);
}

#[test]
fn sparse_files_keep_their_holes() {
    let data = [b"AAAA".as_slice(), b"BB"].concat();
    let expected = [b"AAAA".as_slice(), &[0; 6], b"BB", &[0; 8]].concat();
    let body = write(&[file("s", &data)]);
    for map in ["0,4,10,2", "0,4,10,2,20,0"] {
        let mut records = Vec::new();
        pax::push(&mut records, b"GNU.sparse.major", b"0");
        pax::push(&mut records, b"GNU.sparse.minor", b"1");
        pax::push(&mut records, b"GNU.sparse.name", b"real");
        pax::push(&mut records, b"GNU.sparse.size", b"20");
        pax::push(&mut records, b"GNU.sparse.map", map.as_bytes());
        let found = read(&extended(b'x', &records, &body)).unwrap();
        assert_eq!((found[0].0.path.as_slice(), found[0].0.size), (b"real".as_slice(), 20));
        assert_eq!(found[0].1, expected);
    }
    let mut records = Vec::new();
    pax::push(&mut records, b"GNU.sparse.major", b"1");
    pax::push(&mut records, b"GNU.sparse.minor", b"0");
    pax::push(&mut records, b"GNU.sparse.realsize", b"20");
    let mut with_map = b"2\n0\n4\n10\n2\n".to_vec();
    with_map.resize(BLOCK, 0);
    with_map.extend_from_slice(&data);
    let found = read(&extended(b'x', &records, &write(&[file("s", &with_map)]))).unwrap();
    assert_eq!(found[0].1, expected);
    for bad in ["0,4,2,2", "0,4,10,3", "0,4,19,2", "0,4,10", "0,4,18446744073709551615,2"] {
        let mut records = Vec::new();
        pax::push(&mut records, b"GNU.sparse.size", b"20");
        pax::push(&mut records, b"GNU.sparse.map", bad.as_bytes());
        assert!(read(&extended(b'x', &records, &body)).is_err(), "{bad}");
    }
}

#[test]
fn old_gnu_sparse_headers_are_read() {
    let mut archive = write(&[file("s", b"AAAABB")]);
    archive[257..265].copy_from_slice(b"ustar  \0");
    archive[156] = b'S';
    for (i, n) in [0u32, 4, 10, 2].into_iter().enumerate() {
        archive[386 + i * 12..][..12].copy_from_slice(format!("{n:011o}\0").as_bytes());
    }
    let archive = patched(archive, 483, format!("{:011o}\0", 20).as_bytes());
    let found = read(&archive).unwrap();
    assert_eq!(found[0].1, [b"AAAA".as_slice(), &[0; 6], b"BB", &[0; 8]].concat());
}

#[test]
fn numbers_may_be_base_256() {
    let big = [&[0x80, 0, 0, 0], 4_294_967_295u32.to_be_bytes().as_slice()].concat();
    let found = read(&patched(write(&[file("f", b"")]), 108, &big)).unwrap();
    assert_eq!(found[0].0.uid, 4_294_967_295);
    let before_1970 = [&[0xff; 8], (-5i32).to_be_bytes().as_slice()].concat();
    let found = read(&patched(write(&[file("f", b"")]), 136, &before_1970)).unwrap();
    assert_eq!(found[0].0.mtime.seconds, -5);
    assert!(read(&patched(write(&[file("f", b"")]), 124, &[0xff; 12])).is_err(), "a negative size");
}

#[test]
fn broken_archives_are_errors() {
    let good = write(&[file("a", &[7; 1000])]);
    assert!(matches!(read(&good[..700]), Err(Error::Truncated)));
    assert!(matches!(read(&good[..100]), Err(Error::Truncated)));
    assert!(read(&good[..BLOCK + 1000]).is_ok(), "the last padding may be missing");
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    assert!(matches!(read(&flipped), Err(Error::Header("wrong checksum"))));
    let huge = patched(write(&[(Entry::new("x", Kind::Other(b'x'), 0), Vec::new())]), 124, b"77777777777");
    assert!(matches!(read(&huge), Err(Error::TooLong(_))));
    assert!(u64::from(u32::MAX) > MAX_EXTENSION);
    for record in ["", "x", "5 a=b", "99 a=b\n", "6 =bc\n", "3 \n", "-1 a=b\n", "6 a.b.\n"] {
        let archive = extended(b'x', record.as_bytes(), &good);
        assert_eq!(read(&archive).is_ok(), record.is_empty(), "{record:?}");
    }
    let mut records = Vec::new();
    pax::push(&mut records, b"path", b"a\0b");
    assert!(read(&extended(b'x', &records, &good)).is_err());
    assert!(read(&extended(b'x', b"", &[])).is_err(), "an extension needs its entry");
}

#[test]
fn short_data_leaves_the_archive_intact() {
    let mut writer = Writer::new(Vec::new());
    let entry = Entry { size: 10, ..Entry::new("log", Kind::File, 0o644) };
    assert!(matches!(writer.append_data(&entry, &mut b"abc".as_slice()), Err(Error::Size)));
    writer.append(&Entry::new("next", Kind::Directory, 0o755)).unwrap();
    let found = read(&writer.finish().unwrap()).unwrap();
    assert_eq!(found[0].1, b"abc\0\0\0\0\0\0\0");
    assert_eq!(found[1].0.path, b"next/");
}

#[test]
fn names_are_made_safe() {
    for (name, expected) in [
        ("a/b", "a/b"),
        ("./a//b/", "a/b"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../b", "b"),
        ("a/b/../../c", "c"),
        ("/../../etc", "etc"),
        (".", ""),
        ("/", ""),
        ("a/..", ""),
    ] {
        assert_eq!(clean(name.as_bytes()), Ok(expected.as_bytes().to_vec()), "{name}");
    }
    for name in ["..", "../a", "a/../../b", "./../x"] {
        assert_eq!(clean(name.as_bytes()), Err(NameError::Outside), "{name}");
    }
    assert_eq!(clean(b"a\0b"), Err(NameError::Nul));
    assert_eq!(clean(&[b'a'; 4096]), Err(NameError::TooLong));
}

#[test]
fn whiteouts_are_told_apart() {
    let path = |p: &str| p.as_bytes().to_vec();
    assert_eq!(classify(b"a/.wh.b").unwrap(), EntryName::Whiteout(Whiteout::Path(path("a/b"))));
    assert_eq!(classify(b".wh.b").unwrap(), EntryName::Whiteout(Whiteout::Path(path("b"))));
    assert_eq!(classify(b"a/.wh..wh..opq").unwrap(), EntryName::Whiteout(Whiteout::Opaque(path("a"))));
    assert_eq!(classify(b"./.wh..wh..opq").unwrap(), EntryName::Whiteout(Whiteout::Opaque(path(""))));
    assert_eq!(classify(b".wh..wh.plnk/12.34").unwrap(), EntryName::Ignored);
    assert_eq!(classify(b".wh..wh.aufs").unwrap(), EntryName::Ignored);
    assert_eq!(classify(b"a/.whb").unwrap(), EntryName::Path(path("a/.whb")));
    for invalid in ["a/.wh.", "a/.wh..", "a/.wh..."] {
        assert_eq!(classify(invalid.as_bytes()), Err(NameError::Whiteout), "{invalid}");
    }
    assert_eq!(whiteout_of(b"a/b"), b"a/.wh.b");
    assert_eq!(classify(&whiteout_of(b"x")).unwrap(), EntryName::Whiteout(Whiteout::Path(path("x"))));
}

prop_compose! {
    fn any_entry()(
        path in "[a-zA-Z0-9._é-]{1,60}(/[a-z]{1,60}){0,4}",
        data in proptest::collection::vec(any::<u8>(), 0..1500),
        mode in 0u32..0o10000,
        uid in prop_oneof![0u64..5000, Just(1u64 << 31), Just((1u64 << 32) - 2)],
        seconds in prop_oneof![0i64..2_000_000_000, -9_000_000_000i64..9_000_000_000],
        nanoseconds in prop_oneof![Just(0u32), 0u32..1_000_000_000],
        xattr in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..120)),
    ) -> (Entry, Vec<u8>) {
        let mut entry = Entry { size: data.len() as u64, uid, gid: uid / 2, ..Entry::new(path, Kind::File, mode) };
        entry.mtime = Time { seconds, nanoseconds };
        entry.xattrs = xattr.map(|value| (b"user.x".to_vec(), value)).into_iter().collect();
        (entry, data)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 0..6)) {
        prop_assert_eq!(read(&write(&entries)).unwrap(), entries);
    }

    #[test]
    fn another_reader_agrees(entries in proptest::collection::vec(any_entry(), 0..4)) {
        let bytes = write(&entries);
        let mut oracle = tar::Archive::new(Cursor::new(&bytes));
        let mut count = 0;
        for (theirs, (entry, data)) in oracle.entries().unwrap().zip(&entries) {
            let mut theirs = theirs.unwrap();
            prop_assert_eq!(theirs.path_bytes().into_owned(), entry.path.clone());
            prop_assert_eq!(theirs.header().mode().unwrap(), entry.mode);
            let mut content = Vec::new();
            theirs.read_to_end(&mut content).unwrap();
            prop_assert_eq!(&content, data);
            count += 1;
        }
        prop_assert_eq!(count, entries.len());
    }

    #[test]
    fn damage_never_panics(
        entries in proptest::collection::vec(any_entry(), 1..3),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        fix in any::<bool>(),
    ) {
        let mut bytes = write(&entries);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = if fix { patched(bytes, 0, b"n") } else { bytes };
        let _ = read(&bytes);
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
        let _ = pax::Records::parse(&bytes);
        if let Ok(cleaned) = clean(&bytes) {
            prop_assert!(!cleaned.split(|&b| b == b'/').any(|c| c == b".." || c == b"."));
            prop_assert_eq!(clean(&cleaned), Ok(cleaned));
        }
    }
}
