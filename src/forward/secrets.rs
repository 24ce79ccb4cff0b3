//! Configured headers whose values are secrets, such as the model's own key.

use std::sync::{Mutex, PoisonError, RwLock};

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::ForwardHeader;
use crate::protocol::Fault;
use crate::secret::Secret;

/// The headers set on every forwarded request. Values are read again by [`HeaderSecrets::refresh`].
#[derive(Debug)]
pub struct HeaderSecrets {
    configured: Vec<ForwardHeader>,
    current: RwLock<Vec<(HeaderName, Option<HeaderValue>)>>,
    /// Why the last reading failed, so that the same reason is said once.
    said: Mutex<Option<String>>,
}

impl HeaderSecrets {
    /// Reads the secrets for the first time.
    #[must_use]
    pub fn new(configured: Vec<ForwardHeader>) -> Self {
        let secrets = Self {
            configured,
            current: RwLock::default(),
            said: Mutex::default(),
        };
        secrets.refresh();
        secrets
    }

    /// Reads the secrets again. One that cannot be read keeps its last value. May block on the file system.
    pub fn refresh(&self) {
        let read: Vec<_> = self
            .configured
            .iter()
            .map(|header| (header.name.clone(), read(header)))
            .collect();
        self.say(&read);
        let fresh = read.into_iter().map(|(name, value)| (name, value.ok()));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let merged = fresh.enumerate().map(|(n, (name, value))| {
            let last = current.get(n).and_then(|(_, value)| value.clone());
            (name, value.or(last))
        });
        *current = merged.collect();
    }

    fn say(&self, read: &[(HeaderName, Result<HeaderValue, String>)]) {
        let failed = read
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref().err()?)));
        let failed = failed.reduce(|all, one| format!("{all}; {one}"));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.as_ref().filter(|error| said.as_ref() != Some(*error)) {
            tracing::warn!(error, "the secrets of forwarded headers cannot be read");
        }
        *said = failed;
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

fn read(header: &ForwardHeader) -> Result<HeaderValue, String> {
    let secret = Secret::read(&header.value).map_err(|e| e.to_string())?;
    let value = HeaderValue::from_str(&format!("{}{}", header.prefix, secret.expose()));
    let mut value = value.map_err(|_| "the prefix and the secret are no header value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn missing(name: &HeaderName) -> Fault {
    Fault::AdapterUnavailable(format!("the secret for header {name} is not available to the relay client").into())
}
