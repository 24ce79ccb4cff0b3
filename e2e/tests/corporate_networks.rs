//! Promises to those who guard a network: TLS says what is wrong and how to mend it, certificates and keys are renewed
//! without a restart, and nothing is lost over it.
#![forbid(unsafe_code)]
// Everything here is a test: a broken expectation should end it where it stands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use e2e::model::Model;
use e2e::relay::{Relay, TlsFiles};
use e2e::world::http::{Reply, post};
use e2e::world::site::{DEADLINE, KEY, Plan, Shipped, Site, chat};
use e2e::world::{Authority, Leaf};
use hyper::StatusCode;
use tokio::task::JoinHandle;

async fn crosses(relay: &Relay) {
    let reply = post(&relay.url("/v1/chat/completions"), chat("quick")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// A site whose configuration has `tls` for its TLS settings.
fn with_tls(tls: &str) -> Plan {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let usual = format!("tls: {{ ca_file: {:?} }}", plan.certificates.ca);
    let tls = tls.replace("CA", &format!("ca_file: {:?}", plan.certificates.ca));
    plan.edit(&usual, &tls).unwrap()
}

/// The error that the site shows in its status and says in its log.
async fn is_told(site: &mut Site, code: &str, remedies: &[&str]) {
    let status = site
        .relay_status_becomes("/last_error/code", code.into())
        .await
        .unwrap();
    let message = status["last_error"]["message"].as_str().unwrap().to_owned();
    for remedy in remedies {
        assert!(message.contains(remedy), "{remedy:?} is not in {message:?}");
    }
    let line = site.envoy.process().line(&message, DEADLINE).await.unwrap();
    assert!(line.contains("relay=default") && line.contains(code), "{line}");
    let not_ready = site.status("/readyz").await.unwrap();
    assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_certificate_that_fails_is_told_with_its_remedy_and_a_good_one_is_found_without_a_restart() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let (house, stranger) = (
        plan.certificates.authority.clone(),
        Authority::new("somebody else").unwrap(),
    );
    let expired = Leaf {
        expired: true,
        ..Leaf::good()
    };
    let wrong_name = Leaf {
        names: &["relay.internal"],
        ..Leaf::good()
    };
    let issue = |authority: &Authority, plan: &Plan, leaf| authority.issue(&plan.scratch, "server", leaf).unwrap();
    issue(&house, &plan, expired);
    let mut relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    is_told(&mut site, "tls_expired", &[" days ago", "it must be renewed", "clock"]).await;
    for (authority, leaf, code, remedies) in [
        (
            &house,
            wrong_name,
            "tls_wrong_name",
            ["is for relay.internal, not for localhost", "tls.server_name"],
        ),
        (
            &stranger,
            Leaf::good(),
            "tls_unknown_issuer",
            ["issued by nobody trusted here", "tls.ca_file"],
        ),
    ] {
        relay.kill().await;
        issue(authority, &site.plan, leaf);
        relay.restart().await.unwrap();
        assert_eq!(
            post(&site.status_url("/relays/default/reconnect"), "")
                .await
                .unwrap()
                .status,
            StatusCode::ACCEPTED
        );
        is_told(&mut site, code, &remedies).await;
    }
    relay.kill().await;
    issue(&house, &site.plan, Leaf::good());
    relay.restart().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;
}

#[tokio::test]
async fn server_name_is_the_name_that_the_relays_certificate_must_have() {
    let plan = with_tls("tls: { CA, server_name: relay.internal }");
    let leaf = Leaf {
        names: &["relay.internal"],
        ..Leaf::good()
    };
    plan.certificates
        .authority
        .issue(&plan.scratch, "server", leaf)
        .unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;
}

/// A relay that wants certificates of the authority in `clients`.
async fn demanding(plan: &Plan, clients: &Authority) -> Relay {
    let client_ca = plan.scratch.write("clients.pem", clients.pem()).unwrap();
    let server = TlsFiles {
        client_ca: Some(client_ca),
        ..plan.certificates.server.clone()
    };
    plan.start_relay(|options| options.tls = Some(server)).await.unwrap()
}

#[tokio::test]
async fn a_relay_that_wants_a_client_certificate_gets_the_one_in_the_files_as_they_are_now() {
    let clients = Authority::new("the platform's clients").unwrap();
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let usual = format!("tls: {{ ca_file: {:?} }}", plan.certificates.ca);
    let (cert, key) = (
        plan.scratch.path().join("client.pem"),
        plan.scratch.path().join("client.key"),
    );
    let mutual = usual.replace(" }", &format!(", cert_file: {cert:?}, key_file: {key:?} }}"));
    let plan = plan.edit(&usual, &mutual).unwrap();
    let stranger = Authority::new("somebody else").unwrap();
    stranger.issue(&plan.scratch, "client", Leaf::good()).unwrap();
    let relay = demanding(&plan, &clients).await;
    let _model = plan.start_model().await.unwrap();
    let mut site = plan.start().await.unwrap();
    is_told(
        &mut site,
        "tls_client_certificate",
        &["client certificate", "tls.cert_file and tls.key_file"],
    )
    .await;
    clients.issue(&site.plan.scratch, "client", Leaf::good()).unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;
}

#[tokio::test]
async fn a_missing_client_certificate_is_told() {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let _relay = demanding(&plan, &Authority::new("the platform's clients").unwrap()).await;
    let mut site = plan.start().await.unwrap();
    is_told(
        &mut site,
        "tls_client_certificate",
        &["wants a client certificate", "tls.cert_file"],
    )
    .await;
}

#[tokio::test]
async fn without_ca_file_the_platforms_roots_are_trusted_and_their_absence_is_told() {
    let mut plan = with_tls("tls: {}");
    let roots = plan.certificates.ca.display().to_string();
    plan.variables.push(("SSL_CERT_FILE".to_owned(), roots));
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let _model = plan.start_model().await.unwrap();
    let _site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    crosses(&relay).await;

    let mut plan = with_tls("tls: {}");
    let nowhere = plan.scratch.path().join("absent.pem").display().to_string();
    plan.variables.push(("SSL_CERT_FILE".to_owned(), nowhere.clone()));
    let mut site = plan.start().await.unwrap();
    let remedies = [
        "no trusted root certificates",
        &nowhere,
        "remove the environment variable SSL_CERT_FILE",
        "tls.ca_file",
    ];
    is_told(&mut site, "tls_config", &remedies).await;
}

/// A secret as Kubernetes mounts it: the file is a link into a directory that is itself behind a link.
struct Mounted {
    volume: PathBuf,
    swaps: u32,
}

impl Mounted {
    fn new(plan: &Plan, key: &str) -> Self {
        let volume = plan.scratch.path().join("secret");
        fs::create_dir(&volume).unwrap();
        symlink("..data/api-key", volume.join("api-key")).unwrap();
        let mut mounted = Self { volume, swaps: 0 };
        mounted.swap(key);
        mounted
    }

    fn path(&self) -> PathBuf {
        self.volume.join("api-key")
    }

    /// The kubelet's way: a new directory, a new link beside the old one, a rename over it, the old directory removed.
    fn swap(&mut self, key: &str) {
        let old = fs::read_link(self.volume.join("..data"));
        self.swaps += 1;
        let new = format!("..2024_{}", self.swaps);
        fs::create_dir(self.volume.join(&new)).unwrap();
        fs::write(self.volume.join(&new).join("api-key"), key).unwrap();
        symlink(&new, self.volume.join("..data_tmp")).unwrap();
        fs::rename(self.volume.join("..data_tmp"), self.volume.join("..data")).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(self.volume.join(old)).unwrap();
        }
    }
}

/// A connected site whose key is in a mounted secret, with a request at the model.
async fn with_mounted_key() -> (Site, Relay, Model, Mounted, JoinHandle<Reply>) {
    let plan = Plan::new(Shipped::Sidecar).unwrap();
    let mounted = Mounted::new(&plan, KEY);
    let file = format!("{{ file: {:?} }}", mounted.path());
    let plan = plan.edit("{ env: SPECTRAL_BRIDGE_API_KEY }", &file).unwrap();
    let relay = plan.start_relay(|_| {}).await.unwrap();
    let model = plan.start_model().await.unwrap();
    let site = plan.start().await.unwrap();
    relay.connected(1, DEADLINE).await.unwrap();
    let url = relay.url("/v1/chat/completions");
    let request = tokio::spawn(async move { post(&url, chat("delay-4s")).await.unwrap() });
    model.ledger().wait(1, DEADLINE).await.unwrap();
    (site, relay, model, mounted, request)
}

/// The request that was in flight is answered once, and the model saw it once.
async fn is_answered_once(request: JoinHandle<Reply>, relay: &Relay, model: &Model) {
    let reply = request.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(model.ledger().count(), 1, "the model was asked again");
    assert_eq!(
        relay.journal().responses().len(),
        1,
        "the answer was sent more than once"
    );
}

#[tokio::test]
async fn a_rotated_key_is_used_at_the_next_connect_and_the_request_in_flight_is_answered_once() {
    let (mut site, relay, model, mut mounted, request) = with_mounted_key().await;
    relay.set_key("default", "rotated-key");
    mounted.swap("rotated-key\n");
    relay.slot("default").unwrap().cut();
    relay.connected(2, DEADLINE).await.unwrap();
    is_answered_once(request, &relay, &model).await;
    assert_eq!(relay.journal().refusals(), 0);
    nowhere_in(&mut site).await;
}

#[tokio::test]
async fn a_key_revoked_with_a_request_in_flight_is_replaced_by_the_new_one_and_the_request_answered_once() {
    let (mut site, relay, model, mut mounted, request) = with_mounted_key().await;
    relay.set_key("default", "rotated-key");
    relay.slot("default").unwrap().close(4001, "key revoked");
    is_told(&mut site, "authentication_failed", &[]).await;
    assert_eq!(site.relay_status().await.unwrap()["state"], "stopped");
    mounted.swap("rotated-key\n");
    relay.connected(2, DEADLINE).await.unwrap();
    is_answered_once(request, &relay, &model).await;
    assert_eq!(relay.journal().refusals(), 0, "it tried the old key again");
    nowhere_in(&mut site).await;
}

/// Neither key shows in what the site says.
async fn nowhere_in(site: &mut Site) {
    let said = site.status("/status").await.unwrap().text() + &site.envoy.process().output();
    for key in [KEY, "rotated-key"] {
        assert!(!said.contains(key), "{said}");
    }
}
