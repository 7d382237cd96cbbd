//! Takes screenshots of the page for people to review: calm, busy, in an outage, and without its
//! relay.
//!
//! `screenshots DIRECTORY`, with `STATSIG_RELAY_BIN` set.

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use page_test::{Page, Relay};
use serde_json::json;

fn main() {
    let folder = PathBuf::from(env::args_os().nth(1).expect("screenshots DIRECTORY"));
    let upstream = LocalStatsig::start(Rules::sample()).expect("a server");
    upstream.keep_requests(0);
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    shoot(&mut page, &folder, "calm");

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for caller in 0..4 {
            let (relay, done) = (&relay, &done);
            scope.spawn(move || ask(relay, caller, done));
        }
        upstream.set_latency(Duration::from_millis(8));
        thread::sleep(Duration::from_secs(100));
        shoot(&mut page, &folder, "busy");
        page.look(1280, "light");
        page.tab_to(".plot svg");
        (0..25).for_each(|_| page.press("ArrowLeft"));
        page.tab_to("summary");
        page.press("Enter");
        page.tab_to("figure:nth-of-type(4) svg");
        (0..25).for_each(|_| page.press("ArrowLeft"));
        page.screenshot(&folder.join("pointed.png"));
        page.eval("document.activeElement.blur(), scrollTo(0, 0)");
        page.eval("document.querySelector('details').open = false");
        upstream.inject(Fault::status(503).always());
        thread::sleep(Duration::from_secs(25));
        shoot(&mut page, &folder, "outage");
        upstream.clear_faults();
        thread::sleep(Duration::from_secs(15));
        done.store(true, Relaxed);
    });
    relay.kill();
    page.comes_to("document.body.dataset.state === 'lost'");
    thread::sleep(Duration::from_secs(8));
    shoot(&mut page, &folder, "unreachable");
}

/// Sends requests as an app does: a few gates at once for one of several users, again and again.
fn ask(relay: &Relay, caller: u64, done: &AtomicBool) {
    for turn in 0_u64.. {
        if done.load(Relaxed) {
            return;
        }
        let user = (turn * turn + caller * 7) % (40 + turn % 90);
        let gates: Vec<_> =
            (0..1 + (turn + caller) % 12).map(|gate| format!("gate {gate}")).collect();
        let body = json!({"gateNames": gates, "user": {"userID": format!("u-{user}")}});
        relay.post("/v1/check_gate", &body);
        thread::sleep(Duration::from_millis(15 + (turn / 50 % 4) * 12));
    }
}

fn shoot(page: &mut Page, folder: &std::path::Path, scene: &str) {
    for (width, shape) in [(1280, "wide"), (360, "narrow")] {
        for colours in ["light", "dark"] {
            page.look(width, colours);
            page.eval(
                "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
            );
            page.screenshot(&folder.join(format!("{scene}-{shape}-{colours}.png")));
        }
    }
}
