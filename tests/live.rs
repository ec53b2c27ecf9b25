//! `--check --live`: what it says about a guest in which something does not work, with real TLS,
//! git and HTTP servers on this host, whose network the guest shares.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::{Certificate, Sandbox, certificate, tool, wait_for};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const CA: &str = "/usr/local/share/ca-certificates/claude-bottle-mitm.crt";
const TLS: &str = "server.example:443";
const REMOTE: &str = "ssh://git@host/repo.git";
/// The answer of an MCP server to `initialize`.
const MCP: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
    event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\
    {\"protocolVersion\":\"2025-03-26\",\"capabilities\":{},\"serverInfo\":{\"name\":\"s\"}}}\r\n\r\n";

/// A guest that is provisioned, and the servers that it needs.
struct World {
    sandbox: Sandbox,
    plan: Value,
    children: Vec<Child>,
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::with_guest();
        let mut plan = sandbox.set_up(BUILT);
        sandbox.add_claude();
        let ca = certificate(&Certificate::Ca);
        ca.write(&sandbox.path("ca.pem"));
        sandbox.write("ca.key", &ca.key);
        let mut world = Self {
            sandbox,
            plan: Value::Null,
            children: Vec::new(),
        };
        let proxy = proxy_to(world.tls_server("ca"));
        plan["egress_plan"]["routes"] = json!([{"host": "server.example"}, "*", {"host": "*.x"}]);
        plan["egress_plan"]["mitmproxy_ca_cert_only_host_path"] =
            plan["proxy_plan"]["ca_cert_host_path"].clone();
        plan["guest_env"] = json!({
            "HTTPS_PROXY": format!("http://127.0.0.1:{proxy}"),
            "NO_PROXY": "localhost,127.0.0.1",
            "NODE_EXTRA_CA_CERTS": CA,
            "SECRET": "s3cret",
        });
        plan["agent_git_gate_host"] = json!(format!("127.0.0.1:{}", world.git_server()));
        plan["agent_supervise_url"] = json!(url(answers(MCP)));
        world.plan = plan;
        world.save();
        let outcome = world.sandbox.sh("provision -q < plan.json");
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        world.sandbox.calls();
        world
    }

    fn save(&self) {
        self.sandbox.write("plan.json", self.plan.to_string());
    }

    /// Starts a server, and waits until it listens on `port`.
    fn start(&mut self, command: &mut Command, port: u16) {
        command.current_dir(self.sandbox.path(""));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_for("a server", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.children.push(child);
    }

    /// Starts a TLS server for `server.example`, whose certificate is issued by `ca`, a file on
    /// this host without its ending. Returns its port.
    fn tls_server(&mut self, ca: &str) -> u16 {
        let port = free_port();
        let leaf = leaf(&self.sandbox, ca);
        let mut server = tool("openssl");
        let address = format!("127.0.0.1:{port}");
        server.args(["s_server", "-quiet", "-accept", &address]);
        server.args(["-cert", &leaf, "-key", &leaf]);
        self.start(&mut server, port);
        port
    }

    /// Starts a gate with the plan's repository in it. Returns its port.
    fn git_server(&mut self) -> u16 {
        let outcome = self.sandbox.sh("git init -q --bare gate/claude-bottle.git");
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let port = free_port();
        // `git daemon` would start it in a process of its own, which a kill leaves behind.
        let directory = tool("git").arg("--exec-path").output().unwrap();
        let directory = String::from_utf8(directory.stdout).unwrap();
        let mut server = tool(&format!("{}/git-daemon", directory.trim()));
        server.args(["--reuseaddr", "--export-all", "--listen=127.0.0.1"]);
        let base = self.sandbox.path("gate");
        server.args([
            format!("--port={port}"),
            format!("--base-path={}", base.display()),
        ]);
        self.start(&mut server, port);
        port
    }

    /// Gives the differences that a step finds, and asserts that all of them are said.
    #[track_caller]
    fn found(&self, step: &str) -> Vec<[String; 4]> {
        self.found_with(step, "--live-timeout 2s")
    }

    #[track_caller]
    fn found_with(&self, step: &str, options: &str) -> Vec<[String; 4]> {
        self.save();
        let script = format!("bottle-{step} --check --live -q -o receipt {options} < plan.json");
        let outcome = self.sandbox.sh(&script);
        let differences: Vec<Value> =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        assert_eq!(outcome.status, if differences.is_empty() { 0 } else { 3 });
        assert_eq!(
            outcome.stderr.lines().count(),
            differences.len(),
            "{outcome:?}"
        );
        let part =
            |difference: &Value, key: &str| difference[key].as_str().unwrap_or("-").to_owned();
        let parts = |difference| ["what", "path", "plan", "guest"].map(|key| part(difference, key));
        differences.iter().map(parts).collect()
    }
}

/// Makes a file with a server's certificate, issued by `ca`, and its key. Returns its name.
fn leaf(sandbox: &Sandbox, ca: &str) -> String {
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
         -subj /CN=leaf -addext subjectAltName=DNS:server.example,DNS:localhost \
         -addext basicConstraints=CA:FALSE \
         -CA {ca}.pem -CAkey {ca}.key -keyout {ca}-leaf.pem -out {ca}-leaf.pem"
    );
    let outcome = sandbox.sh(&script);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    format!("{ca}-leaf.pem")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mcp")
}

