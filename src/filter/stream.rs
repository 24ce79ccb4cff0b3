//! One stream's filter: Envoy's hooks, handed to the exchange or the socket under way, and the end, once.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use envoy_proxy_dynamic_modules_rust_sdk::abi::{
    envoy_dynamic_module_type_attribute_id as AttributeId,
    envoy_dynamic_module_type_on_http_filter_request_body_status as RequestBodyStatus,
    envoy_dynamic_module_type_on_http_filter_request_headers_status as RequestHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_request_trailers_status as RequestTrailersStatus,
    envoy_dynamic_module_type_on_http_filter_response_body_status as ResponseBodyStatus,
    envoy_dynamic_module_type_on_http_filter_response_headers_status as ResponseHeadersStatus,
    envoy_dynamic_module_type_on_http_filter_response_trailers_status as ResponseTrailersStatus,
};
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyHttpFilter, EnvoyMutBuffer, HttpFilter};

use super::Shared;
use super::exchange::Exchange;
use super::head::{self, Head};
use super::include::Include;
use super::metadata::{self, Facts};
use super::socket::Socket;
use crate::telemetry::{self, Span};

/// A stream of Envoy's.
pub(super) struct Stream {
    shared: Arc<Shared>,
    watched: Watched,
    include: Include,
}

/// What is watched of it.
enum Watched {
    /// Nothing, or nothing any more.
    Nothing,
    /// A request and its answer.
    Http(Box<Exchange>),
    /// A WebSocket, from its upgrade request on.
    Socket(Box<Socket>),
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            watched: Watched::Nothing,
            include: Include::No,
        }
    }
}

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Stream {
    fn on_request_headers(&mut self, envoy: &mut EHF, end: bool) -> RequestHeadersStatus {
        if let Some(head) = Head::read(envoy, self.shared.telemetry.telemetry().wants_requests()) {
            if self.shared.settings.include_usage && !end {
                self.include = Include::begin(envoy, &head, self.shared.settings.max_request_bytes);
            }
            self.begin(envoy, head);
        }
        if end && let Watched::Http(exchange) = &mut self.watched {
            exchange.asked();
        }
        match self.include.holds() {
            true => RequestHeadersStatus::StopIteration,
            false => RequestHeadersStatus::Continue,
        }
    }

    fn on_request_body(&mut self, envoy: &mut EHF, end: bool) -> RequestBodyStatus {
        match &mut self.watched {
            Watched::Nothing => {}
            Watched::Http(exchange) => {
                each(envoy.get_received_request_body(), |bytes| exchange.asks(bytes));
                if end {
                    exchange.asked();
                }
            }
            Watched::Socket(socket) => {
                each(envoy.get_received_request_body(), |bytes| socket.client_says(bytes));
                self.shared.settle_turns(envoy, socket);
            }
        }
        self.include.request_body(envoy, end, &self.shared.stats)
    }

    fn on_request_trailers(&mut self, envoy: &mut EHF) -> RequestTrailersStatus {
        if let Watched::Http(exchange) = &mut self.watched {
            exchange.asked();
        }
        self.include.request_trailers(envoy, &self.shared.stats);
        RequestTrailersStatus::Continue
    }

    fn on_response_headers(&mut self, envoy: &mut EHF, end: bool) -> ResponseHeadersStatus {
        let header = |name| envoy.get_response_header_value(name).map(|value| value.as_slice());
        let status = || std::str::from_utf8(header(":status")?).ok()?.parse().ok();
        self.watched = match mem::replace(&mut self.watched, Watched::Nothing) {
            Watched::Socket(socket) if status() != Some(SWITCHING_PROTOCOLS) => {
                Watched::Http(Box::new(Exchange::new(socket.refused())))
            }
            watched => watched,
        };
        if let Watched::Http(exchange) = &mut self.watched {
            exchange.answers_with(status(), header("content-type"), header("content-encoding"));
            if end {
                exchange.answered();
            }
        }
        self.include.response_headers(envoy);
        ResponseHeadersStatus::Continue
    }

    fn on_response_body(&mut self, envoy: &mut EHF, end: bool) -> ResponseBodyStatus {
        match &mut self.watched {
            Watched::Nothing => {}
            Watched::Http(exchange) => {
                let mut tokens = None;
                each(envoy.get_received_response_body(), |bytes| {
                    tokens = exchange.answers(bytes).or(tokens);
                });
                if let Some(tokens) = tokens {
                    // at once: the client may leave before the stream's end
                    metadata::set_tokens(envoy, &tokens);
                }
                if end {
                    exchange.answered();
                }
            }
            Watched::Socket(socket) => {
                each(envoy.get_received_response_body(), |bytes| socket.server_says(bytes));
                self.shared.settle_turns(envoy, socket);
            }
        }
        self.include.response_body(envoy, end);
        ResponseBodyStatus::Continue
    }

    fn on_response_trailers(&mut self, envoy: &mut EHF) -> ResponseTrailersStatus {
        if let Watched::Http(exchange) = &mut self.watched {
            exchange.answered();
        }
        self.include.response_trailers(envoy);
        ResponseTrailersStatus::Continue
    }

    fn on_stream_complete(&mut self, envoy: &mut EHF) {
        match mem::replace(&mut self.watched, Watched::Nothing) {
            Watched::Nothing => {}
            Watched::Http(mut exchange) => match ending(envoy) {
                Ending::Redirected => self.shared.pass_on(envoy, exchange.head()),
                ending => {
                    exchange.end(ending == Ending::ClientLeft);
                    self.shared.settle(envoy, &exchange);
                }
            },
            Watched::Socket(mut socket) => {
                socket.end();
                self.shared.settle_turns(envoy, &mut socket);
                self.shared.settle_socket(envoy, &socket);
            }
        }
    }
}

