//! Segments: compressed files of lines. A reader checks each event against the chain, and the file against its size and
//! hash.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::BackupError;
use super::files::{HashingReader, PendingFile};
use super::line::{self, Hash};
use super::manifest::Segment;
use crate::event_log::raw::RawEvent;

/// zstd's default.
const ZSTD_LEVEL: i32 = 3;

/// An encoder into a file, with a checksum of the content.
///
/// # Errors
/// [`BackupError::Io`].
pub fn compress(file: PendingFile) -> Result<zstd::Encoder<'static, PendingFile>, BackupError> {
    let path = file.path().to_owned();
    let encoder = zstd::Encoder::new(file, ZSTD_LEVEL).and_then(|mut encoder| {
        encoder.include_checksum(true)?;
        Ok(encoder)
    });
    encoder.map_err(BackupError::io(&path, "written"))
}

/// A segment that is being written.
pub struct SegmentWriter {
    directory: PathBuf,
    name: String,
    out: zstd::Encoder<'static, PendingFile>,
    first: u64,
    next: u64,
    chain: Hash,
    line: Vec<u8>,
}

impl SegmentWriter {
    /// Creates the segment whose first event has this sequence.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn create(directory: &Path, first: u64, chain: Hash) -> Result<Self, BackupError> {
        let name = format!("events-{first:012}.jsonl.zst");
        let out = compress(PendingFile::create(directory, &name)?)?;
        Ok(Self { directory: directory.to_owned(), name, out, first, next: first, chain, line: Vec::new() })
    }

    /// Appends the next event.
    ///
    /// # Errors
    /// [`BackupError`]; also if the sequence is not the next one.
    pub fn push(&mut self, raw: &RawEvent) -> Result<(), BackupError> {
        let wrong = |why: String| BackupError::damaged(format!("event {}", raw.sequence), why);
        if raw.sequence != self.next {
            return Err(wrong(format!("event {} is expected", self.next)));
        }
        self.line.clear();
        self.chain = line::write(raw, self.chain, &mut self.line).map_err(|error| wrong(error.to_string()))?;
        self.line.push(b'\n');
        let path = self.directory.join(&self.name);
        self.out.write_all(&self.line).map_err(BackupError::io(&path, "written"))?;
        self.next += 1;
        Ok(())
    }

    /// The number of events.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.next - self.first
    }

    /// Whether it has no events.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn finish(self) -> Result<Segment, BackupError> {
        let Self { directory, name, out, first, next, chain, .. } = self;
        let file = out.finish().map_err(BackupError::io(&directory.join(&name), "written"))?;
        let (bytes, sha256) = file.publish(&directory, &name)?;
        Ok(Segment { name, bytes, sha256, first, last: next - 1, chain })
    }
}

/// The lines of a compressed file.
pub struct CompressedLines {
    path: PathBuf,
    name: String,
    input: BufReader<zstd::Decoder<'static, BufReader<HashingReader<File>>>>,
    number: u64,
}

impl CompressedLines {
    /// Opens a file of the directory.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(directory: &Path, name: &str) -> Result<Self, BackupError> {
        let path = directory.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BackupError::damaged(name, "is missing"));
            }
            file => file.map_err(BackupError::io(&path, "read"))?,
        };
        let decoder = zstd::Decoder::new(HashingReader::new(file)).map_err(BackupError::io(&path, "read"))?;
        Ok(Self { path, name: name.to_owned(), input: BufReader::with_capacity(1 << 17, decoder), number: 0 })
    }

    /// Reads the next line into `line`, without the newline; `false` after the last one.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] if the line is truncated or can't be decompressed.
    pub fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, BackupError> {
        line.clear();
        self.number += 1;
        let read = self.input.read_until(b'\n', line).map_err(|error| self.damaged(error.to_string()))?;
        if read == 0 {
            return Ok(false);
        }
        if line.pop() != Some(b'\n') {
            return Err(self.damaged("is truncated"));
        }
        Ok(true)
    }

    /// The error for the last line read.
    pub fn damaged(&self, why: impl Into<String>) -> BackupError {
        BackupError::damaged(format!("{}, line {}", self.name, self.number), why)
    }

    /// Reads the rest of the file and compares its size and hash.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn verify_file(&mut self, bytes: u64, sha256: Hash) -> Result<(), BackupError> {
        let mut rest = Vec::new();
        let raw = self.input.get_mut().get_mut();
        raw.read_to_end(&mut rest).map_err(BackupError::io(&self.path, "read"))?;
        if raw.get_ref().read_so_far() == (bytes, sha256) {
            return Ok(());
        }
        Err(BackupError::damaged(self.name.as_str(), "is not the file in the manifest: its size or SHA-256 differs"))
    }
}

/// Reads and checks the events of a segment.
pub struct SegmentReader {
    segment: Segment,
    lines: CompressedLines,
    chain: Hash,
    next: u64,
    line: Vec<u8>,
}

impl SegmentReader {
    /// Opens a segment that follows `chain`.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(directory: &Path, segment: &Segment, chain: Hash) -> Result<Self, BackupError> {
        let lines = CompressedLines::open(directory, &segment.name)?;
        Ok(Self { next: segment.first, segment: segment.clone(), lines, chain, line: Vec::new() })
    }

    /// The next event; `None` after the last one, when the whole file has been checked.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] with the first wrong line, or the file. Do not read on after it.
    pub fn next_event(&mut self) -> Result<Option<RawEvent>, BackupError> {
        if !self.lines.next(&mut self.line)? {
            if self.next != self.segment.last + 1 {
                return Err(self.lines.damaged(format!("is missing; event {} is expected", self.next)));
            }
            if self.chain != self.segment.chain {
                return Err(self.lines.damaged("the chain does not end with the manifest's value"));
            }
            self.lines.verify_file(self.segment.bytes, self.segment.sha256)?;
            return Ok(None);
        }
        let (raw, chain) = line::read(&self.line, self.chain).map_err(|error| self.lines.damaged(error.to_string()))?;
        if raw.sequence != self.next || raw.sequence > self.segment.last {
            return Err(self.lines.damaged(format!("is event {}; {} is expected", raw.sequence, self.next)));
        }
        self.chain = chain;
        self.next += 1;
        Ok(Some(raw))
    }
}
