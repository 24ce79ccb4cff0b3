//! The configuration of the HTTP filter `usage`. Empty means every default.

use super::defaults::{MAX_REQUEST_BYTES, MAX_REQUEST_RANGE};
use super::{ConfigErrors, Telemetry, read_whole, telemetry};

/// A checked configuration of one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageFilter {
    /// What telemetry says.
    pub telemetry: Telemetry,
    /// Whether a streaming chat request is made to ask for its usage; what the client did not ask for is taken out of its
    /// stream again.
    pub include_usage: bool,
    /// Requests larger than this are not made to ask.
    pub max_request_bytes: usize,
    /// Whether the start and the end of each WebSocket session are logged.
    pub session_log: bool,
}

impl UsageFilter {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_json(json: &[u8]) -> Result<Self, ConfigErrors> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let [provider, models, max_models, request_log] = telemetry::KEYS;
        let keys = [
            provider,
            models,
            max_models,
            request_log,
            "include_usage",
            "max_request_bytes",
            "session_log",
        ];
        read_whole(json, WANTED, &keys, |fields| {
            let telemetry = telemetry::read_fields(&fields);
            let include_usage = fields.flag("include_usage");
            let session_log = fields.switch("session_log", true);
            let max_request_bytes = fields.size("max_request_bytes", MAX_REQUEST_BYTES, &MAX_REQUEST_RANGE);
            Some(Self {
                telemetry: telemetry?,
                include_usage: include_usage?,
                max_request_bytes: max_request_bytes?,
                session_log: session_log?,
            })
        })
    }
}

impl Default for UsageFilter {
    fn default() -> Self {
        Self {
            telemetry: Telemetry::default(),
            include_usage: false,
            max_request_bytes: MAX_REQUEST_BYTES,
            session_log: true,
        }
    }
}

const WANTED: &str = "write a google.protobuf.Struct with the keys provider, models, max_models, request_log, include_usage, \
                      max_request_bytes, session_log, a StringValue with the same as JSON, or nothing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_every_default() {
        for nothing in ["", " \n", "{}"] {
            assert_eq!(UsageFilter::from_json(nothing.as_bytes()), Ok(UsageFilter::default()));
        }
    }

    #[test]
    fn everything_can_be_set() {
        let json = br#"{"provider":"anthropic","models":["a"],"max_models":7,"request_log":true,"include_usage":true,
            "max_request_bytes":2048,"session_log":false}"#;
        let filter = UsageFilter {
            telemetry: Telemetry {
                provider: "anthropic".to_owned(),
                models: vec!["a".to_owned()],
                max_models: 7,
                request_log: true,
            },
            include_usage: true,
            max_request_bytes: 2048,
            session_log: false,
        };
        assert_eq!(UsageFilter::from_json(json), Ok(filter));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let json = br#"{"relays":[],"provider":7,"include_usage":"yes","max_request_bytes":1}"#;
        let told = UsageFilter::from_json(json).unwrap_err().to_string();
        for part in [
            "relays: unknown key; allowed here: provider, models, max_models, request_log, include_usage, max_request_bytes, session_log",
            "provider: 7; ",
            "include_usage: \"yes\"; true or false, without quotes",
            "max_request_bytes: 1; a whole number from 1024 to 16777216",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(told.lines().count(), 4, "{told}");
        let told = UsageFilter::from_json(b"[]").unwrap_err().to_string();
        assert!(told.contains("include_usage"), "{told}");
    }
}
