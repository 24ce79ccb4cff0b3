//! Who can use it: by keyboard, by screen reader, in light and in dark, on a narrow screen.

use std::collections::BTreeSet;

use e2e::world::browser::Scheme;
use e2e::world::browser::keys::{ENTER, ESCAPE, SPACE, TAB};
use e2e::world::{command, python};

use super::*;

/// A page with a bit of everything: answers, a fault, a lost connection, a second relay's worth of text.
async fn busy(inspector: &str) -> World {
    let world = World::with(inspector).await;
    world.ask_and_see("demo", 1).await;
    world.ask_and_see("html-200", 2).await;
    world.ask_and_see("status-500", 3).await;
    world
}

/// `axe-core`'s own words about what is wrong.
async fn violations(world: &World) -> Vec<String> {
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, { resultTypes: ['violations', 'incomplete'] }).then(found => done([
          ...found.violations.map(v => `${v.id}: ${v.help}: ${v.nodes.map(n => n.html).join(' ')}`),
          ...(found.passes.length < 20 ? ['too few rules were looked at'] : []),
        ]), error => done([String(error)]))";
    let found = world.browser.run_async(script, &[]).await.unwrap();
    found
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

async fn load_axe(world: &World) {
    let place = "import importlib.util as u, os; print(os.path.join(os.path.dirname(u.find_spec('axe_playwright_python').origin), 'axe.min.js'))";
    let found = command(python().unwrap()).args(["-c", place]).output().await.unwrap();
    let path = String::from_utf8(found.stdout).unwrap();
    let axe = std::fs::read_to_string(path.trim()).unwrap_or_else(|e| panic!("axe-core: {e}: run `make inspector`"));
    world.browser.run(&axe, &[]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn axe_finds_nothing_in_light_and_in_dark_wide_and_narrow() {
    let world = busy("          inspector: { bodies: true }\n").await;
    load_axe(&world).await;
    for (scheme, width) in [
        (Scheme::Light, 1280),
        (Scheme::Dark, 1280),
        (Scheme::Dark, 360),
        (Scheme::Light, 360),
    ] {
        world.browser.prefer(scheme).await.unwrap();
        world.browser.size(width, 800).await.unwrap();
        let dark = scheme == Scheme::Dark;
        world
            .until(&format!(
                "matchMedia('(prefers-color-scheme: dark)').matches === {dark} && innerWidth === {width}"
            ))
            .await;
        assert_eq!(violations(&world).await, Vec::<String>::new(), "{scheme:?} {width}");
        world.until("document.documentElement.scrollWidth <= innerWidth").await;
        world
            .browser
            .run("document.querySelector('#rows button').click()", &[])
            .await
            .unwrap();
        world
            .until("document.querySelectorAll('#content pre').length > 0")
            .await;
        assert_eq!(
            violations(&world).await,
            Vec::<String>::new(),
            "{scheme:?} {width} with details"
        );
        world.browser.press(ESCAPE).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn every_control_is_reached_by_keyboard_and_can_be_seen_there() {
    let world = busy("").await;
    world.browser.run("document.activeElement.blur()", &[]).await.unwrap();
    let mut reached = BTreeSet::new();
    for _ in 0..14 {
        world.browser.press(TAB).await.unwrap();
        let script = "const e = document.activeElement, s = getComputedStyle(e);
            return [e.id || e.className || e.tagName, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]";
        let focused = world.browser.run(script, &[]).await.unwrap();
        let name = focused[0].as_str().unwrap().to_owned();
        assert!(focused[1] == true || name == "BODY", "{name} does not show its focus");
        reached.insert(name);
    }
    for control in [
        "skip",
        "pause",
        "kind",
        "filter",
        "requests-region",
        "open",
        "errors-region",
    ] {
        assert!(reached.contains(control), "{control} is not among {reached:?}");
    }
    // paused by the keyboard, nothing changes; resumed, it does
    world
        .browser
        .run("document.getElementById('pause').focus()", &[])
        .await
        .unwrap();
    world.browser.press(SPACE).await.unwrap();
    world
        .until("document.getElementById('announcer').textContent.startsWith('Paused')")
        .await;
    world.ask(&chat("demo")).await;
    world
        .site
        .relay_status_becomes("/totals/requests", 4.into())
        .await
        .unwrap();
    let rows = "return document.querySelectorAll('#rows tr').length";
    assert_eq!(world.browser.run(rows, &[]).await.unwrap(), 3);
    world.browser.press(ENTER).await.unwrap();
    world.until("document.querySelectorAll('#rows tr').length === 4").await;
    // the filter, by its text and by its choice
    world
        .browser
        .run("document.getElementById('filter').focus()", &[])
        .await
        .unwrap();
    world.browser.press("INVALID 502").await.unwrap();
    world.until("document.querySelectorAll('#rows tr').length === 1").await;
    world
        .until("document.getElementById('announcer').textContent === '1 requests shown'")
        .await;
    assert_eq!(world.newest().await["Fault"], "adapter_invalid_response");
    world.browser.press(&"\u{E003}".repeat(11)).await.unwrap();
    world.until("document.querySelectorAll('#rows tr').length === 4").await;
    world
        .browser
        .run("document.getElementById('kind').focus()", &[])
        .await
        .unwrap();
    world.browser.press("Status 400").await.unwrap();
    world.until("document.querySelectorAll('#rows tr').length === 2").await;
}

#[tokio::test]
#[ignore = "needs Chromium installed: make inspector"]
async fn focus_stays_where_it_is_while_requests_come() {
    let world = busy("").await;
    world
        .browser
        .run("document.querySelector('#rows button').focus()", &[])
        .await
        .unwrap();
    let own = "return document.activeElement.textContent";
    let before = world.browser.run(own, &[]).await.unwrap();
    world.ask_and_see("demo", 4).await;
    assert_eq!(world.browser.run(own, &[]).await.unwrap(), before);
    assert!(before.as_str().unwrap().ends_with(", details"));
}
