//! The HTTP filter `auth`: lets requests pass that carry a bearer token of a file, and answers the others 401.
//!
//! Envoy drives it, through [`crate::module`]. It looks at a request's headers and at nothing else, so a WebSocket's upgrade is
//! a request like any other. [`tokens`] is pure and knows who is let in, [`file`] keeps that up to date. Envoy's own filter for
//! keys (`api_key_auth`) takes them inline only, where `/config_dump` shows them.
//!
//! Deliberately absent: who may do what. The caller's name goes to the dynamic metadata, for Envoy's filters to decide by; a
//! panic refuses the request, like everything else that is not a token of the file.

pub mod file;
pub mod tokens;

use std::sync::Arc;

use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    envoy_dynamic_module_type_metrics_result as MetricsResult,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
};
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyCounterVecId, EnvoyHttpFilter, EnvoyHttpFilterConfig, HttpFilter, HttpFilterConfig, is_validation_mode,
};

use crate::config::AuthFilter;
use crate::registry::{ThreadsLease, registry};
use file::TokensFile;
use tokens::Tokens;

/// The filter's name in Envoy's configuration.
pub const NAME: &str = "auth";

/// Of the dynamic metadata: `%DYNAMIC_METADATA(spectral_bridge.auth:caller)%` in an access log.
pub const NAMESPACE: &str = "spectral_bridge.auth";

/// Makes the filter's configuration; every mistake goes to Envoy's log.
pub fn configure<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    let settings = match AuthFilter::from_json(config) {
        Ok(settings) => settings,
        Err(errors) => {
            for error in errors.iter() {
                tracing::error!("configuration of {NAME:?}: {error}");
            }
            return None;
        }
    };
    let file = Arc::new(TokensFile::open(settings.tokens_file.clone()));
    let requests = define(envoy)
        .map_err(|error| tracing::error!("the statistics of {NAME:?} cannot be defined: {error:?}"))
        .ok()?;
    let threads = if is_validation_mode() {
        None
    } else {
        let threads = registry()
            .threads()
            .map_err(|error| tracing::error!("the threads of {NAME:?} cannot be started: {error}"))
            .ok()?;
        file::watch(threads.handle(), Arc::downgrade(&file));
        Some(threads)
    };
    Some(Box::new(Configured(Arc::new(Shared {
        settings,
        file,
        requests,
        _threads: threads,
    }))))
}

fn define<EC: EnvoyHttpFilterConfig>(envoy: &mut EC) -> Result<EnvoyCounterVecId, MetricsResult> {
    envoy.define_counter_vec("auth_requests_total", &["result"])
}

/// What the streams of one configuration share.
#[derive(Debug)]
struct Shared {
    settings: AuthFilter,
    file: Arc<TokensFile>,
    requests: EnvoyCounterVecId,
    _threads: Option<ThreadsLease>,
}

struct Configured(Arc<Shared>);

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Configured {
    fn new_http_filter(&self, _: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Door(Arc::clone(&self.0)))
    }
}

/// One stream's filter.
struct Door(Arc<Shared>);

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Door {
    fn on_request_headers(&mut self, envoy: &mut EHF, _: bool) -> RequestHeadersStatus {
        let tokens = self.0.file.tokens();
        match ask(envoy, &tokens) {
            Ok(name) => {
                self.0.admit(envoy, name);
                RequestHeadersStatus::Continue
            }
            Err(refusal) => {
                self.0.refuse(envoy, refusal);
                RequestHeadersStatus::StopIteration
            }
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It carries no token.
    Missing,
    /// It carries something else, or more than one.
    Malformed,
    /// Nobody has this token.
    Unknown,
    /// Nobody has any, since the file is no good.
    NoTokens,
}

/// Who sends this request.
fn ask<'t, EHF: EnvoyHttpFilter>(envoy: &EHF, tokens: &'t Tokens) -> Result<Option<&'t str>, Refusal> {
    let given = envoy.get_request_header_values(AUTHORIZATION);
    let given = match given.as_slice() {
        [] => return Err(Refusal::Missing),
        [one] => one.as_slice(),
        _ => return Err(Refusal::Malformed),
    };
    let token = bearer(given).ok_or(Refusal::Malformed)?;
    if tokens.is_empty() {
        return Err(Refusal::NoTokens);
    }
    tokens.find(token).map(|caller| caller.name).ok_or(Refusal::Unknown)
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && tokens::is_token(token)).then_some(token)
}

impl Shared {
    fn admit<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, name: Option<&str>) {
        if !self.settings.pass {
            envoy.remove_request_header(AUTHORIZATION);
        }
        if let Some(header) = &self.settings.caller_header {
            envoy.remove_request_header(header.as_str());
            if let Some(name) = name {
                envoy.set_request_header(header.as_str(), name.as_bytes());
            }
        }
        if let Some(name) = name {
            envoy.set_dynamic_metadata_string(NAMESPACE, "caller", name);
        }
        self.count(envoy, "allowed");
    }

    fn refuse<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, refusal: Refusal) {
        envoy.set_dynamic_metadata_string(NAMESPACE, "refused", refusal.code());
        self.count(envoy, refusal.code());
        let headers: [(&str, &[u8]); 2] = [("content-type", b"application/json"), ("www-authenticate", b"Bearer")];
        envoy.send_response(401, &headers, Some(refusal.body().as_bytes()), Some(DETAILS));
    }

    fn count<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, result: &str) {
        // what was defined can be changed, so an error would be a defect, and no reason to trouble a stream
        if let Err(error) = envoy.increment_counter_vec(self.requests, &[result], 1) {
            tracing::debug!("a statistic cannot be changed: {error:?}");
        }
    }
}

impl Refusal {
    /// Short and bounded: a metric's label.
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::NoTokens => "no_tokens",
        }
    }

    /// In the shape of OpenAI's errors. A caller is not told what the gateway's own trouble is.
    fn body(self) -> &'static str {
        match self {
            Self::Missing => {
                r#"{"error":{"message":"You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer YOUR_KEY","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#
            }
            Self::Malformed => {
                r#"{"error":{"message":"The Authorization header must be: Authorization: Bearer YOUR_KEY","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#
            }
            Self::Unknown | Self::NoTokens => {
                r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#
            }
        }
    }
}

const AUTHORIZATION: &str = "authorization";
const SCHEME: &[u8] = b"bearer";

/// `%RESPONSE_CODE_DETAILS%` of a refusal.
const DETAILS: &str = "spectral_bridge_auth";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_in_each_spelling_and_nothing_else() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(value.as_bytes()), Some(b"abc".as_slice()), "{value:?}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "Bearerabc",
            "abc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \u{e4}",
        ] {
            assert_eq!(bearer(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn every_refusal_has_openais_shape() {
        for refusal in [
            Refusal::Missing,
            Refusal::Malformed,
            Refusal::Unknown,
            Refusal::NoTokens,
        ] {
            let body: serde_json::Value = serde_json::from_str(refusal.body()).unwrap();
            let error = &body["error"];
            assert_eq!(error["type"], "invalid_request_error");
            assert_eq!(error["code"], "invalid_api_key");
            assert!(error["param"].is_null() && error["message"].is_string(), "{error}");
        }
    }
}
