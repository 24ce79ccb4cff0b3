//! The bootstrap extension: one object for the life of the Envoy process.
//!
//! [`BootstrapExtensionConfig`] and [`BootstrapExtension`] are the module's side, made by its factory; the `Envoy…` traits are
//! Envoy's side, lent to each hook. All hooks run on Envoy's main thread, in this order: factory, `new_bootstrap_extension`,
//! `on_server_initialized`, (running), `on_drain_started` only for a graceful drain or a hot restart, `on_shutdown`, drop. A process
//! that is stopped while it starts, or that only validates, drops both objects without `on_shutdown`.
//!
//! HTTP callouts and the cluster and listener life cycle are deliberately absent: we forward through a listener, and Envoy aborts at exit
//! when an admin handler and the cluster life cycle are used together. Their hooks exist, since Envoy demands them, and do nothing.

mod envoy;
pub(crate) mod hooks;
mod traits;

pub use traits::*;
