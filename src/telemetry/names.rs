//! Every name of a metric, an attribute and a span, once. OBSERVABILITY.md has the same ones; a test compares them.
#![deny(clippy::disallowed_methods)]
