//! What the page shows about the relay.

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use page_test::{KEY, Page, Relay};
use serde_json::{Value, json};

/// A private attribute of the users in these tests.
const PRIVATE: &str = "hush-4711";

fn upstream() -> LocalStatsig {
    LocalStatsig::start(Rules::sample()).unwrap()
}

/// Checks gates that no request has checked yet, so each request leads to a call.
fn check(relay: &Relay, requests: std::ops::Range<usize>) {
    for request in requests {
        let user = json!({"userID": "ada", "privateAttributes": {"note": PRIVATE}});
        let names = [format!("gate {request}"), format!("switch {request}")];
        relay.post("/v1/check_gate", &json!({"gateNames": names, "user": user}));
    }
}

fn count(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#counts dt')]
            .find(dt => dt.textContent === {})?.nextElementSibling.textContent",
        json!(name)
    )
}

/// An expression for the figures in the legend of a chart; charts count from 1.
fn figures(chart: usize) -> String {
    format!(
        "[...document.querySelectorAll('figure:nth-of-type({chart}) .legend b')]
            .map(b => parseFloat(b.textContent))"
    )
}

#[test]
fn page_asks_its_own_relay_alone_and_keeps_its_policy() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);

    let (head, _) = relay.get("/");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
    let policy = policy.expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for header in ["cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(head.contains(header), "{head}");
    }

    let mut page = Page::open(&relay);
    page.comes_to(&format!("{}[0] === 0", figures(1)));
    page.eval("globalThis.first = known.at");
    page.comes_to("known.at > first");

    assert_eq!(page.complaints(), [] as [String; 0]);
    let mut requests = page.requests();
    requests.retain(|url| !url.starts_with("data:"));
    assert_eq!(requests.remove(0), relay.url("/"));
    assert_eq!(requests.remove(0), relay.url("/watch?history"));
    assert!(!requests.is_empty() && requests.iter().all(|url| *url == relay.url("/watch")));

    // The browser refuses a style that is not the document's own, and the test notices it.
    page.eval("document.head.append(Object.assign(document.createElement('style'), {textContent: 'p {}'}))");
    let heard = page.complaints().concat();
    assert!(heard.contains("Content Security Policy"), "{heard}");
}

#[test]
fn under_load_counts_rates_and_charts_follow_without_a_reload() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    page.comes_to(&format!("{}[0] === 0", figures(1)));
    page.eval("document.body.dataset.reloaded = 'no'");

    check(&relay, 0..40);

    page.comes_to(&format!("{} === '80'", count("Checks in them")));
    page.comes_to(&format!("{} === '40'", count("Calls")));
    page.comes_to_say("#saved", "40");
    page.comes_to_say("#saved-why", "50\u{a0}% fewer");
    page.comes_to_say("#latency", "ms");
    let rose = "document.querySelector('figure:first-of-type .plot .line').getAttribute('d')
        .split(/[ML]/).slice(1).some(point => parseFloat(point.split(' ')[1]) < 100)";
    page.comes_to(rose);

    // The same requests are answered from the cache, and make no more calls.
    check(&relay, 0..40);
    page.comes_to(&format!("{} === '80'", count("Checks answered from the cache")));
    page.comes_to(&format!("{}[0] > 0", figures(2)));
    page.comes_to(&format!("{}.join() === '0,0'", figures(1)));
    assert_eq!(page.eval("document.body.dataset.reloaded"), "no");
}

