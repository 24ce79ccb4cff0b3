//! Lays what the callers got beside what the model was asked. Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{Digest, Outcome, Record, TAG};
use crate::failed::{Failed, Result};
use crate::model::Exchange;

/// One request as the model saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    id: Option<String>,
    tag: Option<u64>,
    asked: Digest,
    answered: Option<Digest>,
}

/// How many requests ended how; see [`Account::settle`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Requests with an outcome.
    pub asked: usize,
    /// Answered by the model, to the byte.
    pub answered: usize,
    /// 503 `adapter_unavailable`.
    pub unavailable: usize,
    /// Failed by the relay before they were sent; the model has seen none of them.
    pub not_sent: usize,
    /// Lost with a relay that ended.
    pub relay_gone: usize,
    /// Requests that the model saw.
    pub seen: usize,
    /// Requests that the model saw again: always 0 in an account that was settled.
    pub duplicates: usize,
}

impl From<&Exchange> for Seen {
    fn from(exchange: &Exchange) -> Self {
        let text = exchange.body.strip_prefix(TAG.as_bytes()).unwrap_or_default();
        let digits = text.split(|byte| !byte.is_ascii_digit()).next();
        let tag = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Self {
            id: exchange.relayed_id().map(str::to_owned),
            tag,
            asked: Digest::of(&exchange.body),
            answered: exchange.answer.as_deref().map(Digest::of),
        }
    }
}

impl Account {
    /// Checks that nothing was asked twice, that every answer is the model's own to the byte, and that what was not sent
    /// never reached the model; then counts.
    ///
    /// # Errors
    /// One of these does not hold; the error names the first few requests concerned.
    pub fn settle(records: &[Record], seen: &[Seen]) -> Result<Self> {
        let mut account = Self {
            asked: records.len(),
            seen: seen.len(),
            ..Self::default()
        };
        let mut wrong = Vec::new();
        let (mut ids, mut by_tag) = (HashSet::new(), HashMap::new());
        for exchange in seen {
            let (Some(id), Some(tag)) = (&exchange.id, exchange.tag) else {
                wrong.push(format!("the model was asked what nobody asked: {exchange:?}"));
                continue;
            };
            let known = by_tag.insert(tag, exchange).is_some();
            if !ids.insert(id) || known {
                account.duplicates += 1;
                wrong.push(format!("the model was asked twice: {id}, tag {tag}"));
            }
        }
        let mut tags = HashSet::new();
        for record in records {
            if !tags.insert(record.tag) {
                wrong.push(format!("two outcomes: {record:?}"));
            }
            if let Err(why) = account.add(record, by_tag.get(&record.tag).copied()) {
                wrong.push(format!("{why}: {record:?}"));
            }
        }
        for (tag, exchange) in &by_tag {
            if !tags.contains(tag) {
                wrong.push(format!("no caller has an outcome for {exchange:?}"));
            }
        }
        if wrong.is_empty() {
            return Ok(account);
        }
        let count = wrong.len();
        wrong.truncate(MOST_TOLD);
        Err(Failed::new(format!(
            "{count} wrong of {account}:\n  {}",
            wrong.join("\n  ")
        )))
    }

    fn add(&mut self, record: &Record, seen: Option<&Seen>) -> std::result::Result<(), String> {
        if seen.is_some_and(|seen| seen.asked != record.sent) {
            return Err("the question changed on its way".to_owned());
        }
        match &record.outcome {
            Outcome::Answered(answer) => {
                self.answered += 1;
                match seen {
                    None => Err("answered, but not by the model".to_owned()),
                    Some(seen) if seen.answered != Some(*answer) => Err("the answer changed on its way".to_owned()),
                    Some(_) => Ok(()),
                }
            }
            Outcome::Unavailable => {
                self.unavailable += 1;
                Ok(())
            }
            Outcome::NotSent => {
                self.not_sent += 1;
                seen.map_or(Ok(()), |_| Err("called not sent, but the model saw it".to_owned()))
            }
            Outcome::RelayGone => {
                self.relay_gone += 1;
                Ok(())
            }
            Outcome::Unexplained(what) => Err(format!("unexplained: {what}")),
        }
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, more: Self) {
        self.asked += more.asked;
        self.answered += more.answered;
        self.unavailable += more.unavailable;
        self.not_sent += more.not_sent;
        self.relay_gone += more.relay_gone;
        self.seen += more.seen;
        self.duplicates += more.duplicates;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            asked,
            answered,
            unavailable,
            not_sent,
            relay_gone,
            seen,
            duplicates,
        } = self;
        write!(
            f,
            "{asked} asked: {answered} answered, {unavailable} adapter_unavailable, {not_sent} not sent, {relay_gone} \
             lost with the relay; the model saw {seen}, {duplicates} of them again"
        )
    }
}

/// Mistakes told in words.
const MOST_TOLD: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str, tag: u64, answer: &[u8]) -> Seen {
        Seen {
            id: Some(id.to_owned()),
            tag: Some(tag),
            asked: Digest::of(b"question"),
            answered: Some(Digest::of(answer)),
        }
    }

    fn record(tag: u64, outcome: Outcome) -> Record {
        Record {
            tag,
            sent: Digest::of(b"question"),
            outcome,
        }
    }

    fn answered(tag: u64, answer: &[u8]) -> Record {
        record(tag, Outcome::Answered(Digest::of(answer)))
    }

    fn complaint(records: &[Record], seen: &[Seen]) -> String {
        format!("{:?}", Account::settle(records, seen).unwrap_err())
    }

    #[test]
    fn an_account_without_mistakes_is_counted() {
        let records = [
            answered(1, b"a"),
            record(2, Outcome::Unavailable),
            record(3, Outcome::NotSent),
            record(4, Outcome::RelayGone),
        ];
        let account = Account::settle(&records, &[seen("r1", 1, b"a"), seen("r4", 4, b"d")]).unwrap();
        let counted = (account.asked, account.answered, account.seen, account.duplicates);
        assert_eq!(counted, (4, 1, 2, 0));
        assert_eq!((account.unavailable, account.not_sent, account.relay_gone), (1, 1, 1));
    }

    #[test]
    fn every_mistake_is_found() {
        let ok = answered(1, b"a");
        let twice = [seen("r1", 1, b"a"), seen("r1", 1, b"a")];
        assert!(complaint(std::slice::from_ref(&ok), &twice).contains("asked twice"));
        let other_id = [seen("r1", 1, b"a"), seen("r2", 1, b"a")];
        assert!(complaint(std::slice::from_ref(&ok), &other_id).contains("asked twice"));
        assert!(complaint(&[answered(1, b"b")], &[seen("r1", 1, b"a")]).contains("answer changed"));
        assert!(complaint(std::slice::from_ref(&ok), &[]).contains("not by the model"));
        assert!(complaint(&[ok.clone(), ok.clone()], &[seen("r1", 1, b"a")]).contains("two outcomes"));
        assert!(complaint(&[record(1, Outcome::NotSent)], &[seen("r1", 1, b"a")]).contains("called not sent"));
        assert!(complaint(&[], &[seen("r1", 1, b"a")]).contains("no caller"));
        assert!(complaint(&[record(1, Outcome::Unexplained("504".into()))], &[]).contains("unexplained: 504"));
        let mut changed = ok;
        changed.sent = Digest::of(b"another");
        assert!(complaint(&[changed], &[seen("r1", 1, b"a")]).contains("question changed"));
    }
}
