//! Promises about a network that misbehaves: whatever happens to the socket, the model is asked at most once, and
//! nobody's answer is lost. Byte by byte, on real Envoy; a failure is run again with the printed `SEED=…`.

use std::time::Duration;

use e2e::model::{Behaviour, Model};
use e2e::relay::{Relay, RelayOptions};
use e2e::world::fault_proxy::{Ending, FaultProxy, Weather};
use e2e::world::http::{Reply, post};
use e2e::world::load::{Account, Callers, Counts, Seen, impatient};
use e2e::world::seed::Seed;
use e2e::world::site::{DEADLINE, Plan, Shipped, Site, chat};
use e2e::world::{eventually, free_address};
use tokio::task::JoinHandle;

/// A site whose relay is behind a proxy.
struct Behind {
    site: Site,
    relay: Relay,
    model: Model,
    proxy: FaultProxy,
    seed: Seed,
}

impl Behind {
    async fn connected(plan: Plan) -> Self {
        let seed = Seed::given_or_new().unwrap();
        println!("SEED={seed}");
        let relay = plan.start_relay(out_of_sight).await.unwrap();
        let proxy = FaultProxy::start(plan.relay, relay.public(), seed).await.unwrap();
        let model = plan.start_model().await.unwrap();
        let site = plan.start().await.unwrap();
        relay.connected(1, DEADLINE).await.unwrap();
        Self {
            site,
            relay,
            model,
            proxy,
            seed,
        }
    }

    fn ask(&self, behaviour: &str) -> JoinHandle<Reply> {
        let (url, body) = (self.relay.url("/v1/chat/completions"), chat(behaviour));
        tokio::spawn(async move { post(&url, body).await.unwrap() })
    }
}

/// The relay's own address is the proxy's business; nothing is kept of what it says, which is much.
fn out_of_sight(options: &mut RelayOptions) {
    options.public = free_address().unwrap();
    options.journal = false;
    // What is not answered within this is lost.
    options.request_timeout = Duration::from_secs(60);
}

/// Settles the account once nothing is left in the module.
async fn settle(site: &Site, model: &Model, callers: &Callers) -> (Account, Counts) {
    let counts = Counts::at_rest(site).await.unwrap();
    let seen: Vec<_> = model.ledger().exchanges().iter().map(Seen::from).collect();
    let account = Account::settle(&callers.take_records(), &seen).unwrap();
    println!("{account}\n{counts:?}");
    counts.agree(&account).unwrap();
    (account, counts)
}

/// 2,000 requests of 1 to 200 KiB, 64 at a time over one socket that is cut at least 100 times, mostly inside frames;
/// the relay is killed twice, the model restarted twice.
///
/// The reconnect schedule (0, 1, 2, 4, 8, 30 s) starts again only after a minute up, so 100 cuts in a row would take
/// most of an hour. A person at the status server does here what a person may: asks for a new attempt as soon as the
/// client waits. The next test leaves the schedule alone.
///
/// What a killed relay had is lost to its callers (PROTOCOL §3.1 keeps pending requests in its memory): at most what was
/// under way. What a restarted model had is 503 `adapter_unavailable`, as much at most. Everything else is answered, and
/// nothing reaches the model twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_survive_a_hundred_cuts_and_restarts_on_both_sides() {
    const REQUESTS: usize = 2000;
    const CUTS: u64 = 100;
    const LANES: usize = 64;
    let Behind {
        site,
        mut relay,
        mut model,
        proxy,
        seed,
    } = Behind::connected(Plan::new(Shipped::Sidecar).unwrap()).await;
    proxy.set(Weather {
        cut_after: Some(2048..=4 * 1024 * 1024),
        ..Weather::CALM
    });
    let callers = Callers::new(&relay, &["default"], 1024..=200 * 1024, seed);
    let callers = callers.asking(&["demo", "demo", "delay-30ms", "delay-300ms"]);
    let restarts = async {
        for step in 1..=4 {
            callers.reached(REQUESTS * step / 5).await;
            if step % 2 == 1 {
                callers.pause();
                relay.kill().await;
                relay.restart().await.unwrap();
            } else {
                is_busy(&model).await;
                callers.pause();
                model.stop().await;
                model.restart().await.unwrap();
            }
            callers.resume();
        }
        std::future::pending::<()>().await;
    };
    // Some cuts fall into handshakes; as many connections that were open are meant.
    let more = || callers.done() < REQUESTS || proxy.cuts() < CUTS * 3 / 2;
    tokio::select! {
        () = callers.run(LANES, more) => {}
        () = restarts => {}
        never = impatient(&site) => never.map(drop).unwrap(),
    }
    proxy.set(Weather::CALM);
    proxy.cut(Ending::Fin);
    let (account, counts) = tokio::select! {
        settled = settle(&site, &model, &callers) => settled,
        never = impatient(&site) => match never.unwrap() {},
    };
    println!("{} cuts on {} connections", proxy.cuts(), proxy.connections());
    assert!(counts.connections > CUTS && counts.disconnects > CUTS, "{counts:?}");
    assert!((1..=2 * LANES).contains(&account.relay_gone), "{account}");
    assert!((1..=2 * LANES).contains(&account.unavailable), "{account}");
    assert!(account.asked - account.not_sent >= REQUESTS, "{account}");
}