#[test]
fn page_shows_an_outage_without_secrets_until_it_ends() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    assert_eq!(page.text("#breaker-word"), "Closed");
    page.comes_to_say("#no-errors", "None");

    let leak = format!("{{\"error\": \"{KEY} may not see {PRIVATE}\"}}");
    upstream.inject(Fault::status(400).with_body(leak).always());
    check(&relay, 0..1);
    page.comes_to_say("#errors", "refused");
    upstream.clear_faults();
    upstream.inject(Fault::status(503).always());
    check(&relay, 1..20);

    page.comes_to_say("#breaker-word", "Open");
    page.comes_to_say("#errors", "circuit open");
    page.comes_to_say("#errors", "unavailable");
    page.comes_to("document.title.startsWith('⚠ circuit breaker open')");
    page.comes_to(&format!("{} > 0", count("Requests that got an error")));
    // A call that the breaker refused does not count as a call.
    let (calls, refused) = (count("Calls"), count("Calls refused before an attempt"));
    page.comes_to(&format!("{refused} > 0"));
    page.comes_to(&format!("{calls} * 1 + {refused} * 1 === known.data.stats.calls"));
    page.comes_to(&format!("{calls} * 1 === known.data.stats.call.count"));
    let shown = page.eval("document.documentElement.outerHTML");
    let (_, watched) = relay.get("/watch");
    for text in [shown.as_str().unwrap(), &watched] {
        assert!(!text.contains(KEY) && !text.contains(PRIVATE), "{text}");
    }

    upstream.clear_faults();
    let title = "new Promise(look => setTimeout(() => look(document.title), 100))";
    let is_over = |request| {
        check(&relay, request..request + 1);
        page.eval(title) == "statsig-relay"
    };
    assert!((20..620).any(is_over));
    assert_eq!(page.text("#breaker-word"), "Closed");
}

#[test]
fn charts_begin_with_the_seconds_before_the_page_was_opened() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let has_sampled = |samples: usize| {
        let watch = || serde_json::from_str::<Value>(&relay.get("/watch?history").1).unwrap();
        while watch()["history"].as_array().unwrap().len() < samples {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    has_sampled(1);
    check(&relay, 0..20);
    has_sampled(4);

    let mut page = Page::open(&relay);

    assert_eq!(page.eval("known.samples.filter(s => s.checks > 0).length > 0"), true);
    assert_eq!(page.eval("known.samples.filter(s => s.calls > 0).length > 0"), true);
    assert_eq!(page.eval("known.samples.filter(s => !s.gap).length >= 3"), true);
    assert_eq!(page.eval("known.samples.filter(s => s.gap).length"), 1);
}

#[test]
fn refused_bodies_and_the_waits_of_callers_are_shown() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    let waits = "document.querySelector('#latency td').textContent";
    page.comes_to(&format!("{waits} === '–'"));

    let odd = json!({"custom": {PRIVATE: PRIVATE}});
    assert_eq!(relay.post("/v1/check_gate", &json!({"user": {"userID": "ada"}})), 400);
    assert_eq!(relay.post("/v1/check_gate", &json!({"gateName": "beta", "user": odd})), 400);
    check(&relay, 0..1);

    page.comes_to_say("#errors", "gateName or gateNames is missing");
    page.comes_to_say("#errors", "invalid user");
    page.comes_to(&format!("{} === '2'", count("Requests refused for their bodies")));
    page.comes_to(&format!("/ms|µs/.test({waits})"));
    let shown = page.eval("document.documentElement.outerHTML");
    assert!(!shown.as_str().unwrap().contains(PRIVATE), "{shown}");
}

#[test]
fn calls_saved_counts_no_check_that_was_refused_or_failed() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    let user = json!({"userID": "ada"});
    for _ in 0..3 {
        relay.post("/v1/check_gate", &json!({"gateNames": ["?", "fine", "good"], "user": user}));
    }
    upstream.inject(Fault::status(503).always());
    check(&relay, 0..1);
    upstream.clear_faults();
    page.comes_to(&format!("{} === '4'", count("Requests that got an error")));
    assert_eq!(page.text("#saved"), "0");
    assert_eq!(page.text("#saved-why"), "No check has been answered yet.");

    check(&relay, 1..4);
    page.comes_to_say("#saved", "3");
    let why = page.text("#saved-why");
    assert!(
        why.starts_with("3 calls were enough for 6 answered checks")
            && why.contains("50\u{a0}% fewer"),
        "{why}"
    );
}

#[test]
fn page_shows_quoted_errors_as_text() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    let markup = "<img src=x onerror=alert(1)>";

    let user = json!({"userID": "ada"});
    relay.post("/v1/check_gate", &json!({"gateName": markup, "user": user}));

    page.comes_to_say("#errors", markup);
    assert_eq!(page.eval("document.images.length"), 0);
}

