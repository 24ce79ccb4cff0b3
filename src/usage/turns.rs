//! Responses on one WebSocket: pairs what was asked with what came, and counts each response once.
//!
//! Driven by `socket` with the messages of both sides. A response is known by its id, a lane by its `stream_id`. All
//! tables have bounds: beyond them the oldest comes out unfinished, and beyond [`MAX_TURNS`] that nobody takes the
//! newest are dropped.

use std::collections::VecDeque;
use std::time::Instant;

use super::answer::{EventKind, Reading, remember};
use super::request::Asking;
use super::{Answer, Missing, Operation, Request};

/// One response on a WebSocket, over.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What was asked for; of a response that nobody asked for, only the session's model.
    pub request: Request,
    /// What came.
    pub answer: Answer,
    /// When it was asked for, or else when it began.
    pub started: Instant,
    /// The first generated output.
    pub first_output: Option<Instant>,
    /// Its last event.
    pub ended: Instant,
    /// It came to its end, well or not.
    pub complete: bool,
    /// Why its tokens are not known; nothing for an error.
    pub missing: Option<Missing>,
}

/// The responses of one connection.
#[derive(Debug)]
pub(super) struct Turns {
    operation: Operation,
    model: Option<Box<str>>,
    transcription_model: Option<Box<str>>,
    asked: VecDeque<Asked>,
    open: VecDeque<Open>,
    over: VecDeque<Turn>,
    /// The responses that were counted.
    counted: VecDeque<Box<str>>,
    /// When the first message came that could not be read.
    compressed: Option<Instant>,
    any: bool,
}

/// Not begun.
#[derive(Debug)]
struct Asked {
    request: Request,
    stream_id: Option<Box<str>>,
    event_id: Option<Box<str>>,
    at: Instant,
}

/// Begun.
#[derive(Debug)]
struct Open {
    stream_id: Option<Box<str>>,
    request: Request,
    answer: Answer,
    started: Instant,
    first_output: Option<Instant>,
}