/// Waits until the model has a request that it has not answered.
async fn is_busy(model: &Model) {
    let unanswered = || {
        model
            .ledger()
            .exchanges()
            .iter()
            .any(|exchange| exchange.answer.is_none())
    };
    eventually("the model is busy", DEADLINE, || async { unanswered().then_some(()) })
        .await
        .unwrap();
}

/// Ten relays in one module, each on a link of its own that is cut four times, and nobody helps: the schedule (0, 1, 2,
/// 4 s) brings every one of them back. Nothing restarts, so nothing at all may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_alone_brings_every_relay_back_and_no_request_fails() {
    const CUTS: u64 = 4;
    let seed = Seed::given_or_new().unwrap();
    println!("SEED={seed}");
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let ids: Vec<_> = (0..9)
        .map(|n| format!("relay-{n}"))
        .chain(["default".to_owned()])
        .collect();
    let relay = plan
        .start_relay(|options| {
            out_of_sight(options);
            options
                .keys
                .extend(ids.iter().map(|id| (id.clone(), format!("key-of-{id}"))));
            options.keys.retain(|(id, key)| id != "default" || key == &plan.key);
        })
        .await
        .unwrap();
    let model = plan.start_model().await.unwrap();
    let (mut proxies, mut entries) = (Vec::new(), String::new());
    let ca = plan
        .text
        .split_once("ca_file: ")
        .and_then(|(_, rest)| rest.split_once(" }"))
        .unwrap()
        .0
        .to_owned();
    for (n, id) in (0..).zip(&ids) {
        let listen = if id == "default" {
            plan.relay
        } else {
            free_address().unwrap()
        };
        let proxy = FaultProxy::start(listen, relay.public(), seed.of(n)).await.unwrap();
        proxy.set(Weather {
            cut_after: Some(2048..=64 * 1024),
            most_cuts: CUTS,
            ..Weather::CALM
        });
        if id != "default" {
            let key = plan.scratch.write(id, format!("key-of-{id}")).unwrap();
            entries.push_str(&format!(
                "        - {{ name: {id}, url: \"wss://localhost:{}/connect\", api_key: {{ file: {key:?} }}, tls: {{ ca_file: {ca} }} }}\n",
                listen.port()
            ));
        }
        proxies.push(proxy);
    }
    let site = plan
        .edit("        relays:\n", &format!("        relays:\n{entries}"))
        .unwrap()
        .start()
        .await
        .unwrap();
    for id in &ids {
        relay.slot(id).unwrap().connected(1, DEADLINE).await.unwrap();
    }
    let names: Vec<_> = ids.iter().map(String::as_str).collect();
    let callers = Callers::new(&relay, &names, 1024..=32 * 1024, seed);
    let more = || callers.done() < 400 || proxies.iter().any(|proxy| proxy.cuts() < CUTS);
    callers.run(40, more).await;
    let (account, counts) = settle(&site, &model, &callers).await;
    assert_eq!(account.answered + account.not_sent, account.asked, "{account}");
    assert_eq!(proxies.iter().map(FaultProxy::cuts).sum::<u64>(), CUTS * 10);
    assert!(counts.disconnects <= CUTS * 10, "{counts:?}");
}