/// Calls `serve` for every connection to a port, which it returns.
fn serve(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Reads what a client sends before it waits.
fn request(stream: &mut TcpStream) -> String {
    let mut request = vec![0; 4096];
    let length = stream.read(&mut request).unwrap_or(0);
    String::from_utf8_lossy(&request[..length]).into_owned()
}

/// A server that answers every request in the same way.
fn answers(text: &'static str) -> u16 {
    serve(move |mut stream| {
        request(&mut stream);
        let _ = stream.write_all(text.as_bytes());
    })
}

/// A server that never answers.
fn hangs() -> u16 {
    serve(|mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
    })
}

/// A git server over HTTP, which runs `git http-backend` for the repositories in `root`.
fn git_over_http(root: String) -> u16 {
    serve(move |mut stream| {
        let request = request(&mut stream);
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut backend = tool("git");
        backend.arg("http-backend").env("GIT_PROJECT_ROOT", &root);
        backend
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", "GET");
        backend.env("PATH_INFO", path).env("QUERY_STRING", query);
        let output = backend.output().unwrap().stdout;
        let head = String::from_utf8_lossy(&output);
        let status = head
            .strip_prefix("Status: ")
            .and_then(|head| head.lines().next());
        let _ = write!(stream, "HTTP/1.1 {}\r\n", status.unwrap_or("200 OK"));
        let _ = stream.write_all(&output);
    })
}

/// A proxy that leads every connection to the same port, as one that decrypts TLS does.
fn proxy_to(port: u16) -> u16 {
    proxy_with("", port)
}

/// Such a proxy, which wants to see `account` in the request.
fn proxy_with(account: &'static str, port: u16) -> u16 {
    serve(move |mut stream| {
        if !request(&mut stream).contains(account) {
            let _ = stream.write_all(b"HTTP/1.1 407 No\r\n\r\n");
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut client, mut to_server) =
            (stream.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut server, &mut stream);
    })
}

fn difference(what: &str, path: &str, plan: &str, guest: &str) -> [String; 4] {
    [what, path, plan, guest].map(str::to_owned)
}

#[test]
fn nothing_is_said_of_a_bottle_that_works_and_nothing_is_changed() {
    let world = World::new();
    let tree = world.sandbox.tree();
    let outcome = world.sandbox.sh("provision --check --live < plan.json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let expected = [
        "; TLS to server.example:443 goes through the proxy (_s)",
        "; node can read it (_s)",
        "; node can read them (_s)",
        "; the remote answers through the gate (_s)",
        "; it answers (_s)",
    ];
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, end) in lines.iter().zip(expected) {
        assert!(
            line.contains(": in place: ") && line.ends_with(end),
            "{line}"
        );
    }
    let checked: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let none = json!({"ca": [], "prompt": [], "skills": [], "git": [], "supervise": []});
    assert_eq!(checked["checks"], none);
    // Two calls of each step, and what a bare machine refuses. The environment is in none of them.
    let log = world.sandbox.log();
    assert!(
        !log.contains("s3cret") && !log.contains("HTTPS_PROXY"),
        "{log}"
    );
    assert_eq!(world.sandbox.calls().len(), 11);
    assert_eq!(world.sandbox.tree(), tree);
    assert_eq!(world.sandbox.staged(), [""; 0]);
}

