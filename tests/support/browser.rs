//! A real browser: Debian's Chromium without a screen, driven over its DevTools protocol.
//!
//! The client is ours: the crates for it bring the whole generated protocol and an async world of their own, and a test needs
//! a dozen commands. WebSockets are those of `tokio-tungstenite`.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::process::{Process, program};
use super::scratch::Scratch;
use super::wait;

/// A browser starts slowly on a busy machine; only failures wait this long.
const LIMIT: Duration = Duration::from_mins(2);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    session: Option<String>,
    calls: u64,
    /// Everything that it told without being asked.
    events: Vec<Value>,
    /// Answers to "who are you?", user and password.
    credentials: Option<(String, String)>,
    _process: Process,
    _folder: Scratch,
}

impl Browser {
    /// A browser with an empty page.
    pub fn start() -> Self {
        let folder = Scratch::new("browser");
        let profile = folder.join("profile");
        let process = Process::spawn("chromium", &program("chromium"), &folder.join("log"), |command| {
            command
                .args([
                    "--headless=new",
                    "--remote-debugging-port=0",
                    "--no-first-run",
                    "--disable-gpu",
                ])
                .args([
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                ])
                .args([
                    "--disable-extensions",
                    "--disable-dev-shm-usage",
                    "--hide-scrollbars",
                    "--disable-breakpad",
                ])
                // Whatever it should think of by itself: only loopback has a name.
                .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
                .arg(format!("--user-data-dir={}", profile.display()))
                .env("HOME", folder.path())
                .env_remove("DISPLAY");
            if rustix::process::geteuid().is_root() {
                command.arg("--no-sandbox");
            }
            command.arg("about:blank");
        });
        let port_file = profile.join("DevToolsActivePort");
        let (port, path) = wait::until("chromium listens", LIMIT, || {
            let text = std::fs::read_to_string(&port_file).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.trim().to_owned()))
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let socket = runtime.block_on(async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
            let url = format!("ws://127.0.0.1:{port}{path}");
            let (socket, _) = tokio_tungstenite::client_async(url, stream)
                .await
                .expect("a WebSocket");
            socket
        });
        let mut browser = Self {
            runtime,
            socket,
            session: None,
            calls: 0,
            events: Vec::new(),
            credentials: None,
            _process: process,
            _folder: folder,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = self.call(
            "Target.attachToTarget",
            &json!({"targetId": target["targetId"], "flatten": true}),
        );
        self.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Opens an address and waits until the page has loaded.
    pub fn open(&mut self, address: &str) {
        self.events.clear();
        self.call("Page.navigate", &json!({"url": address}));
        self.until("the page has loaded", "document.readyState === 'complete'");
    }

    /// As a person does who is asked for a password at that address.
    pub fn open_as(&mut self, address: &str, user: &str, password: &str) {
        self.credentials = Some((user.to_owned(), password.to_owned()));
        self.call("Fetch.enable", &json!({"handleAuthRequests": true}));
        self.open(address);
        self.call("Fetch.disable", &json!({}));
    }

    /// One command; its result.
    ///
    /// # Panics
    ///
    /// When the browser refuses it, or does not answer.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        loop {
            let message = self.receive(method);
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.heard(message);
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.calls += 1;
        let mut command = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let message = Message::text(command.to_string());
        self.runtime
            .block_on(self.socket.send(message))
            .expect("the browser listens");
        self.calls
    }

    fn receive(&mut self, what: &str) -> Value {
        let next = async { tokio::time::timeout(LIMIT, self.socket.next()).await };
        let message = self.runtime.block_on(next);
        let message = message.unwrap_or_else(|_| panic!("no answer to {what}"));
        let message = message.expect("the browser is there").expect("a message");
        serde_json::from_str(message.to_text().expect("text")).expect("JSON")
    }

    fn heard(&mut self, message: Value) {
        let request = message["params"]["requestId"].clone();
        match message["method"].as_str() {
            Some("Fetch.requestPaused") => {
                self.send("Fetch.continueRequest", &json!({"requestId": request}));
            }
            Some("Fetch.authRequired") => {
                let (user, password) = self.credentials.clone().expect("somebody to be");
                let answer =
                    json!({"response": "ProvideCredentials", "username": user, "password": password});
                self.send(
                    "Fetch.continueWithAuth",
                    &json!({"requestId": request, "authChallengeResponse": answer}),
                );
            }
            Some(_) => self.events.push(message),
            // The answer to one of these two.
            None => {}
        }
    }

    /// What an expression of the page comes to; it may be a promise.
    ///
    /// # Panics
    ///
    /// When it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression of the page is true.
    pub fn until(&mut self, what: &str, expression: &str) {
        let seen = wait::or_give_up(LIMIT, || {
            (self.eval(expression) == Value::Bool(true)).then_some(())
        });
        let said = seen.is_none().then(|| self.text("body"));
        assert_eq!(said, None, "waited in vain until {what}");
    }

    /// What a person reads there.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The size of the screen, CSS pixels.
    pub fn size(&mut self, width: u32, height: u32) {
        let is_phone = width < 600;
        let params = json!({"width": width, "height": height, "deviceScaleFactor": if is_phone { 2 } else { 1 }, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", &params);
    }

    /// `light` or `dark`, as the system of a user says.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => panic!("a key that no test presses: {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// Keeps a picture of the whole page in `target/tmp/screenshots`.
    pub fn screenshot(&mut self, name: &str) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", &params);
        let picture = picture["data"].as_str().expect("a picture");
        let bytes = <base64ct::Base64 as base64ct::Encoding>::decode_vec(picture).expect("base64");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).expect("target/tmp is writable");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, bytes).expect("the folder is writable");
        eprintln!("screenshot: {}", path.display());
    }

    /// What the page or the browser complained about since it was opened: errors of scripts, of the network, of the policy.
    pub fn complaints(&mut self) -> Vec<String> {
        // Whatever was on its way is here when this is answered.
        self.eval("1");
        let bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] != "log",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            _ => false,
        };
        self.events.iter().filter(bad).map(Value::to_string).collect()
    }

    /// Every address that it asked for since the page was opened.
    pub fn requests(&mut self) -> Vec<String> {
        self.eval("1");
        let asked = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        let addresses = asked.map(|event| {
            event["params"]["request"]["url"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        addresses.collect()
    }
}
