//! The messages of `envoy.service.ratelimit.v3`, as far as budgets need them, and gRPC's framing.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// `RateLimitRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Question {
    #[prost(message, repeated, tag = "2")]
    pub(super) descriptors: Vec<Descriptor>,
    /// For every descriptor that does not say its own.
    #[prost(uint32, tag = "3")]
    pub(super) hits: u32,
}

/// `RateLimitDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    /// A `google.protobuf.UInt64Value`.
    #[prost(message, optional, tag = "3")]
    pub(super) hits: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `RateLimitResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(uint32, tag = "1")]
    overall_code: u32,
}

impl Descriptor {
    /// Its entries as text.
    pub(super) fn name(&self) -> String {
        let entries = self
            .entries
            .iter()
            .map(|entry| format!("{}={}", entry.key, entry.value));
        entries.collect::<Vec<_>>().join(",")
    }
}

impl Answer {
    pub(super) fn new(allowed: bool) -> Self {
        Self {
            overall_code: if allowed { OK } else { OVER_LIMIT },
        }
    }
}

/// The message in a unary call's body.
pub(super) fn message<M: Message + Default>(body: &[u8]) -> Option<M> {
    let (head, message) = body.split_at_checked(HEAD)?;
    let packed = *head.first()? != 0;
    (!packed).then(|| M::decode(message).ok())?
}

/// A message as a unary answer's body.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut body = BytesMut::with_capacity(HEAD + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.extend_from_slice(&message);
    body.freeze()
}

const OK: u32 = 1;
const OVER_LIMIT: u32 = 2;

/// A flag for compression and four bytes of length.
const HEAD: usize = 5;
