//! What no output may show: secrets in use, and what URLs carry besides scheme, host, port and path.
//!
//! The texts that reach it are written not to have any of it; servers and Envoy, whose words are quoted here and there,
//! have promised nothing.

/// Values to hide.
#[derive(Default)]
pub struct Hidden(Vec<String>);

impl Hidden {
    /// Hides `value` from now on, and of several words each that is long enough.
    pub fn add(&mut self, value: &str) {
        let words = value.split_whitespace().filter(|word| word.len() >= MIN_WORD);
        for secret in words.chain([value.trim()]) {
            if secret.len() >= MIN_SECRET && !self.0.iter().any(|known| known == secret) {
                self.0.push(secret.to_owned());
            }
        }
        // the longest first: it may contain others
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// `text` without any of them.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret, HIDDEN);
        }
        // one word after the other, white space as it was
        text.split_inclusive(char::is_whitespace).map(clean_word).collect()
    }
}

/// A URL without user, password and query; any other word as it is.
fn clean_word(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let tail: String = query
                .chars()
                .rev()
                .take_while(|c| c.is_whitespace() || matches!(c, ',' | ';' | ':' | ')' | '"' | '\''))
                .collect();
            format!("{path}{}", tail.chars().rev().collect::<String>())
        }
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

const HIDDEN: &str = "[hidden]";

/// Shorter values stand in any sentence by chance.
const MIN_SECRET: usize = 6;

/// `Bearer` and its like are no secrets.
const MIN_WORD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_pass_whole_or_in_words() {
        let mut hidden = Hidden::default();
        hidden.add("Bearer hunter2-hunter2");
        hidden.add("swordfish\n");
        hidden.add("abc");
        assert_eq!(
            hidden.clean("got Bearer hunter2-hunter2, hunter2-hunter2 and\nswordfish of Bearer abc"),
            "got [hidden], [hidden] and\n[hidden] of Bearer abc"
        );
        assert_eq!(format!("{hidden:?}"), "Hidden(3)");
    }

    #[test]
    fn urls_lose_user_and_query() {
        let hidden = Hidden::default();
        for (text, shown) in [
            ("http://u:p@proxy:3128: refused", "http://proxy:3128: refused"),
            ("see wss://r/connect?key=1, then", "see wss://r/connect, then"),
            ("\"https://a@b/c?d#e\")", "\"https://b/c\")"),
            ("a@b?c", "a@b?c"),
            ("http://h/a@b", "http://h/a@b"),
        ] {
            assert_eq!(hidden.clean(text), shown);
        }
    }
}
