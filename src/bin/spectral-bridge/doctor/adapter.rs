//! The model: is it there, and does it answer a request for one token.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use spectral_bridge::config::Forward;
use spectral_bridge::relay::{DialError, TlsFault};
use spectral_bridge::secret::Secret;

use super::http::{Answer, Asker, NoAnswer};
use super::report::Finding;
use crate::target::Target;

/// Asks it once, or a second time where the first answer says how it wants to be asked.
pub async fn check(target: &Target, roots: Option<&Path>, forward: &Forward, model: Option<&str>) -> Finding {
    let asker = Asker {
        target,
        roots,
        headers: headers(forward),
    };
    let model = match model {
        Some(named) => Some(named.to_owned()),
        None => match first_model(&asker).await {
            Ok(found) => found,
            Err(why) => return unreachable(target, &why),
        },
    };
    let mut answer = match ask(&asker, CHAT, &chat(model.as_deref(), "max_tokens")).await {
        Ok(answer) => answer,
        Err(why) => return unreachable(target, &why),
    };
    let mut path = CHAT;
    // newer models know the limit by another name
    if answer.status == 400 && error_message(&answer).contains("max_completion_tokens") {
        let again = ask(&asker, CHAT, &chat(model.as_deref(), "max_completion_tokens")).await;
        answer = again.unwrap_or(answer);
    }
    // an adapter may have one of the two endpoints only
    if matches!(answer.status, 404 | 405) && !is_about_the_model(&answer) {
        let body = with_model(json!({ "input": "ping", "max_output_tokens": 16 }), model.as_deref());
        if let Ok(other) = ask(&asker, RESPONSES, &body).await
            && (200..300).contains(&other.status)
        {
            (answer, path) = (other, RESPONSES);
        }
    }
    Judge {
        target,
        path,
        model: model.as_deref(),
        sends_key: !asker.headers.is_empty(),
    }
    .judge(&answer)
}

fn headers(forward: &Forward) -> Vec<(HeaderName, HeaderValue)> {
    let value = |header: &spectral_bridge::config::ForwardHeader| {
        let secret = Secret::read(&header.value).ok()?;
        let mut value = HeaderValue::from_str(&format!("{}{}", header.prefix, secret.expose())).ok()?;
        value.set_sensitive(true);
        Some((header.name.clone(), value))
    };
    forward.headers.iter().filter_map(value).collect()
}

async fn ask(asker: &Asker<'_>, path: &str, body: &Value) -> Result<Answer, NoAnswer> {
    let body = Bytes::from(body.to_string());
    asker.ask(Method::POST, path, body, ANSWER_DEADLINE).await
}

/// The first model that it lists; a server need not have the list.
async fn first_model(asker: &Asker<'_>) -> Result<Option<String>, NoAnswer> {
    let answer = match asker.ask(Method::GET, "/v1/models", Bytes::new(), LIST_DEADLINE).await {
        Ok(answer) => answer,
        // without a connection there is no use in going on
        Err(why @ NoAnswer::Dial(_)) => return Err(why),
        Err(NoAnswer::Http(_) | NoAnswer::Timeout(_)) => return Ok(None),
    };
    let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(list.pointer("/data/0/id").and_then(Value::as_str).map(str::to_owned))
}

fn chat(model: Option<&str>, limit: &str) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "ping" }] });
    if let Some(body) = body.as_object_mut() {
        body.insert(limit.to_owned(), 1.into());
    }
    with_model(body, model)
}

fn with_model(mut body: Value, model: Option<&str>) -> Value {
    if let (Some(body), Some(model)) = (body.as_object_mut(), model) {
        body.insert("model".to_owned(), model.into());
    }
    body
}

fn unreachable(target: &Target, why: &NoAnswer) -> Finding {
    let start = format!("is the model running, and is {target} its address as seen from this machine?");
    match why {
        NoAnswer::Dial(error) => match error.as_ref() {
            DialError::Tls { fault, .. } => tls(target, fault),
            DialError::Dns { reason, .. } => Finding::failed(
                "adapter_dns",
                format!("{:?} does not resolve: {reason}", target.host),
                "is the host of --target right? A name of the cluster resolves inside of it only",
            ),
            DialError::Connect { reason, .. } => {
                Finding::failed("adapter_connect", format!("no connection to {target}: {reason}"), start)
            }
            DialError::Timeout { limit, .. } => {
                let detail = format!("no connection to {target} within {} s", limit.as_secs());
                Finding::failed(
                    "adapter_timeout",
                    detail,
                    format!("{start} Does a firewall swallow it?"),
                )
            }
            other => Finding::failed("adapter_connect", for_target(&other.to_string()), start),
        },
        NoAnswer::Http(reason) => Finding::failed(
            "adapter_http",
            format!("{target} does not answer as HTTP: {reason}"),
            "is the port right, and is the scheme: http:// where TLS is expected, or the other way round?",
        ),
        NoAnswer::Timeout(limit) => Finding::failed(
            "adapter_timeout",
            format!(
                "{target} took the request and gave no answer within {} s",
                limit.as_secs()
            ),
            "is the model loaded, and is it overloaded? Ask it directly with curl",
        ),
    }
}