#[test]
fn without_its_relay_it_says_since_when_and_recovers_by_itself() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    check(&relay, 0..3);
    let mut page = Page::open(&relay);
    page.comes_to(&format!("{} === '6'", count("Checks in them")));

    let address = relay.kill();

    page.comes_to("document.body.dataset.state === 'lost'");
    let notice = page.text("#notice");
    assert!(notice.starts_with("No answer from the relay since "), "{notice}");
    assert!(notice.contains("The figures below are from then"), "{notice}");
    assert_eq!(page.text("#state"), "No answer");
    assert_eq!(page.eval("document.title"), "⚠ no answer – statsig-relay");
    assert_eq!(page.eval(&count("Checks in them")), "6");
    let greyed = "getComputedStyle(document.querySelector('#saved')).color
        === getComputedStyle(document.querySelector('#saved-why')).color";
    assert_eq!(page.eval(greyed), true);

    // The charts move on, but draw nothing.
    let line = "document.querySelector('figure:nth-of-type(3) .plot .line').getAttribute('d')";
    page.comes_to(&format!("parseFloat({line}.split(/[ML]/).at(-1)) < 1000"));

    let relay = Relay::start_on(&address, &upstream);

    page.comes_to("document.body.dataset.state === 'live'");
    page.comes_to_say("#notice", "restarted");
    assert_eq!(page.eval(&count("Checks in them")), "0");
    // One line before the restart and another after it, with a gap between them.
    page.comes_to(
        "document.querySelector('figure:nth-of-type(3) .plot .line').getAttribute('d').split('M').length > 2",
    );
    check(&relay, 0..1);
    page.comes_to(&format!("{} === '2'", count("Checks in them")));
    assert_eq!(page.eval("document.title"), "statsig-relay");
}

#[test]
fn page_asks_its_viewer_for_a_key() {
    let upstream = upstream();
    let relay = Relay::start_for(&upstream, "key-of-ada,key-of-eve");
    let mut page = Page::open_without_key(&relay);

    page.comes_to_say("#notice", "only to callers with a key");
    assert_eq!(page.eval("document.title"), "⚠ key needed – statsig-relay");
    page.tab_to("#key");
    page.type_in("key-of-bob");
    page.press("Enter");
    page.comes_to_say("#notice", "does not know this key");
    page.type_in("key-of-ada");
    page.press("Enter");

    page.comes_to("document.body.dataset.state === 'live'");
    assert_eq!(page.eval("document.querySelector('#ask-key').hidden"), true);
    assert_eq!(page.eval("document.querySelector('#key').value"), "");
}

#[test]
fn keyboard_reaches_everything_a_pointer_does() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    let samples = "known.samples.filter(sample => !sample.gap).length";
    page.comes_to(&format!("{samples} > 2"));

    page.tab_to("#pause");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(page.eval(outline), "solid");
    page.press("Enter");
    page.comes_to_say("#state", "Paused");
    let paused = page.eval(samples);
    let asked = page.requests().len();
    check(&relay, 0..1);
    page.press("Enter");
    page.comes_to_say("#state", "Live");
    page.comes_to(&format!("{} === '2'", count("Checks in them")));
    assert!(page.requests().len() > asked && page.eval(samples).as_u64() > paused.as_u64());

    page.tab_to(".plot svg");
    page.press("ArrowLeft");
    page.press("ArrowLeft");
    page.comes_to("/^\\d\\d:\\d\\d:\\d\\d: .* checks, .* calls$/.test(spoken.textContent)");
    let said = page.text("#spoken");
    assert!(page.text("figure .when") == said[..8], "{said}");
    page.press("Escape");
    page.comes_to("document.querySelector('figure .when').textContent === ''");

    page.tab_to("summary");
    page.press("Enter");
    page.comes_to("document.querySelectorAll('figure:first-of-type tbody tr').length > 2");
}

