//! Tar archives: whatever they hold, entries and data are read to an end, and what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_archive::path::classify;
use tare_archive::{Chunk, Entry, Reader, Writer};

fuzz_target!(|data: &[u8]| {
    let entries = read(data);
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in &entries {
        // Not every entry can be written; one that can, can be read.
        if content.len() as u64 != entry.size || writer.append_data(entry, &mut content.as_slice()).is_err() {
            return;
        }
    }
    let Ok(again) = writer.finish() else { return };
    assert_eq!(read(&again).len(), entries.len());
});

/// Entries with their data; those before the first error.
fn read(data: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let mut reader = Reader::new(data);
    let mut entries = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        // A name is refused, or leads nowhere but down.
        if let Ok(name) = classify(&entry.path) {
            let shown = format!("{name:?}");
            assert!(!shown.contains("\"..\""), "{shown}");
        }
        let mut content = Vec::new();
        while let Ok(Some(chunk)) = reader.chunk() {
            let Chunk { data: bytes, .. } = chunk;
            content.extend_from_slice(bytes);
        }
        entries.push((entry, content));
    }
    entries
}