/// The link goes silent with a request at the model, and another is sent into the silence: the client notices by its
/// ping, connects again, and both are answered, each asked once.
#[tokio::test]
async fn a_half_open_link_is_found_by_keepalive_and_loses_nothing() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let keepalive = "keepalive: { interval: 2s, timeout: 2s } #";
    let plan = plan
        .edit("# keepalive: { interval: 30s, timeout: 10s }", keepalive)
        .unwrap();
    let behind = Behind::connected(plan).await;
    let ledger = behind.model.ledger();
    let before = behind.ask("delay-200ms");
    ledger.wait(1, DEADLINE).await.unwrap();
    behind.proxy.silence();
    let into_the_silence = behind.ask("quick");
    let replies = [before.await.unwrap(), into_the_silence.await.unwrap()];
    for (reply, exchange) in replies.iter().zip(ledger.exchanges()) {
        assert_eq!(
            (reply.status.as_u16(), Some(&reply.body)),
            (200, exchange.answer.as_ref())
        );
    }
    assert_eq!(ledger.count(), 2);
    let status = behind
        .site
        .relay_status_becomes("/held_responses", 0.into())
        .await
        .unwrap();
    assert_eq!(status["last_error"]["code"], "no_pong");
    assert_eq!(
        (&status["totals"]["connections"], &status["totals"]["disconnects"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        status["totals"]["resent_responses"], 1,
        "the answer given into the silence was not sent again"
    );
}

/// A link that carries nothing for a while, but less than keepalive allows, is the same link after.
#[tokio::test]
async fn a_link_that_pauses_for_a_moment_is_kept() {
    let behind = Behind::connected(Plan::new(Shipped::Sidecar).unwrap()).await;
    behind.proxy.pause();
    let asked = behind.ask("quick");
    let slot = behind.relay.slot("default").unwrap();
    let sent = || async { (slot.pending() == 1).then_some(()) };
    eventually("the relay has the request", DEADLINE, sent).await.unwrap();
    behind.proxy.resume();
    assert_eq!(asked.await.unwrap().status.as_u16(), 200);
    assert_eq!((behind.proxy.connections(), behind.model.ledger().count()), (1, 1));
}

// PROTOCOL §2.5: 4003 rotates the connection; pending requests carry over
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_connection_is_made_again_at_once_and_loses_nothing() {
    let mut behind = Behind::connected(Plan::new(Shipped::Sidecar).unwrap()).await;
    let callers = Callers::new(&behind.relay, &["default"], 1024..=64 * 1024, behind.seed);
    let slot = behind.relay.slot("default").unwrap();
    behind.model.next(Behaviour::Delay(Duration::from_millis(500)));
    let at_the_model = behind.ask("quick");
    behind.model.ledger().wait(1, DEADLINE).await.unwrap();
    let rotate = async {
        callers.reached(50).await;
        slot.close(4003, "rotation");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = callers.run(16, || callers.done() < 200) => {}
        () = rotate => {}
    }
    assert_eq!(at_the_model.await.unwrap().status.as_u16(), 200);
    let counts = Counts::at_rest(&behind.site).await.unwrap();
    assert_eq!(
        (counts.connections, counts.disconnects, counts.expired_responses),
        (2, 1, 0)
    );
    let seen: Vec<_> = behind
        .model
        .ledger()
        .exchanges()
        .iter()
        .skip(1)
        .map(Seen::from)
        .collect();
    let account = Account::settle(&callers.take_records(), &seen).unwrap();
    assert_eq!(account.answered + account.not_sent, account.asked, "{account}");
    assert_eq!(counts.ok as usize, account.answered + 1);
    let line = behind
        .site
        .envoy
        .process()
        .line("rotated the connection", DEADLINE)
        .await
        .unwrap();
    assert!(line.contains("reconnecting in 0 s"), "{line}");
    assert_eq!(behind.proxy.connections(), 2);
}
