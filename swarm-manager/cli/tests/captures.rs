//! Replays recorded exchanges of a real Docker Engine (28.5) from an in-process server on a unix
//! socket, and compares what this client prints, and what it asks for, with what the stock client
//! printed and asked for. `tests/captures/NAME.txt` is the terminal, `NAME.http.json` the wire.
//!
//! The clock is stopped at the moment of the recorded answers, so ages need no masks.

#![expect(
    clippy::unwrap_used,
    reason = "a recording that does not read is a failed test"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use swarm_manager_cli::{Clock, Terminal, run_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// One recorded request with its answer.
#[derive(Debug, Clone)]
struct Exchange {
    /// Method and target without the API version.
    route: String,
    asked: Value,
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn captures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Method, path and sorted decoded query, without version.
fn normal_route(request: &str) -> String {
    let mut parts = request.split_whitespace();
    let (method, target) = (parts.next().unwrap(), parts.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match path.strip_prefix("/v1.") {
        Some(rest) => &rest[rest.find('/').unwrap()..],
        None => path,
    };
    let mut query: Vec<String> = query.split('&').map(decode).collect();
    query.sort();
    format!("{method} {path} {}", query.join("&"))
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: String = bytes.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&hex, 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let text = std::fs::read_to_string(captures().join(format!("{name}.http.json"))).unwrap();
    let recorded: Vec<Value> = serde_json::from_str(&text).unwrap();
    recorded.iter().map(exchange).collect()
}

fn exchange(recorded: &Value) -> Exchange {
    let headers = recorded["response_headers"].as_object().unwrap();
    let recorded_body = &recorded["response_body"];
    let is_init = recorded["request"]
        .as_str()
        .unwrap()
        .contains("/swarm/init");
    let body = match recorded_body.as_str() {
        Some(text) if !is_init => text.to_owned(),
        _ => recorded_body.to_string(),
    };
    Exchange {
        route: normal_route(recorded["request"].as_str().unwrap()),
        asked: recorded["request_body"].clone(),
        status: recorded["status"].as_str().unwrap().to_owned(),
        headers: headers
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap().into()))
            .collect(),
        body,
    }
}

/// What the server was asked beyond what was recorded, or differently.
type Complaints = Arc<Mutex<Vec<String>>>;

/// Answers from the recording: the first unused exchange of a route, the last one again after.
struct Server {
    exchanges: Vec<Exchange>,
    used: Vec<bool>,
    complaints: Complaints,
}

impl Server {
    fn answer(&mut self, route: &str, body: &str) -> Vec<u8> {
        let matching: Vec<usize> = (0..self.exchanges.len())
            .filter(|at| self.exchanges[*at].route == route)
            .collect();
        let unused = matching
            .iter()
            .find(|at| !self.used[**at])
            .or_else(|| matching.last());
        let Some(at) = unused.copied() else {
            self.complaints
                .lock()
                .unwrap()
                .push(format!("not recorded: {route}"));
            let body = r#"{"message":"page not found"}"#;
            return format!(
                "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into();
        };
        self.used[at] = true;
        let exchange = &self.exchanges[at];
        if !exchange.asked.is_string() {
            let sent: Value = serde_json::from_str(body).unwrap_or_default();
            if sent != exchange.asked {
                let told = format!("{route}: sent {sent}, recorded {}", exchange.asked);
                self.complaints.lock().unwrap().push(told);
            }
        }
        let mut head = format!("{}\r\n", exchange.status);
        for (name, value) in &exchange.headers {
            if !matches!(
                name.as_str(),
                "content-length" | "transfer-encoding" | "date"
            ) {
                head.extend([
                    name, ": ", value, "
",
                ]);
            }
        }
        let body = if route.starts_with("HEAD") {
            ""
        } else {
            &exchange.body
        };
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into()
    }
}

async fn serve(listener: UnixListener, server: Rc<RefCell<Server>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(serve_one(stream, Rc::clone(&server)));
    }
}

async fn serve_one(mut stream: UnixStream, server: Rc<RefCell<Server>>) {
    let mut received = Vec::new();
    loop {
        let mut chunk = [0; 8192];
        let count = stream.read(&mut chunk).await.unwrap();
        if count == 0 {
            return;
        }
        received.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let answer = server.borrow_mut().answer(&normal_route(head), body);
        stream.write_all(&answer).await.unwrap();
        return;
    }
}

/// A writer whose bytes the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What a run printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    out: String,
    err: String,
    code: u8,
    complaints: Vec<String>,
}

/// Runs a command against the recording `name`.
fn run(name: &str, words: &[&str]) -> Ran {
    run_at(name, words, 0)
}

