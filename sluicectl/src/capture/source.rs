//! Where the bytes of a capture come from: a file or standard input, perhaps compressed.

use std::fs::File;
use std::io::{self, Chain, Cursor, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use flate2::read::MultiGzDecoder;

/// The header of a pcap file, and the part of a pcapng section header that gives its length.
const HEAD: usize = 24;

/// The block type of a pcapng section header, the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

/// Longer section headers are not read ahead, and then not recognised.
const LONGEST_SECTION_HEADER: usize = 1 << 20;

/// The first two bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// How many bytes of the file have been read, compressed or not.
#[derive(Clone, Default)]
pub(super) struct Position(Arc<AtomicU64>);

impl Position {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The bytes of a capture, decompressed. The first read returns at least the whole header, as pcap-parser needs it.
pub(super) type Source = Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>;

/// Opens `path`; `-` is standard input.
pub(super) fn open(path: &Path) -> io::Result<(Source, Position)> {
    if path.as_os_str() == "-" {
        return read(Box::new(io::stdin()));
    }
    // Some systems open a folder and then fail to read it, which pcap-parser would report without a reason.
    if std::fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    read(Box::new(File::open(path)?))
}

fn read(source: Box<dyn Read + Send>) -> io::Result<(Source, Position)> {
    let position = Position::default();
    let mut source = Counted { source, position: position.clone() };
    let mut magic = Vec::new();
    fill(&mut magic, GZIP.len(), &mut source)?;
    let is_gzip = magic == GZIP;
    let source = Cursor::new(magic).chain(source);
    let mut source: Box<dyn Read + Send> =
        if is_gzip { Box::new(MultiGzDecoder::new(source)) } else { Box::new(source) };

    let mut head = Vec::new();
    fill(&mut head, HEAD, &mut source)?;
    if let Some(rest) = head.strip_prefix(&SECTION_HEADER) {
        let length = section_header_length(rest).unwrap_or(HEAD);
        fill(&mut head, length.min(LONGEST_SECTION_HEADER), &mut source)?;
    }
    Ok((Cursor::new(head).chain(source), position))
}

/// The length of a section header, of which these bytes follow the block type.
fn section_header_length(rest: &[u8]) -> Option<usize> {
    let (length, byte_order) = (rest.first_chunk::<4>()?, rest.get(4..8)?);
    let length =
        if byte_order == [0x1A, 0x2B, 0x3C, 0x4D] { u32::from_be_bytes(*length) } else { u32::from_le_bytes(*length) };
    usize::try_from(length).ok()
}

/// Reads on until there are `length` bytes, or the source ends.
fn fill(bytes: &mut Vec<u8>, length: usize, source: &mut impl Read) -> io::Result<()> {
    let missing = length.saturating_sub(bytes.len()) as u64;
    source.take(missing).read_to_end(bytes)?;
    Ok(())
}

/// Counts the bytes read, and goes on after an interruption.
struct Counted {
    source: Box<dyn Read + Send>,
    position: Position,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.position.0.fetch_add(count as u64, Relaxed);
                    return Ok(count);
                }
            }
        }
    }
}