impl Turns {
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            model: None,
            transcription_model: None,
            asked: VecDeque::new(),
            open: VecDeque::new(),
            over: VecDeque::new(),
            counted: VecDeque::new(),
            compressed: None,
            any: false,
        }
    }

    pub fn set_model(&mut self, model: &str) {
        remember(&mut self.model, super::scalar::cut(model));
    }

    pub fn next(&mut self) -> Option<Turn> {
        self.over.pop_front()
    }

    /// A message that could not be read.
    pub fn compressed(&mut self, now: Instant) {
        self.compressed.get_or_insert(now);
    }

    /// The client said something.
    pub fn asked(&mut self, asking: Asking, now: Instant) {
        let Asking { mut request, event } = asking;
        self.session(event.session_model, event.transcription_model);
        if !event.creates {
            return;
        }
        request.model = request.model.or_else(|| self.model.clone());
        request.stream = request.stream.or(Some(true));
        self.asked.push_back(Asked {
            request,
            stream_id: event.stream_id,
            event_id: event.event_id,
            at: now,
        });
        if self.asked.len() > MAX_OPEN
            && let Some(oldest) = self.asked.pop_front()
        {
            let open = oldest.begin(Answer::default());
            self.unfinished(open, Missing::CutShort, now);
        }
    }

    /// The server said something.
    pub fn said(&mut self, reading: &mut Reading, now: Instant) {
        let event = &mut reading.event;
        self.session(event.session_model.take(), event.transcription_model.take());
        if reading.output {
            self.output(reading, now);
        }
        match reading.event.kind {
            EventKind::Created => self.created(reading, now),
            EventKind::Ended => self.ended(reading, now),
            EventKind::Transcribed => self.transcribed(reading, now),
            EventKind::Error => self.failed(reading, now),
            EventKind::Other => {}
        }
    }

    /// There will be no more messages.
    pub fn finish(&mut self, broken: bool, now: Instant) {
        let missing = match (self.compressed, broken) {
            (Some(_), _) => Missing::Encoding,
            (None, true) => Missing::Unreadable,
            (None, false) => Missing::CutShort,
        };
        for open in std::mem::take(&mut self.open) {
            self.unfinished(open, missing, now);
        }
        for asked in std::mem::take(&mut self.asked) {
            self.unfinished(asked.begin(Answer::default()), missing, now);
        }
        if let Some(started) = self.compressed.take()
            && !self.any
        {
            let request = self.request();
            self.unfinished(Open::new(request, started), missing, now);
        }
    }

    fn session(&mut self, model: Option<Box<str>>, transcription_model: Option<Box<str>>) {
        self.model = model.or(self.model.take());
        self.transcription_model = transcription_model.or(self.transcription_model.take());
    }

    fn created(&mut self, reading: &mut Reading, now: Instant) {
        let id = reading.answer.id.as_deref();
        let known = self
            .open
            .iter()
            .any(|open| id.is_some() && open.answer.id.as_deref() == id);
        if known || id.is_some_and(|id| self.is_counted(id)) {
            return;
        }
        let open = self.begin(reading, now);
        self.open.push_back(open);
        if self.open.len() > MAX_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.unfinished(oldest, Missing::CutShort, now);
        }
    }

    fn output(&mut self, reading: &Reading, now: Instant) {
        let id = reading.event.response_id.as_deref().or(reading.answer.id.as_deref());
        let lane = &reading.event.stream_id;
        let of_lane = |open: &&mut Open| match id {
            Some(id) => open.answer.id.as_deref() == Some(id),
            None => open.stream_id == *lane,
        };
        if let Some(open) = self.open.iter_mut().rev().find(of_lane) {
            open.first_output.get_or_insert(now);
        }
    }

    fn ended(&mut self, reading: &mut Reading, now: Instant) {
        let id = reading.answer.id.as_deref();
        if let Some(id) = id {
            if self.is_counted(id) {
                return;
            }
            self.counted(id.into());
        }
        let lane = &reading.event.stream_id;
        let by_id = self
            .open
            .iter()
            .position(|open| id.is_some() && open.answer.id.as_deref() == id);
        let nameless = |open: &Open| (id.is_none() || open.answer.id.is_none()) && open.stream_id == *lane;
        let at = by_id.or_else(|| self.open.iter().position(nameless));
        let begun = at.and_then(|at| self.open.remove(at));
        let begun = begun.unwrap_or_else(|| self.begin(reading, now));
        self.complete(begun, reading, now);
    }

    fn transcribed(&mut self, reading: &mut Reading, now: Instant) {
        let Some(item) = reading.event.item_id.take() else {
            return;
        };
        let key = format!("{item}/{}", reading.event.content_index);
        if self.is_counted(&key) {
            return;
        }
        self.counted(key.into());
        let request = Request {
            model: self.transcription_model.clone(),
            ..Request::default()
        };
        reading.answer.id = Some(item);
        self.complete(Open::new(request, now), reading, now);
    }

    /// An error answers what was asked for and did not begin, as far as it can be told to be about that.
    fn failed(&mut self, reading: &mut Reading, now: Instant) {
        let (lane, cause) = (&reading.event.stream_id, &reading.event.caused_by);
        let is_it = |asked: &Asked| match self.operation {
            Operation::RealtimeInference => asked.event_id == *cause,
            Operation::Chat
            | Operation::TextCompletion
            | Operation::Embeddings
            | Operation::GenerateContent
            | Operation::FetchResponse => asked.stream_id == *lane,
        };
        let at = self.asked.iter().position(is_it);
        if let Some(asked) = at.and_then(|at| self.asked.remove(at)) {
            self.complete(asked.begin(Answer::default()), reading, now);
        }
    }

    /// What was asked for first in the response's lane, begun.
    fn begin(&mut self, reading: &mut Reading, now: Instant) -> Open {
        let lane = &reading.event.stream_id;
        let at = self.asked.iter().position(|asked| asked.stream_id == *lane);
        match at.and_then(|at| self.asked.remove(at)) {
            Some(asked) => asked.begin(reading.answer.clone()),
            None => Open {
                stream_id: lane.clone(),
                answer: reading.answer.clone(),
                ..Open::new(self.request(), now)
            },
        }
    }

    /// What is known of a request that was not seen.
    fn request(&self) -> Request {
        Request {
            model: self.model.clone(),
            ..Request::default()
        }
    }

    fn complete(&mut self, begun: Open, reading: &mut Reading, now: Instant) {
        let missing = reading.missing().filter(|_| reading.answer.error.is_none());
        let mut answer = std::mem::take(&mut reading.answer);
        answer.id = answer.id.or(begun.answer.id);
        answer.model = answer.model.or(begun.answer.model);
        self.push(Turn {
            request: begun.request,
            answer,
            started: begun.started,
            first_output: begun.first_output,
            ended: now,
            complete: true,
            missing,
        });
    }

    fn unfinished(&mut self, open: Open, missing: Missing, now: Instant) {
        self.push(Turn {
            request: open.request,
            answer: open.answer,
            started: open.started,
            first_output: open.first_output,
            ended: now,
            complete: false,
            missing: Some(missing),
        });
    }

    fn push(&mut self, turn: Turn) {
        self.any = true;
        if self.over.len() < MAX_TURNS {
            self.over.push_back(turn);
        }
    }

    fn is_counted(&self, id: &str) -> bool {
        self.counted.iter().any(|counted| **counted == *id)
    }

    fn counted(&mut self, id: Box<str>) {
        if self.counted.len() >= MAX_COUNTED {
            self.counted.pop_front();
        }
        self.counted.push_back(id);
    }
}

impl Asked {
    fn begin(self, answer: Answer) -> Open {
        Open {
            stream_id: self.stream_id,
            answer,
            ..Open::new(self.request, self.at)
        }
    }
}

impl Open {
    fn new(request: Request, started: Instant) -> Self {
        Self {
            stream_id: None,
            request,
            answer: Answer::default(),
            started,
            first_output: None,
        }
    }
}

/// Responses that are asked for, and responses under way.
const MAX_OPEN: usize = 64;
/// Responses whose repetition is known as one.
const MAX_COUNTED: usize = 1024;
/// Turns that nobody has taken.
const MAX_TURNS: usize = 4096;
