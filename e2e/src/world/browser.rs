//! Chromium without a window, driven over the WebDriver protocol by Debian's `chromedriver`.
//!
//! The protocol is JSON over HTTP, and a test needs a few of its commands, so they are written out here. Deliberately
//! absent: installing the two (the Makefile does that).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use hyper::Method;
use serde_json::{Value, json};

use super::{Process, Scratch, command, eventually, free_address, http};
use crate::failed::{Failed, Result};

/// A browser with one page. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
    _profile: Scratch,
}

/// Light or dark, as the system would have it (`prefers-color-scheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Browser {
    /// Starts it with an empty profile and a page of this size.
    ///
    /// # Errors
    /// `chromium` or `chromedriver` is not installed, or does not start.
    pub async fn start(width: u32, height: u32) -> Result<Self> {
        let (driver, profile) = (free_address()?, Scratch::new()?);
        let mut program = command("chromedriver");
        program.arg(format!("--port={}", driver.port()));
        let process = Process::start("chromedriver", &mut program)
            .map_err(|e| e.during("`make inspector` installs chromium and chromium-driver on Debian"))?;
        let status = format!("http://{driver}/status");
        let listens = eventually("chromedriver listens", STARTS, || async {
            http::get(&status).await.ok()
        });
        listens.await.map_err(|late| late.during(&process.output()))?;
        let mut browser = Self {
            driver,
            session: String::new(),
            _process: process,
            _profile: profile,
        };
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let size = format!("--window-size={width},{height}");
        let arguments: Vec<&str> = ARGUMENTS
            .iter()
            .copied()
            .chain([profile.as_str(), size.as_str()])
            .collect();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let begun = browser.send(Method::POST, "/session", &wanted).await?;
        let id = begun["sessionId"].as_str().map(str::to_owned);
        browser.session = id.ok_or_else(|| Failed::new(format!("no session: {begun}")))?;
        browser.size(width, height).await?;
        Ok(browser)
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).await.map(drop)
    }

    /// What the body of a function gives in the page; `arguments` are its own.
    ///
    /// # Errors
    /// It throws.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
            .await
    }

    /// As [`Browser::run`], for a function that calls its last argument with what it gives.
    ///
    /// # Errors
    /// It throws, or takes too long.
    pub async fn run_async(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/async", &json!({ "script": script, "args": arguments }))
            .await
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Errors
    /// It was not within `deadline`; the error holds the page's text.
    pub async fn until(&self, expression: &str, deadline: Duration) -> Result<()> {
        let script = format!("return Boolean({expression})");
        let reached = eventually(expression, deadline, || async {
            let value = self.run(&script, &[]).await.ok()?;
            (value == true).then_some(())
        });
        match reached.await {
            Ok(()) => Ok(()),
            Err(late) => Err(late.during(&self.text().await?)),
        }
    }

    /// What a reader of the page sees.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn text(&self) -> Result<String> {
        let text = self.run("return document.body.innerText", &[]).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Presses and releases keys, one after the other; special ones as WebDriver has them.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })))
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.post("/actions", &actions).await.map(drop)
    }

    /// Gives the page this size.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn size(&self, width: u32, height: u32) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await
    }

    /// Lets the system prefer a scheme.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn prefer(&self, scheme: Scheme) -> Result<()> {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", media).await
    }

    /// Writes what the page looks like into a PNG file.
    ///
    /// # Errors
    /// It cannot be drawn or written.
    pub async fn screenshot(&self, to: &Path) -> Result<()> {
        let drawn = self.send(Method::GET, &self.path("/screenshot"), &Value::Null).await?;
        let png = BASE64.decode(drawn.as_str().unwrap_or_default().as_bytes())?;
        Ok(std::fs::write(to, png)?)
    }

    /// What the page complained of since this was asked last: errors of scripts, and what its own rules forbid.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|entry| entry["message"].to_string()).collect())
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Result<()> {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
            .await
            .map(drop)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, &self.path(path), body).await
    }

    fn path(&self, path: &str) -> String {
        format!("/session/{}{path}", self.session)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("http://{}{path}", self.driver);
        let body = if method == Method::GET {
            String::new()
        } else {
            body.to_string()
        };
        let reply = http::send(method, &url, &[("content-type", "application/json")], body).await?;
        let value = reply.json()["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(Failed::new(format!("{path}: {error}: {}", value["message"]))),
            None => Ok(value),
        }
    }
}

/// No window, no privileges to give up in a container, and no talk to anybody but the page.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
];

/// WebDriver's keys.
pub mod keys {
    /// Tab.
    pub const TAB: &str = "\u{E004}";
    /// Enter.
    pub const ENTER: &str = "\u{E007}";
    /// Escape.
    pub const ESCAPE: &str = "\u{E00C}";
    /// Space.
    pub const SPACE: &str = " ";
}

const STARTS: Duration = Duration::from_secs(20);
