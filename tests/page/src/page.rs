//! The relay's page, open in a browser.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{chromium::Chromium, relay::Relay};

/// How long a wait for the page to show something lasts at most, in milliseconds.
const PATIENCE: u32 = 60_000;

/// The relay's page in a browser of its own.
pub struct Page {
    browser: Chromium,
}

impl Page {
    /// Opens the page, and waits until it shows figures.
    pub fn open(relay: &Relay) -> Self {
        Self::open_until(relay, "live")
    }

    /// Opens the page, and waits until the relay has refused it the figures.
    pub fn open_without_key(relay: &Relay) -> Self {
        Self::open_until(relay, "refused")
    }

    fn open_until(relay: &Relay, state: &str) -> Self {
        let mut page = Self { browser: Chromium::start() };
        for domain in ["Log", "Network", "Page", "Runtime"] {
            page.browser.call(&format!("{domain}.enable"), json!({}));
        }
        page.browser.call("Page.navigate", json!({"url": relay.url("/")}));
        page.comes_to(&format!("document.body?.dataset.state === '{state}'"));
        page
    }

    /// The value of an expression, as JSON. Awaits a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.browser.call("Runtime.evaluate", params);
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        result["result"]["value"].take()
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub fn comes_to(&mut self, condition: &str) {
        let came = self.eval(&format!(
            "(async () => {{
                const end = performance.now() + {PATIENCE};
                while (!({condition})) {{
                    if (performance.now() > end) return false;
                    await new Promise(look => setTimeout(look, 20));
                }}
                return true;
            }})()"
        ));
        assert!(came == true, "never: {condition}\n{}", self.text("body"));
    }

    /// Waits until an element's visible text contains `part`.
    #[track_caller]
    pub fn comes_to_say(&mut self, selector: &str, part: &str) {
        let (selector, part) = (json!(selector), json!(part));
        self.comes_to(&format!("document.querySelector({selector})?.innerText.includes({part})"));
    }

    /// An element's visible text.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().expect("a text").to_owned()
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({"type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": virtual_key(key)});
            self.browser.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Presses Tab until the element that the selector names has the focus.
    #[track_caller]
    pub fn tab_to(&mut self, selector: &str) {
        let arrived = format!("document.activeElement.matches({})", json!(selector));
        for _ in 0..50 {
            self.press("Tab");
            if self.eval(&arrived) == true {
                return;
            }
        }
        panic!("Tab does not reach {selector}");
    }

    /// Types into the focused element.
    pub fn type_in(&mut self, text: &str) {
        self.browser.call("Input.insertText", json!({"text": text}));
    }

    /// Sets the window's width and the colour scheme (`light` or `dark`).
    pub fn look(&mut self, width: u32, colours: &str) {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.browser.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.browser.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Saves a screenshot of the whole page as PNG.
    pub fn screenshot(&mut self, file: &Path) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.browser.call("Page.captureScreenshot", params);
        let data = shot["data"].as_str().expect("data");
        fs::write(file, BASE64_STANDARD.decode(data).expect("base64")).expect("a file");
    }

    /// Everything that the browser reported in its console or log, or as an exception.
    pub fn complaints(&mut self) -> Vec<String> {
        self.eval("0"); // Earlier events arrive before this answer.
        let complaint = |event: &Value| match event["method"].as_str()? {
            "Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => {
                Some(event["params"].to_string())
            }
            _ => None,
        };
        self.browser.events().iter().filter_map(complaint).collect()
    }

    /// The URLs that the page requested, in order.
    pub fn requests(&mut self) -> Vec<String> {
        self.eval("0");
        let requests = self.browser.events().iter();
        let requests = requests.filter(|event| event["method"] == "Network.requestWillBeSent");
        let url = |event: &Value| event["params"]["request"]["url"].as_str().map(str::to_owned);
        requests.filter_map(url).collect()
    }
}

fn virtual_key(key: &str) -> u32 {
    match key {
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        "End" => 35,
        "Home" => 36,
        "ArrowLeft" => 37,
        "ArrowRight" => 39,
        _ => 0,
    }
}
