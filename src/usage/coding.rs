//! Takes the content-encoding off an answer as it passes, within bounds.
//!
//! gzip, deflate, br and zstd, with windows of at most 8 MiB. Deliberately absent: several encodings at once. Where
//! decoding fails nothing more is read, and the tap says so.

use std::fmt;
use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::reader::Reader;

/// A reader behind what its answer is encoded with.
pub(super) enum Coding {
    Plain(Reader),
    Gzip(Box<MultiGzDecoder<Reader>>),
    Deflate(Box<ZlibDecoder<Reader>>),
    Brotli {
        decoder: Box<DecompressorWriter<Reader>>,
        /// Nothing was seen: the first byte tells how large its window is.
        fresh: bool,
    },
    Zstd(Box<Zstd>),
    /// An encoding that is not known.
    Unknown(Reader),
}

impl Coding {
    /// Behind `content_encoding`, a header's value.
    pub fn new(content_encoding: Option<&[u8]>, reader: Reader) -> Self {
        let coding = content_encoding.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match coding.as_slice() {
            b"" | b"identity" => Self::Plain(reader),
            b"gzip" | b"x-gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(reader))),
            b"deflate" => Self::Deflate(Box::new(ZlibDecoder::new(reader))),
            b"br" => Self::Brotli {
                decoder: Box::new(DecompressorWriter::new(reader, BUFFER)),
                fresh: true,
            },
            b"zstd" => Self::Zstd(Box::new(Zstd::new(reader))),
            _ => Self::Unknown(reader),
        }
    }

    /// Decodes and reads on.
    ///
    /// # Errors
    /// The bytes are not so encoded, or not within the bounds.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(reader) => {
                reader.push(bytes);
                Ok(())
            }
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Brotli { decoder, fresh } => {
                let Some(first) = bytes.first() else { return Ok(()) };
                if std::mem::take(fresh) && brotli_window(*first) > MAX_WINDOW_LOG {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                decoder.write_all(bytes).and_then(|()| decoder.flush())
            }
            Self::Zstd(zstd) => zstd.push(bytes),
            Self::Unknown(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        match self {
            Self::Plain(reader) | Self::Unknown(reader) => reader,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => decoder.get_ref(),
            Self::Brotli { decoder, .. } => decoder.get_ref(),
            Self::Zstd(zstd) => &zstd.reader,
        }
    }

    /// The reader.
    pub fn reader_mut(&mut self) -> &mut Reader {
        match self {
            Self::Plain(reader) | Self::Unknown(reader) => reader,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli { decoder, .. } => decoder.get_mut(),
            Self::Zstd(zstd) => &mut zstd.reader,
        }
    }
}

impl fmt::Debug for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader().fmt(f)
    }
}

/// A zstd decoder that writes what it has at once.
pub(super) struct Zstd {
    /// `None` if there is no memory for one.
    decoder: Option<DCtx<'static>>,
    buffer: Box<[u8]>,
    reader: Reader,
}

impl Zstd {
    fn new(reader: Reader) -> Self {
        let decoder = DCtx::try_create().and_then(|mut decoder| {
            let limited = decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG));
            limited.ok().map(|_| decoder)
        });
        Self {
            decoder,
            buffer: vec![0; BUFFER].into(),
            reader,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let decoder = self.decoder.as_mut().ok_or(io::ErrorKind::OutOfMemory)?;
        let mut input = InBuffer::around(bytes);
        loop {
            let mut output = OutBuffer::around(&mut *self.buffer);
            decoder
                .decompress_stream(&mut output, &mut input)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            let written = output.pos();
            self.reader.write_all(self.buffer.get(..written).unwrap_or_default())?;
            if input.pos() == bytes.len() && written < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

/// The base 2 logarithm of a brotli stream's window, as its first byte says (RFC 7932 §9.1).
fn brotli_window(first: u8) -> u32 {
    let (small, large) = (u32::from(first >> 4 & 7), u32::from(first >> 1 & 7));
    match (first & 1, large, small) {
        (0, _, _) => 16,
        (_, 1.., _) => 17 + large,
        (_, 0, 0) => 17,
        // a window beyond the RFC
        (_, 0, 1) => u32::MAX,
        (_, 0, small) => 8 + small,
    }
}

/// 8 MiB: what RFC 9659 asks of a zstd decoder for content-encoding.
const MAX_WINDOW_LOG: u32 = 23;
const BUFFER: usize = 16 * 1024;
