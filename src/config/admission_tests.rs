//! `budget`, `schedule` and `status.token`: what users may write, and the exact words about each mistake.

use serde_json::{Value, json};

use super::*;

fn config(budget: Value, schedule: Value, token: Value) -> Result<Config, ConfigErrors> {
    let relay = json!({
        "url": "wss://relay.example.com/connect", "api_key": {"env": "KEY"},
        "budget": budget, "schedule": schedule,
    });
    let whole = json!({ "relays": [relay], "status": { "token": token } });
    Config::from_json(whole.to_string().as_bytes())
}

#[track_caller]
fn refused(budget: Value, schedule: Value, token: Value, lines: &[&str]) {
    let errors = config(budget, schedule, token).unwrap_err().to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), lines);
}

/// Thursday 1970-01-01, so many hours after midnight.
fn open_at(schedule: &Value, hour: u64) -> bool {
    let mut config = config(Value::Null, schedule.clone(), Value::Null).unwrap();
    config.relays.remove(0).schedule.unwrap().is_open(hour * 3600)
}

#[test]
fn all_of_it_is_optional_and_each_part_of_a_budget_too() {
    let none = config(Value::Null, Value::Null, Value::Null).unwrap();
    assert_eq!(
        (none.relays[0].budget, &none.relays[0].schedule),
        (Budget::default(), &None)
    );
    assert_eq!(none.status.token, None);
    let budget = json!({"requests_per_minute": "60", "tokens_per_day": 200_000, "max_concurrent": 4});
    let all = config(budget, Value::Null, json!({"env": "TOKEN"})).unwrap();
    let expected = Budget {
        requests_per_minute: Some(60),
        tokens_per_day: Some(200_000),
        max_concurrent: Some(4),
    };
    assert_eq!(all.relays[0].budget, expected);
    assert_eq!(all.status.token, Some(SecretSource::Env("TOKEN".to_owned())));
    let one = config(json!({"max_concurrent": 1}), Value::Null, Value::Null).unwrap();
    let expected = Budget {
        max_concurrent: Some(1),
        ..Budget::default()
    };
    assert_eq!(one.relays[0].budget, expected);
}

#[test]
fn a_schedule_is_one_window_or_several() {
    let one = json!({"from": "08:00", "to": "18:00", "utc_offset": "+02:00"});
    assert!(!open_at(&one, 5) && open_at(&one, 6) && open_at(&one, 15) && !open_at(&one, 16));
    let night = json!({"days": ["wed"], "from": "22:00", "to": "04:00", "utc_offset": "Z"});
    assert!(open_at(&night, 3) && !open_at(&night, 4) && !open_at(&night, 22));
    let both = json!([one, night]);
    assert!(open_at(&both, 3) && !open_at(&both, 4) && open_at(&both, 6));
}

#[test]
fn mistakes_in_a_budget() {
    refused(
        json!({"requests_per_minute": 0, "tokens_per_day": 1.5, "max_concurrent": -1}),
        Value::Null,
        Value::Null,
        &[
            "relays[0].budget.requests_per_minute: 0; a whole number from 1 to 100000",
            "relays[0].budget.tokens_per_day: 1.5; a whole number from 1 to 1000000000000",
            "relays[0].budget.max_concurrent: -1; a whole number from 1 to 1000000",
        ],
    );
    refused(
        json!({"request_per_minute": 60}),
        Value::Null,
        Value::Null,
        &[
            "relays[0].budget.request_per_minute: unknown key, did you mean requests_per_minute?; allowed here: requests_per_minute, tokens_per_day, max_concurrent",
            "relays[0].budget: a budget of nothing; one or more of requests_per_minute, tokens_per_day, max_concurrent",
        ],
    );
    refused(
        json!(60),
        Value::Null,
        Value::Null,
        &["relays[0].budget: a number; an object with the keys requests_per_minute, tokens_per_day, max_concurrent"],
    );
}

#[test]
fn mistakes_in_a_schedule() {
    let windows = json!([
        {"days": ["mon", "Tue", "mon"], "from": "8:00", "to": "24:30", "utc_offset": "CET"},
        {"days": [], "from": 480, "to": "18:00"},
        {"from": "24:00", "to": "24:00", "utc_offset": "+15:00"},
        {"from": "08:00", "to": "08:00", "utc_offset": "Z"},
    ]);
    refused(
        Value::Null,
        windows,
        Value::Null,
        &[
            "relays[0].schedule[0].days[1]: \"Tue\" is not a day; one or more of mon, tue, wed, thu, fri, sat, sun",
            "relays[0].schedule[0].days[2]: \"mon\" is there twice; each day once",
            "relays[0].schedule[0].from: \"8:00\" is none; a time from \"00:00\" to \"23:59\", in quotes",
            "relays[0].schedule[0].to: \"24:30\" is none; a time from \"00:00\" to \"24:00\", in quotes",
            "relays[0].schedule[0].utc_offset: \"CET\" is none; the offset from UTC, such as \"+02:00\", \"-05:00\" or \"Z\", in quotes",
            "relays[0].schedule[1].days: no days; one or more of mon, tue, wed, thu, fri, sat, sun",
            "relays[0].schedule[1].from: 480; a time from \"00:00\" to \"23:59\", in quotes",
            "relays[0].schedule[1].utc_offset: missing; the offset from UTC, such as \"+02:00\", \"-05:00\" or \"Z\", in quotes",
            "relays[0].schedule[2].from: \"24:00\" is none; a time from \"00:00\" to \"23:59\", in quotes",
            "relays[0].schedule[2].utc_offset: \"+15:00\" is none; the offset from UTC, such as \"+02:00\", \"-05:00\" or \"Z\", in quotes",
            "relays[0].schedule[3]: from and to are the same; a whole day is from 00:00 to 24:00",
        ],
    );
    for (schedule, line) in [
        (
            json!([]),
            "relays[0].schedule: 0 windows; from 1 to 64; without a schedule a relay is always served",
        ),
        (
            json!("08:00-18:00"),
            "relays[0].schedule: a string; a window { days, from, to, utc_offset } or an array of windows",
        ),
    ] {
        refused(Value::Null, schedule, Value::Null, &[line]);
    }
}

#[test]
fn a_token_is_never_written_into_the_configuration() {
    let errors = config(Value::Null, Value::Null, json!("t0ken-71"))
        .unwrap_err()
        .to_string();
    let expected = "status.token: a secret written into the configuration would show in /config_dump; use {env: NAME} or {file: PATH}";
    assert_eq!(errors, expected);
}
