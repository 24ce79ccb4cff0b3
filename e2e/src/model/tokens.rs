//! The tokens that the model told its callers about, to the token: what every count elsewhere must come to.
//!
//! An answer is booked as it leaves: what a stream that was cut had not told is not in here, and of counts that a
//! stream corrects the last one sent stands.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::question::Api;
use crate::locked;

/// Tokens of an answer, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input, cached or not.
    pub input: u64,
    /// All output, reasoning included.
    pub output: u64,
    /// Of the input: read from a cache.
    pub cached: u64,
    /// Of the input: written to a cache.
    pub written: u64,
    /// Of the output: reasoning.
    pub reasoning: u64,
}

/// What was answered by one API in the name of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Answers begun.
    pub answers: u64,
    /// Those that told their tokens.
    pub told: u64,
    /// What they told.
    pub tokens: Tokens,
}

/// The accounts by API and the model that the request named.
pub type Accounts = BTreeMap<(Api, String), Account>;

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Books(Mutex<Accounts>);

/// One answer in the books, while it is sent.
#[derive(Debug)]
pub(super) struct Receipt {
    books: Arc<Books>,
    key: (Api, String),
    told: Option<Tokens>,
}

impl Books {
    /// Opens the entry of an answer that begins.
    pub(super) fn begin(self: &Arc<Self>, api: Api, model: &str) -> Receipt {
        let key = (api, model.to_owned());
        locked(&self.0).entry(key.clone()).or_default().answers += 1;
        Receipt {
            books: Arc::clone(self),
            key,
            told: None,
        }
    }

    pub(super) fn accounts(&self) -> Accounts {
        locked(&self.0).clone()
    }

    /// The books for people.
    pub(super) fn json(&self) -> Value {
        let accounts = self.accounts();
        let rows = accounts.iter().map(|((api, model), account)| {
            json!({
                "path": api.path(), "model": model, "answers": account.answers, "told": account.told,
                "input": account.tokens.input, "output": account.tokens.output, "cached": account.tokens.cached,
                "written": account.tokens.written, "reasoning": account.tokens.reasoning,
            })
        });
        rows.collect()
    }
}

impl Receipt {
    /// A part of the answer is sent that tells `tokens` of the whole answer so far, if any.
    pub(super) fn sent(&mut self, tokens: Option<Tokens>) {
        let Some(tokens) = tokens else { return };
        let before = self.told.replace(tokens);
        let mut accounts = locked(&self.books.0);
        let account = accounts.entry(self.key.clone()).or_default();
        account.told += u64::from(before.is_none());
        account.tokens = account.tokens + tokens - before.unwrap_or_default();
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            output: self.output + other.output,
            cached: self.cached + other.cached,
            written: self.written + other.written,
            reasoning: self.reasoning + other.reasoning,
        }
    }
}

impl Sub for Tokens {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            input: self.input - other.input,
            output: self.output - other.output,
            cached: self.cached - other.cached,
            written: self.written - other.written,
            reasoning: self.reasoning - other.reasoning,
        }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_answer_the_last_count_stands_and_answers_add_up() {
        let books = Arc::new(Books::default());
        let tokens = |input, output| {
            Some(Tokens {
                input,
                output,
                ..Tokens::default()
            })
        };
        let mut stream = books.begin(Api::Chat, "m");
        for told in [tokens(5, 1), None, tokens(5, 3), tokens(4, 3)] {
            stream.sent(told);
        }
        books.begin(Api::Chat, "m").sent(tokens(10, 10));
        drop(books.begin(Api::Chat, "m"));
        books.begin(Api::Responses, "m").sent(tokens(1, 0));
        let accounts = books.accounts();
        let chat = accounts[&(Api::Chat, "m".to_owned())];
        assert_eq!((chat.answers, chat.told), (3, 2));
        assert_eq!((chat.tokens.input, chat.tokens.output), (14, 13));
        let all: Tokens = accounts.values().map(|account| account.tokens).sum();
        assert_eq!((all.input, all.output), (15, 13));
    }
}
