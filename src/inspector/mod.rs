//! What the inspector, a page of the status server, knows of each request: written as requests pass, read when somebody looks.
//!
//! One [`Recorder`] per relay client, told by the forwarder (begin and end of a request) and by the driver (refusals, acks,
//! trouble with the connection). It has a fixed number of places, each with a lock of its own, so that neither writers nor
//! a reader wait for each other, and a request costs no allocation. [`History`] samples the status now and then for the
//! plots. Deliberately absent: content, unless the configuration asks for it ([`content`]), and the answers themselves
//! (`status::inspect`).

mod content;
mod history;
mod recorder;
pub(crate) mod redact;
mod short;
mod slots;
pub mod view;

#[cfg(test)]
mod tests;

pub use content::{Content, Side};
pub use history::{History, INTERVAL};
pub use recorder::{Asked, Outcome, Recorder, Ticket};

/// The page.
pub const PAGE: &str = include_str!("page/page.html");

/// Its style.
pub const STYLE: &str = include_str!("page/page.css");

/// Its script.
pub const SCRIPT: &str = include_str!("page/page.js");