impl Stream {
    fn begin<EHF: EnvoyHttpFilter>(&mut self, envoy: &mut EHF, head: Head) {
        if !head.is_relayed() {
            let lost = self.shared.lost.swap(0, Ordering::Relaxed);
            self.shared.stats.begin(envoy, lost);
        }
        self.watched = if head.upgrade {
            // what is compressed on a WebSocket cannot be read in passing
            envoy.remove_request_header("sec-websocket-extensions");
            Watched::Socket(Box::new(Socket::new(head)))
        } else {
            Watched::Http(Box::new(Exchange::new(head)))
        };
    }
}

/// A stream whose filter panicked has no last hook; what was read of it until then is told all the same.
impl Drop for Stream {
    fn drop(&mut self) {
        let telemetry = self.shared.telemetry.telemetry();
        let relayed = match &mut self.watched {
            Watched::Nothing => return,
            Watched::Http(exchange) => {
                exchange.end(false);
                if !exchange.head().is_relayed() {
                    telemetry.finish(Span::default(), &exchange.told());
                }
                exchange.head().is_relayed()
            }
            Watched::Socket(socket) => {
                socket.end();
                while let Some(turn) = socket.next_turn() {
                    telemetry.finish(Span::default(), &socket.told(&turn));
                }
                socket.head().is_relayed()
            }
        };
        if !relayed {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    /// The stream is replaced by another, which tells about the request.
    fn pass_on<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, head: &Head) {
        match &head.ticket {
            Some(ticket) => head::give_back(envoy, ticket),
            None => self.stats.end(envoy),
        }
    }

    /// Tells everyone about an exchange that is over.
    fn settle<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, exchange: &Exchange) {
        let told = exchange.told();
        let answer = told.answer;
        if !exchange.head().is_relayed() {
            self.count(envoy, &told);
            self.stats.end(envoy);
        }
        let facts = Facts {
            operation: told.operation,
            provider: &self.settings.telemetry.provider,
            request_model: told.request.model.as_deref(),
            response_model: answer.and_then(|answer| answer.model.as_deref()),
            stream: exchange.streams(),
            finish_reasons: answer.map_or(&[], |answer| &answer.finish_reasons),
            time_to_first_token: told.time_to_first_token,
            missing: told.missing,
        };
        metadata::set(envoy, &facts);
        if let Some(tokens) = exchange.settled_tokens() {
            metadata::set_tokens(envoy, &tokens);
        }
        if let Some(missing) = told.missing {
            envoy.add_custom_flag(metadata::flag(missing));
        }
    }

    /// Tells everyone about the turns on a WebSocket that are over.
    fn settle_turns<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, socket: &mut Socket) {
        let mut turns = 0;
        while let Some(turn) = socket.next_turn() {
            self.count(envoy, &socket.told(&turn));
            turns += 1;
        }
        if turns > 0 {
            metadata::set_tokens(envoy, &socket.sum.usage);
        }
    }

    /// Tells what a WebSocket that is over was about.
    fn settle_socket<EHF: EnvoyHttpFilter>(&self, envoy: &mut EHF, socket: &Socket) {
        self.stats.end(envoy);
        let sum = &socket.sum;
        let facts = Facts {
            operation: socket.head().operation,
            provider: &self.settings.telemetry.provider,
            request_model: sum.request_model.as_deref(),
            response_model: sum.response_model.as_deref(),
            stream: true,
            finish_reasons: &sum.finish_reasons,
            time_to_first_token: None,
            missing: sum.missing,
        };
        metadata::set(envoy, &facts);
        if let Some(missing) = sum.missing {
            envoy.add_custom_flag(metadata::flag(missing));
        }
    }

    fn count<EHF: EnvoyHttpFilter>(&self, envoy: &EHF, exchange: &telemetry::Exchange<'_>) {
        let telemetry = self.telemetry.telemetry();
        let answered = exchange.answer.and_then(|answer| answer.model.as_deref());
        let model = exchange.request.model.as_deref().or(answered);
        let label = model.map_or(UNKNOWN.into(), |model| telemetry.model_label(model));
        self.stats.record(envoy, exchange, &label);
        telemetry.finish(Span::default(), exchange);
    }
}

fn each(chunks: Option<Vec<EnvoyMutBuffer<'_>>>, mut take: impl FnMut(&[u8])) {
    for chunk in chunks.iter().flatten() {
        take(chunk.as_slice());
    }
}

/// Why a stream is over.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    ClientLeft,
    /// Envoy goes on with it in another stream (`internal_redirect_policy`).
    Redirected,
    /// Everything else, and all that Envoy 1.38 tells.
    Other,
}

fn ending<EHF: EnvoyHttpFilter>(envoy: &EHF) -> Ending {
    let details = envoy.get_attribute_string(AttributeId::ResponseCodeDetails);
    let details = details.map(|details| details.as_slice()).unwrap_or_default();
    if details == b"internal_redirect" {
        return Ending::Redirected;
    }
    match CLIENT_LEFT.iter().any(|start| details.starts_with(start)) {
        true => Ending::ClientLeft,
        false => Ending::Other,
    }
}

const SWITCHING_PROTOCOLS: u16 = 101;

/// How Envoy's details begin when the client closed its connection, or reset its stream.
const CLIENT_LEFT: [&[u8]; 3] = [b"downstream_", b"http2.remote_", b"http3.remote_"];

/// The label of a model that neither side names.
const UNKNOWN: &str = "unknown";