#[test]
fn it_says_what_is_wrong_with_tls() {
    let mut world = World::new();
    let proxy = |port: u16| json!(format!("http://127.0.0.1:{port}/"));
    let one = |why: &str| {
        vec![difference(
            "live tls",
            TLS,
            "a connection that is verified",
            why,
        )]
    };
    for (port, why) in [
        (free_port(), "Connection refused"),
        (hangs(), "no answer in time"),
        (answers("HTTP/1.1 403 Forbidden\r\n\r\n"), "403 Forbidden"),
    ] {
        world.plan["guest_env"]["HTTPS_PROXY"] = proxy(port);
        assert_eq!(world.found("ca"), one(why));
    }

    // Credentials are decoded, and NO_PROXY has no case.
    let tls = world.tls_server("ca");
    let proxy_url = format!(
        "http://user:p%40ss@127.0.0.1:{}",
        proxy_with("dXNlcjpwQHNz", tls)
    );
    world.plan["guest_env"]["HTTPS_PROXY"] = json!(proxy_url);
    assert_eq!(world.found("ca"), [[""; 4]; 0]);
    let proxy_url = format!("http://user@127.0.0.1:{}", proxy_with("dXNlcjo=", tls));
    world.plan["guest_env"]["HTTPS_PROXY"] = json!(proxy_url);
    assert_eq!(world.found("ca"), [[""; 4]; 0]);
    world.plan["guest_env"]["NO_PROXY"] = json!("Server.Example");
    assert_eq!(world.found("ca")[0][1], TLS);
    world.plan["guest_env"]["NO_PROXY"] = json!("");
    world.plan["guest_env"]["HTTPS_PROXY"] = json!("socks5://127.0.0.1:1");
    world.save();
    let outcome = world.sandbox.sh("bottle-ca --check --live < plan.json");
    let why = "the proxy of the agent is not an HTTP proxy: it is not known what works";
    outcome.fails(1, &format!("bottle-ca: {why}\n"));

    // Another CA than ours.
    let other = certificate(&Certificate::Ca);
    world.sandbox.write("other.pem", &other.pem);
    world.sandbox.write("other.key", &other.key);
    let other_server = world.tls_server("other");
    world.plan["guest_env"]["HTTPS_PROXY"] = proxy(proxy_to(other_server));
    let why = "unable to get local issuer certificate";
    assert_eq!(
        world.found("ca"),
        one(&format!("{why}: it is not issued by our certificate"))
    );

    // One that the guest trusts, too: what happens where nothing leads to the proxy.
    world
        .sandbox
        .guest(&format!("echo '{}' >/tmp/other.pem", other.pem));
    world.plan["guest_env"]["SSL_CERT_FILE"] = json!("/tmp/other.pem");
    world.plan["guest_env"]
        .as_object_mut()
        .unwrap()
        .remove("NODE_EXTRA_CA_CERTS");
    let plan = "verified with our certificate alone";
    let why = format!("{why}: the connection does not go through the proxy");
    assert_eq!(
        world.found("ca")[0],
        difference("live proxy", TLS, plan, &why)
    );
    // The host of the option, which NO_PROXY excepts, is asked itself.
    let address = format!("127.0.0.1:{other_server}");
    let found = world.found_with("ca", &format!("--live-host {address}"));
    let is_mismatch =
        |found: &[String; 4]| found[1] == address && found[3] == "IP address mismatch";
    assert!(found.iter().any(is_mismatch), "{found:?}");
}