fn tls(target: &Target, fault: &TlsFault) -> Finding {
    let advice = match fault {
        TlsFault::NotTls => format!("{target} speaks plain HTTP on this port: --target http://…"),
        TlsFault::UnknownIssuer | TlsFault::OtherIssuerKey => {
            "name the certificate of its authority, as PEM, with --target-ca-file FILE".to_owned()
        }
        TlsFault::WrongName { .. } => "use a name of the certificate in --target".to_owned(),
        TlsFault::Expired(_) | TlsFault::NotValidYet(_) => format!(
            "this machine's clock says {} UTC: set it if that is wrong, else the model's certificate must be renewed",
            super::advice::utc(std::time::SystemTime::now())
        ),
        TlsFault::BadCertificate(_) | TlsFault::ClientCertificate(_) | TlsFault::Other(_) => {
            "Envoy's cluster `adapter` must be told what this server wants: see its transport_socket".to_owned()
        }
    };
    let detail = format!("TLS with {target} failed: {}", for_target(&fault.to_string()));
    Finding::failed("adapter_tls", detail, advice)
}

/// The relay's words name the relay's settings.
fn for_target(message: &str) -> String {
    message
        .replace("tls.ca_file", "--target-ca-file")
        .replace("tls.server_name", "--target")
        .replace("the relay ", "")
}

/// What an answer means.
struct Judge<'a> {
    target: &'a Target,
    path: &'static str,
    model: Option<&'a str>,
    sends_key: bool,
}

impl Judge<'_> {
    fn judge(&self, answer: &Answer) -> Finding {
        let seen = format!("{}{} answered {}", self.target, self.path, answer.status);
        let failed = |code, detail, advice: String| Finding::failed(code, detail, advice);
        match answer.status {
            200..=299 => self.success(answer, seen),
            300..=399 => failed(
                "adapter_redirect",
                seen,
                "redirects are not followed: --target must be the final URL".to_owned(),
            ),
            // what it says may repeat a part of the key
            401 | 403 => failed("adapter_key", seen, self.key_advice()),
            _ if is_about_the_model(answer) => failed("adapter_model", told(seen, answer), self.model_advice()),
            404 | 405 | 410 => failed("adapter_path", told(seen, answer), self.path_advice()),
            429 => failed(
                "adapter_busy",
                told(seen, answer),
                "the model is there and wants fewer requests, or its quota is spent".to_owned(),
            ),
            400..=499 => failed("adapter_refused", told(seen, answer), self.model_advice()),
            _ => failed(
                "adapter_error",
                told(seen, answer),
                "look into the model server's own log".to_owned(),
            ),
        }
    }

    fn success(&self, answer: &Answer, seen: String) -> Finding {
        let body: Result<Value, _> = serde_json::from_slice(&answer.body);
        if matches!(body, Ok(Value::Object(_))) {
            let model = self.model.map_or_else(String::new, |model| format!(" (model {model})"));
            let finding = Finding::ok(format!("{seen} to a request for one token{model}"));
            return if self.path == CHAT {
                finding
            } else {
                finding.advising(format!("it has no {CHAT}: the platform must ask for {RESPONSES}"))
            };
        }
        let kind = if answer.content_type.is_empty() {
            "no content-type"
        } else {
            &answer.content_type
        };
        Finding::failed(
            "adapter_not_json",
            format!("{seen}, but what came is no JSON object ({kind})"),
            format!(
                "is {} the base URL of an OpenAI-compatible API, and not of a web page? {CHAT} is appended to it",
                self.target
            ),
        )
    }

    fn key_advice(&self) -> String {
        if self.sends_key {
            "the model does not take the key it was shown: correct the variable of --target-key-env (forward.headers)"
                .to_owned()
        } else {
            "the model wants a key: --target-key-env NAME names the variable that holds it (forward.headers)".to_owned()
        }
    }

    fn model_advice(&self) -> String {
        match self.model {
            Some(model) => format!("it was asked for the model {model:?}; name another one with --model NAME"),
            None => "it lists no models; name one with --model NAME".to_owned(),
        }
    }

    fn path_advice(&self) -> String {
        self.target.warning().unwrap_or_else(|| {
            format!(
                "{} is appended to --target: give the URL that comes before /v1, with the path of a prefix if there is one",
                self.path
            )
        })
    }
}

fn told(seen: String, answer: &Answer) -> String {
    let message = error_message(answer);
    if message.is_empty() {
        seen
    } else {
        format!("{seen}: {message}")
    }
}

/// `error.message`, or what servers have in its place, not all of a long one.
fn error_message(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let places = ["/error/message", "/message", "/detail", "/error"];
    let text = places.iter().find_map(|place| body.pointer(place)?.as_str());
    text.unwrap_or_default().chars().take(MAX_MESSAGE).collect()
}

/// A 404 or a 400 for a model that is not there, in the words of various servers.
fn is_about_the_model(answer: &Answer) -> bool {
    if !matches!(answer.status, 400 | 404 | 422) {
        return false;
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    code == "model_not_found" || error_message(answer).to_ascii_lowercase().contains("model")
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// A model that is loaded when it is first asked takes its time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const LIST_DEADLINE: Duration = Duration::from_secs(5);

const MAX_MESSAGE: usize = 200;

#[cfg(test)]
#[path = "adapter_tests.rs"]
mod tests;
