//! Configured headers whose values are secrets, such as the model's own key.

use std::sync::{PoisonError, RwLock};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::ForwardHeader;
use crate::protocol::Fault;
use crate::secret::Secret;

/// The headers set on every forwarded request. Values are read again by [`HeaderSecrets::refresh`].
#[derive(Debug)]
pub struct HeaderSecrets {
    configured: Vec<ForwardHeader>,
    current: RwLock<Vec<(HeaderName, Option<HeaderValue>)>>,
}

impl HeaderSecrets {
    /// Reads the secrets for the first time.
    #[must_use]
    pub fn new(configured: Vec<ForwardHeader>) -> Self {
        let secrets = Self {
            configured,
            current: RwLock::default(),
        };
        secrets.refresh();
        secrets
    }

    /// Reads the secrets again. One that cannot be read keeps its last value. May block on the file system.
    pub fn refresh(&self) {
        let fresh: Vec<_> = self
            .configured
            .iter()
            .map(|header| (header.name.clone(), read(header)))
            .collect();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let merged = fresh.into_iter().enumerate().map(|(n, (name, value))| {
            let last = current.get(n).and_then(|(_, value)| value.clone());
            (name, value.or(last))
        });
        *current = merged.collect();
    }

    /// Sets the headers, replacing the relay's.
    ///
    /// # Errors
    /// [`Fault::AdapterUnavailable`] when a secret could never be read: without it the adapter would refuse anyway.
    pub fn apply(&self, headers: &mut HeaderMap) -> Result<(), Fault> {
        for (name, value) in self.current.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let value = value.clone().ok_or_else(|| missing(name))?;
            headers.insert(name.clone(), value);
        }
        Ok(())
    }
}

fn read(header: &ForwardHeader) -> Option<HeaderValue> {
    match Secret::read(&header.value) {
        Ok(secret) => {
            let mut value = HeaderValue::from_str(&format!("{}{}", header.prefix, secret.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        }
        Err(error) => {
            tracing::warn!(header = %header.name, %error, "the secret of a forwarded header cannot be read");
            None
        }
    }
}

fn missing(name: &HeaderName) -> Fault {
    Fault::AdapterUnavailable(format!("the secret for header {name} is not available to the relay client").into())
}