/// Runs a command so many milliseconds into the second of the recorded answers.
fn run_at(name: &str, words: &[&str], millis: i64) -> Ran {
    let recorded = exchanges(name);
    let date = recorded
        .iter()
        .filter_map(|e| e.headers.get("date"))
        .next_back()
        .unwrap();
    let now = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    let now = now + jiff::SignedDuration::from_millis(millis);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let host = format!("unix://{}", socket.display());
    let (out, err) = (Shared::default(), Shared::default());
    let complaints = Complaints::default();
    let server = Rc::new(RefCell::new(Server {
        used: vec![false; recorded.len()],
        exchanges: recorded,
        complaints: Arc::clone(&complaints),
    }));
    let terminal = terminal(&out, &err, now);
    let args: Vec<String> = words.iter().map(ToString::to_string).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tasks = tokio::task::LocalSet::new();
    let code = tasks.block_on(&runtime, async {
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::task::spawn_local(serve(listener, server));
        run_with(&args, Some(host), terminal).await
    });
    let complaints = complaints.lock().unwrap().clone();
    Ran {
        out: out.text(),
        err: err.text(),
        code,
        complaints,
    }
}

fn terminal(out: &Shared, err: &Shared, now: Timestamp) -> Terminal {
    Terminal {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(std::io::empty()),
        screen: None,
        interactive: false,
        clock: Clock::Stopped(now),
        zone: TimeZone::UTC,
    }
}

/// The recorded terminal: its text (both streams) and exit code, with our name for Docker's.
fn golden(name: &str) -> (String, u8) {
    let text = std::fs::read_to_string(captures().join(format!("{name}.txt"))).unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    let (shown, code) = text.rsplit_once("[exit ").unwrap();
    let code = code.trim_end().trim_end_matches(']').parse().unwrap();
    let ours = shown
        .replace("    docker swarm join", "    swarm-manager swarm join")
        .replace(
            "'docker swarm join-token",
            "'swarm-manager swarm join-token",
        );
    (ours, code)
}

/// Runs a command and expects the recorded terminal and nothing asked that was not recorded.
fn replay(name: &str, words: &[&str]) {
    let (text, code) = golden(name);
    // The date header has whole seconds; the recorded moment lies anywhere within that second.
    let mut ran = run(name, words);
    if ran.out != text {
        ran = run_at(name, words, 999);
    }
    assert_eq!(format!("{}{}", ran.out, ran.err), text, "{name}");
    assert_eq!(ran.code, code, "{name}");
    assert_eq!(ran.complaints, Vec::<String>::new(), "{name}");
}

#[test]
fn tables_are_the_recorded_ones() {
    for (name, words) in [
        ("node_ls", &["node", "ls"][..]),
        ("node_ps", &["node", "ps"]),
        ("service_ls", &["service", "ls"]),
        ("service_ls_jobs", &["service", "ls"]),
        ("service_ps", &["service", "ps", "web"]),
        ("service_ps_history", &["service", "ps", "web"]),
        ("network_ls", &["network", "ls"]),
        ("container_ls", &["container", "ls"]),
        ("container_ls_all", &["container", "ls", "-a", "--no-trunc"]),
    ] {
        replay(name, words);
    }
}

#[test]
fn inspections_print_the_servers_json() {
    replay("node_inspect", &["node", "inspect", "self"]);
    replay("service_inspect", &["service", "inspect", "web"]);
    replay(
        "service_inspect_pretty",
        &["service", "inspect", "--pretty", "web"],
    );
    replay("network_inspect", &["network", "inspect", "mynet"]);
}

#[test]
fn swarm_commands_print_the_recorded_texts() {
    replay(
        "swarm_init",
        &["swarm", "init", "--advertise-addr", "10.99.0.12"],
    );
    replay("swarm_join_token", &["swarm", "join-token", "worker"]);
    replay("swarm_ca", &["swarm", "ca"]);
    replay("unlock_key", &["swarm", "unlock-key"]);
}

#[test]
fn changes_send_the_recorded_requests() {
    replay(
        "network_create",
        &["network", "create", "-d", "overlay", "mynet"],
    );
    replay("service_scale", &["service", "scale", "-d", "web=1"]);
    replay("service_rm", &["service", "rm", "web", "job"]);
    replay("service_logs", &["service", "logs", "--tail", "2", "web"]);
}

#[test]
fn errors_are_the_recorded_ones() {
    replay("err_bad_filter", &["node", "ls", "-f", "foo=bar"]);
    replay("err_demote_last", &["node", "demote", "refnode2"]);
    replay("err_node_inspect_unknown", &["node", "inspect", "nosuch"]);
    replay("err_service_ps_unknown", &["service", "ps", "nosuch"]);
}