#[test]
fn it_says_which_variable_names_a_file_that_does_not_do() {
    let mut world = World::new();
    world.plan["guest_env"]["SSL_CERT_FILE"] = json!("/nowhere");
    let found = world.found("ca");
    let plan = "verified with /nowhere, which SSL_CERT_FILE names";
    let [what, path, expected, _] = &found[0];
    assert_eq!((&**what, &**path, &**expected), ("live tls", TLS, plan));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn it_says_what_is_wrong_with_git() {
    let mut world = World::new();
    let gate = world.plan["agent_git_gate_host"].clone();
    let remote = |why: &str| difference("live remote", REMOTE, "answers", why);
    for (port, why) in [
        (free_port(), "Connection refused"),
        (hangs(), "no answer in time"),
    ] {
        let host = format!("127.0.0.1:{port}");
        world.plan["agent_git_gate_host"] = json!(host);
        world.save();
        let outcome = world.sandbox.sh("bottle-git -q --only gate < plan.json");
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let found = world.found_with("git", "--only gate --live-timeout 1s");
        assert_eq!(found, [remote(why)]);
    }
    world.plan["agent_git_gate_host"] = gate.clone();
    world.save();
    let outcome = world.sandbox.sh("bottle-git -q < plan.json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    fs::rename(
        world.sandbox.path("gate/claude-bottle.git"),
        world.sandbox.path("gone"),
    )
    .unwrap();
    let [what, path, _, why] = &world.found("git")[0];
    assert_eq!((&**what, &**path), ("live remote", REMOTE));
    assert!(
        why.contains("access denied or repository not exported"),
        "{why}"
    );
    fs::rename(
        world.sandbox.path("gone"),
        world.sandbox.path("gate/claude-bottle.git"),
    )
    .unwrap();
    assert_eq!(world.found("git"), [[""; 4]; 0]);

    // git takes any web page for an empty repository.
    let page =
        answers("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok");
    world.plan["agent_git_gate_scheme"] = json!("http");
    world.plan["agent_git_gate_host"] = json!(format!("127.0.0.1:{page}"));
    world.save();
    let outcome = world.sandbox.sh("bottle-git -q --only gate < plan.json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let found = world.found_with("git", "--only gate");
    assert_eq!(found, [remote("the answer is not that of a git server")]);
    world.plan["agent_git_gate_scheme"] = json!("git");
    world.plan["agent_git_gate_host"] = gate.clone();

    // Without the rules, git would go to the forge. Without an identity it could not commit.
    world.sandbox.guest("echo >/home/node/.gitconfig");
    let found = world.found("git");
    let live: Vec<_> = found
        .iter()
        .filter(|found| found[0].starts_with("live "))
        .collect();
    let gate = format!("git://{}/claude-bottle.git", gate.as_str().unwrap());
    assert_eq!(live[0][0], "live identity");
    assert_eq!(live[1], &difference("live url", REMOTE, &gate, REMOTE));
    assert_eq!(live[2][0], "live remote");
}

#[test]
fn it_says_what_is_wrong_with_the_supervisor() {
    let mut world = World::new();
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>{}</p>";
    let no_answer = "which is no answer to MCP's initialize";
    for (port, why) in [
        (free_port(), "Connection refused".to_owned()),
        (hangs(), "no answer in time".to_owned()),
        (answers(""), "closed without an answer".to_owned()),
        (
            answers("HTTP/1.1 404 Not Found\r\n\r\n"),
            "404 Not Found".to_owned(),
        ),
        (answers(html), format!("text/html, {no_answer}")),
        (
            answers("HTTP/1.1 200 OK\r\n\r\n{"),
            format!("nothing, {no_answer}"),
        ),
        (answers("220 ftp\r\n"), "220 ftp".to_owned()),
    ] {
        let url = url(port);
        world.plan["agent_supervise_url"] = json!(url);
        let found = world.found("supervise");
        let expected = difference("live supervisor", &url, "an MCP server answers", &why);
        assert_eq!(found.last(), Some(&expected));
    }
    // The variables of the agent lead it to a proxy.
    let url = url(answers(MCP));
    world.plan["agent_supervise_url"] = json!(url);
    let forbidding = answers("HTTP/1.1 403 Forbidden\r\n\r\n");
    world.plan["guest_env"]["HTTP_PROXY"] = json!(format!("http://u:p@127.0.0.1:{forbidding}"));
    assert_eq!(world.found("supervise").len(), 1);
    world.plan["guest_env"]["NO_PROXY"] = json!("localhost");
    let why = "403 Forbidden, through the proxy, since NO_PROXY leaves 127.0.0.1 out";
    let expected = difference("live supervisor", &url, "an MCP server answers", why);
    assert_eq!(world.found("supervise").last(), Some(&expected));
}

#[test]
fn it_says_what_node_cannot_read_or_write() {
    let world = World::new();
    let prompt = "/home/node/.claude-bottle-prompt.txt";
    let skill = "/home/node/.claude/skills/verify";
    world.sandbox.guest(&format!(
        "chown root:root {prompt} /home/node; chmod 600 {skill}/SKILL.md; chown 0 {skill}/SKILL.md"
    ));
    let live = |step: &str| {
        let found = world.found(step);
        let live = found
            .into_iter()
            .filter(|found| found[0].starts_with("live "));
        live.map(|found| [found[0].clone(), found[1].clone()])
            .collect::<Vec<_>>()
    };
    let pair = |what: &str, path: &str| [what.to_owned(), path.to_owned()];
    let write = pair("live write", "/home/node");
    assert_eq!(live("prompt"), [write.clone(), pair("live read", prompt)]);
    assert_eq!(
        live("skills"),
        [write, pair("live read", &format!("{skill}/SKILL.md"))]
    );
}

/// The real servers: mitmproxy as the egress proxy, `git http-backend` as the gate, and an MCP
/// server of the official SDK as the supervisor.
#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_SERVERS, a directory with mitmproxy and the MCP SDK in it"]
fn it_understands_mitmproxy_git_and_the_mcp_sdk() {
    let servers = std::env::var("CLAUDE_BOTTLE_TEST_SERVERS").expect("CLAUDE_BOTTLE_TEST_SERVERS");
    let mut world = World::new();
    let mitmproxy = |world: &mut World, directory: &str| {
        let port = free_port();
        let mut proxy = Command::new(format!("{servers}/mitmproxy/bin/mitmdump"));
        proxy.args([
            "--listen-host",
            "127.0.0.1",
            "--ssl-insecure",
            "--listen-port",
        ]);
        let directory = world.sandbox.path(directory);
        proxy.args([
            port.to_string(),
            "--set".to_owned(),
            format!("confdir={}", directory.display()),
        ]);
        world.start(&mut proxy, port);
        (
            json!(format!("http://127.0.0.1:{port}")),
            directory.join("mitmproxy-ca-cert.pem"),
        )
    };
    let (proxy, ca) = mitmproxy(&mut world, "mitmproxy");
    let (other_proxy, _) = mitmproxy(&mut world, "other");
    let host = format!("localhost:{}", world.tls_server("ca"));
    world.plan["egress_plan"] = json!({
        "routes": [{"host": host}],
        "mitmproxy_ca_cert_only_host_path": ca.to_str().unwrap(),
    });
    world.plan["guest_env"]["HTTPS_PROXY"] = proxy;
    world.plan["guest_env"]["NO_PROXY"] = json!("127.0.0.1");
    let gate = git_over_http(world.sandbox.path("gate").display().to_string());
    world.plan["agent_git_gate_host"] = json!(format!("127.0.0.1:{gate}"));
    world.plan["agent_git_gate_scheme"] = json!("http");
    let mcp = free_port();
    let mut server = Command::new(format!("{servers}/mcp/bin/python"));
    server
        .arg(harness::repository().join("tests/servers/mcp_server.py"))
        .arg(mcp.to_string());
    world.start(&mut server, mcp);
    world.plan["agent_supervise_url"] = json!(url(mcp));
    world.save();
    let outcome = world.sandbox.sh("provision -q < plan.json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let outcome = world.sandbox.sh("provision --check --live -q < plan.json");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));

    // Each of them as it should not be.
    world.plan["guest_env"]["HTTPS_PROXY"] = other_proxy;
    let found = world.found("ca");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0][3].ends_with("it is not issued by our certificate"),
        "{found:?}"
    );
    fs::remove_dir_all(world.sandbox.path("gate")).unwrap();
    let found = world.found("git");
    assert!(found[0][3].contains("not found"), "{found:?}");
    world.plan["agent_supervise_url"] = json!(format!("http://127.0.0.1:{mcp}/"));
    let found = world.found("supervise");
    assert_eq!(found.last().unwrap()[3], "404 Not Found");
}

/// A real machine has a network of its own, so the servers run in the guest.
#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn it_works_with_the_real_smolvm() {
    let sandbox = Sandbox::with_real_guest();
    let mut plan = sandbox.set_up(BUILT);
    let ca = certificate(&Certificate::Ca);
    ca.write(&sandbox.path("ca.pem"));
    sandbox.write("ca.key", &ca.key);
    let pem = fs::read_to_string(sandbox.path(leaf(&sandbox, "ca"))).unwrap();
    let (tls, git, mcp) = (free_port(), free_port(), free_port());
    plan["agent_git_gate_host"] = json!(format!("127.0.0.1:{git}"));
    plan["agent_supervise_url"] = json!(url(mcp));
    plan["guest_env"] = json!({"NODE_EXTRA_CA_CERTS": CA, "SECRET": "s3cret"});
    sandbox.write("plan.json", plan.to_string());
    let outcome = sandbox.sh("provision -q < plan.json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let check = || {
        let options = format!("--check --live -q --live-host localhost:{tls}");
        sandbox.sh(&format!("provision {options} < plan.json"))
    };
    let outcome = check();
    assert_eq!(
        (outcome.status, outcome.stderr.lines().count()),
        (3, 3),
        "{outcome:?}"
    );

    let perl = "$s = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 5); \
        while ($c = $s->accept) { sysread $c, $b, 4096; print $c $ARGV[1]; close $c }";
    sandbox.guest(&format!(
        "rm -rf /tmp/live; mkdir -p /tmp/live/git; cd /tmp/live; cat >leaf.pem <<'END'\n{pem}END\n\
         git init -q --bare git/claude-bottle.git; exec </dev/null >/dev/null 2>&1\n\
         sleep 600 | openssl s_server -quiet -accept 127.0.0.1:{tls} -cert leaf.pem -key leaf.pem & \
         echo $! >>pids\n\
         git daemon --export-all --listen=127.0.0.1 --port={git} --base-path=/tmp/live/git & \
         echo $! >>pids\n\
         perl -MIO::Socket::INET -e '{perl}' 127.0.0.1:{mcp} '{MCP}' & echo $! >>pids\n\
         sleep 1"
    ));
    let outcome = check();
    sandbox.guest("kill $(cat /tmp/live/pids); rm -rf /tmp/live");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert!(!sandbox.log().contains("s3cret"));
}

