//! The HTTP filter: one configuration per place that names it, one filter object per stream.
//!
//! [`HttpFilterConfig`] and [`HttpFilter`] are the module's side; [`EnvoyHttpFilterConfig`] and [`EnvoyHttpFilter`] are Envoy's, lent to
//! the factory and to each hook. Configurations are made on the main thread and read by all workers; after a listener update old and new
//! ones live side by side for up to ten minutes. A filter lives on one worker thread.
//!
//! A hook that Envoy calls from within another hook of the same filter (the local reply of its own `send_response`) is answered without
//! the filter, which is already in use. After a panic the filter is gone and [`PanicPolicy`] decides.
//!
//! Callouts, streams, tracing spans and events for a configuration are deliberately absent: nobody here needs them. The hooks that Envoy
//! demands for them exist and do nothing.

mod envoy;
mod filter;
pub(crate) mod hooks;
mod traits;

pub use envoy::{EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl};
pub use traits::*;
