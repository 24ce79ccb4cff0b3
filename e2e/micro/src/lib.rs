//! What the pure core and the tap cost, on fixed inputs.
//!
//! [`bodies`] are the inputs, [`client`] plays the shell's part around a session, [`cases`] is the work whose
//! instructions are counted. `benches/micro.rs` measures the same parts in time (`make micro`), the program `guard`
//! compares their instruction counts with those of `counts.txt` (`make guard`). Deliberately absent: sockets, threads
//! and Envoy, whose cost `make bench` measures.
#![forbid(unsafe_code)]

pub mod bodies;
pub mod cases;
pub mod client;

/// 2^10 bytes.
pub const KIB: usize = 1024;
/// 2^20 bytes.
pub const MIB: usize = 1024 * KIB;