/// A server in the agent's hands may say anything, at any length.
#[test]
fn what_a_hostile_server_says_is_cut_and_escaped() {
    let mut world = World::new();
    let flood = serve(|mut stream| {
        request(&mut stream);
        let said = "\u{1b}[2J\u{9b}\0\u{202e}x ".repeat(10_000);
        while stream.write_all(said.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let odd = answers("HTTP/1.1 403 \u{1b}]0;x\u{7}\u{9b}\r\n\r\n");
    for port in [flood, odd] {
        world.plan["agent_supervise_url"] = json!(url(port));
        world.plan["guest_env"]["HTTPS_PROXY"] = json!(format!("http://127.0.0.1:{port}"));
        world.save();
        for step in ["ca", "supervise"] {
            let options = "--check --live --live-timeout 1s -o receipt";
            let outcome = world
                .sandbox
                .sh(&format!("bottle-{step} {options} < plan.json"));
            assert_eq!(outcome.status, 3, "{outcome:?}");
            let printed = outcome.stdout + &outcome.stderr;
            let is_seen = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
            assert!(printed.chars().all(is_seen), "{printed}");
            assert!(printed.len() < 2000, "{printed}");
        }
    }
}

#[test]
fn live_needs_check() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    for (words, missing) in [
        ("--live", "--check"),
        ("--check --live-timeout 1s", "--live"),
    ] {
        let script = format!("bottle-ca {words} < plan.json");
        let outcome = sandbox.sh(&script);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{plan}");
        assert!(outcome.stderr.contains(missing), "{}", outcome.stderr);
    }
    assert!(sandbox.calls().is_empty());
}