/// The recorded service had a health check, whose flags are not honoured yet; everything else of
/// the request must be the stock client's.
#[test]
fn a_service_is_created_with_the_recorded_spec() {
    let words = "service create -d --no-resolve-image --name web --replicas 2 -p 8080:80 -e A=b \
        --label l=v --constraint node.hostname==refnode2 --limit-memory 32M --reserve-cpu 0.1 \
        --restart-max-attempts 3 --mount type=volume,src=vol1,dst=/v busybox httpd -f -p 80";
    let words: Vec<&str> = words.split_whitespace().collect();
    let ran = run("service_create", &words);
    assert_eq!(ran.out, "kzdtybctfl608s05w25pul5j4\n");
    assert_eq!((ran.err.as_str(), ran.code), ("", 0));
    let health = r#","Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000}"#;
    let [complaint] = ran.complaints.as_slice() else {
        panic!("{:?}", ran.complaints)
    };
    let (sent, recorded) = complaint.split_once(", recorded ").unwrap();
    let sent = sent.split_once(": sent ").unwrap().1;
    assert_eq!(sent, recorded.replace(health, ""));
}

/// The client's own part and the engine's root directory label differ by design.
#[test]
fn info_and_version_show_the_server_as_recorded() {
    for (name, words) in [("info", &["info"]), ("version", &["version"])] {
        let ran = run(name, words);
        let (text, code) = golden(name);
        let server = |text: &str| text[text.find("Server:").unwrap()..].to_owned();
        let mask = |text: String| {
            text.lines()
                .map(|l| {
                    if l.starts_with(" Runtimes:") {
                        " Runtimes:"
                    } else {
                        l
                    }
                })
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(mask(server(&ran.out)), mask(server(&text)), "{name}");
        assert_eq!(ran.code, code);
        assert!(ran.out.starts_with("Client:\n Version:"), "{}", ran.out);
    }
}

/// Exit code and streams as the stock client has them.
#[test]
fn templates_that_are_none_have_an_exit_code_of_their_own() {
    for name in ["info", "version"] {
        let ran = run(name, &[name, "--format", "{{"]);
        assert_eq!((ran.out.as_str(), ran.code), ("", 64), "{name}");
        assert_eq!(
            ran.err,
            "template parsing error: template: :1: unclosed action\n"
        );
    }
}

/// What a recorded object leaves out, and what it spells differently, prints as the stock client prints it.
#[test]
fn templates_over_objects_know_gos_types() {
    for (name, kind, object, format, shown) in [
        (
            "node_inspect",
            "node",
            "self",
            "{{.Spec.Name}}|{{.Spec.Labels}}|{{.ManagerStatus.Leader}}",
            "|map[]|true\n",
        ),
        (
            "network_inspect",
            "network",
            "mynet",
            "{{.ID}} {{.Peers}} {{.Services}}",
            "qy5cb3z8vozw6fh8oraqcq99x [] map[]\n",
        ),
        (
            "service_inspect",
            "service",
            "web",
            "{{.Spec.TaskTemplate.ContainerSpec.Hostname}}|{{.Spec.TaskTemplate.ContainerSpec.TTY}}|{{json .UpdateStatus}}",
            "|false|null\n",
        ),
    ] {
        let ran = run(name, &[kind, "inspect", "--format", format, object]);
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str(), ran.code),
            (shown, "", 0),
            "{name}"
        );
    }
}

#[test]
fn formats_and_quiet_forms() {
    let out = |name: &str, words: &[&str]| run(name, words).out;
    assert_eq!(
        out(
            "service_ls",
            &["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]
        ),
        "web 2/2\n"
    );
    assert_eq!(
        out(
            "node_ls",
            &[
                "node",
                "ls",
                "--format",
                "{{.Hostname}}{{if .Self}} me{{end}}"
            ]
        ),
        "refnode2 me\nrefnode3\n"
    );
    assert_eq!(
        out(
            "service_inspect",
            &["service", "inspect", "-f", "{{json .Spec.Labels}}", "web"]
        ),
        "{\"l\":\"v\"}\n"
    );
    assert_eq!(
        out("network_ls", &["network", "ls", "-q"]).lines().next(),
        Some("b95adcb0253f")
    );
}

#[test]
fn a_missing_socket_is_named() {
    let (out, err) = (Shared::default(), Shared::default());
    let terminal = terminal(&out, &err, Timestamp::UNIX_EPOCH);
    let args = ["-H", "unix:///nonexistent/swarm.sock", "node", "ls"].map(str::to_owned);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(run_with(&args, None, terminal)), 1);
    assert_eq!(
        err.text(),
        "Cannot connect to the swarm agent at unix:///nonexistent/swarm.sock. \
         Is the swarm-agent running?\n"
    );
}