#[test]
fn page_asks_nothing_while_paused_or_hidden() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    page.eval("document.querySelector('#pause').click()");
    page.comes_to("!asking");

    page.eval("document.dispatchEvent(new Event('visibilitychange')); tick(); tick()");

    assert_eq!(page.eval("asking"), false);
    assert_eq!(page.text("#state"), "Paused");

    page.eval("Object.defineProperty(document, 'hidden', {value: true, configurable: true})");
    page.eval("document.querySelector('#pause').click()");
    assert_eq!(page.eval("asking"), false);

    page.eval("Object.defineProperty(document, 'hidden', {value: false})");
    let samples = page.eval("known.samples.length");
    page.eval("document.dispatchEvent(new Event('visibilitychange'))");
    page.comes_to(&format!("known.samples.length > {samples}"));
}

#[test]
fn rates_cover_the_time_between_snapshots() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    page.eval("known.paused = true");
    page.comes_to("!asking");
    let mut hear = |run: u64, uptime_ms: u64, names: u64, cached: u64| {
        let stats = json!({
            "names": names, "cached": cached, "calls": names / 4, "errors": {"timeout": names / 8},
            "buffered": 0, "in_flight": 0
        });
        let data = json!({"run": run, "uptime_ms": uptime_ms, "stats": stats});
        let rates = "(({checks, calls, errors, hits}) => [checks, calls, errors, hits])";
        page.eval(&format!("heard({data}, Date.now()); {rates}(known.samples.at(-1))"))
    };

    let unknown = json!([null, null, null, null]);
    assert_eq!(hear(1, 1_000, 80, 0), unknown, "there is no earlier snapshot");
    assert_eq!(hear(1, 3_000, 160, 60), json!([40, 10, 5, 0.75]));
    assert_eq!(hear(1, 4_000, 160, 60), json!([0, 0, 0, null]));
    assert_eq!(hear(1, 60_000, 800, 60), unknown, "the page slept");
    assert_eq!(hear(1, 61_000, 880, 60), json!([80, 20, 10, 0]));
    assert_eq!(hear(2, 62_000, 888, 60), unknown, "another relay answered");
    assert_eq!(hear(2, 62_500, 880, 60), json!([0, 0, 0, null]), "a count went down");
    let lines = page.eval("path(known.samples.slice(-10), s => s.buffered, x => x, y => y)");
    assert_eq!(lines.as_str().unwrap().matches('M').count(), 3, "{lines}");
}

#[test]
fn page_fits_narrow_windows_with_contrast_in_both_themes() {
    let upstream = upstream();
    let relay = Relay::start(&upstream);
    let mut page = Page::open(&relay);
    check(&relay, 0..2);
    relay.post("/v1/check_gate", &json!({"gateName": "?", "user": {"userID": "ada"}}));
    page.comes_to_say("#errors", "invalid name");
    page.eval("document.querySelectorAll('details').forEach(details => details.open = true)");
    let looks = |page: &mut Page, state: &str| {
        for (width, colours) in [(320, "light"), (320, "dark"), (1280, "light"), (1280, "dark")] {
            page.look(width, colours);
            let dark =
                page.eval("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 21)";
            assert_eq!(dark, colours == "dark");
            let overflow = page.eval("document.documentElement.scrollWidth > innerWidth");
            assert_eq!((page.eval("innerWidth"), overflow), (json!(width), json!(false)));
            let faint = page.eval(FAINT);
            assert_eq!(faint, Value::Array(Vec::new()), "{width} {colours} {state}");
        }
    };

    looks(&mut page, "live");
    relay.kill();
    page.comes_to("document.body.dataset.state === 'lost'");
    looks(&mut page, "lost");
}

/// The texts whose contrast with their background is less than 4.5.
const FAINT: &str = "(() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) =>
        [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const colour = parts(getComputedStyle(element).backgroundColor);
        return colour[3] === 0 && element.parentElement ? behind(element.parentElement) : colour;
    };
    const own = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    return [...document.body.querySelectorAll('*')]
        .filter(element => own(element) && element.checkVisibility())
        .filter(element => {
            const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
        })
        .map(element => element.outerHTML);
})()";
