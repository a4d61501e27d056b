//! `serve`, over plain TCP: what it answers, and what it withstands.

use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{GrayImage, ImageFormat, Luma};
use serde_json::json;

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program serving the model in the box.
struct Server {
    program: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        Server::start_by(&mut Command::new(binary()))
    }

    /// With at most `limit` open files.
    fn start_with_few_files(limit: usize) -> Server {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        Server::start_by(Command::new("sh").arg("-c").arg(script).arg(binary()))
    }

    fn start_by(command: &mut Command) -> Server {
        let mut program = command
            .args(["serve", "--port", "0", "--threads", "1"])
            .current_dir(crate::common::repository(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Server { program, address }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut client = self.connect();
        client.send(request);
        client.response()
    }

    fn assert_answers(&self) {
        assert_eq!(self.ask(get("/model")).status, 200);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

struct Client(BufReader<TcpStream>);

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    fn response(&mut self) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).unwrap();
            assert!(read > 0, "the connection ended after {head:?}");
        }
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Response {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Waits for the end of the connection.
    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn has_response(&self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).unwrap();
        let found = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        found
    }
}

fn binary() -> std::path::PathBuf {
    assert_cmd::cargo::cargo_bin("hypertransformer")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    post_with(path, "Content-Type: application/json", body)
}

fn post_with(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:1\r\n{headers}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A grey picture with a dark line, as PNG.
fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = GrayImage::from_fn(width, height, |x, _| Luma([255 * u8::from(x != width / 2)]));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Two classes of one picture each.
fn drawings(pictures: [&[u8]; 2]) -> String {
    let [first, second] = pictures.map(|picture| BASE64.encode(picture));
    json!({ "classes": [
        { "name": "a", "pictures": [first] },
        { "name": "b", "pictures": [second] },
    ]})
    .to_string()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let body = drawings([&png(20, 20), &png(20, 30)]);
    let mut client = server.connect();
    let requests = [
        post("/generate", &body),
        get("/model"),
        get("/"),
        get("/nowhere"),
        post("/onnx", &body),
        get("/model"),
    ];
    client.send(requests.concat());
    let answers = requests.map(|_| client.response());
    assert_eq!(
        answers.each_ref().map(|answer| answer.status),
        [200, 200, 200, 404, 200, 200]
    );
    for (answer, expected) in
        answers
            .iter()
            .zip(["parameters", "way", "<!DOCTYPE", "/nowhere", "", "way"])
    {
        assert!(answer.body.contains(expected), "{}", answer.body);
    }
}

#[test]
fn only_names_of_this_machine_are_answered() {
    let server = Server::start();
    let model = |headers: &str| server.ask(format!("GET /model HTTP/1.1\r\n{headers}\r\n"));
    let address = &server.address;
    for host in [
        address,
        "localhost",
        "LocalHost:9000",
        "127.0.0.1",
        "[::1]:8017",
    ] {
        assert_eq!(model(&format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for headers in [
        "",
        "Host:\r\n",
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: localhost@evil.example\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
    ] {
        let answer = model(headers);
        assert_eq!(answer.status, 403, "{headers}");
        assert!(
            answer.body.contains(&format!("open http://{address}")),
            "{}",
            answer.body
        );
    }
    let absolute = "GET http://evil.example/model HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(server.ask(absolute).status, 403);
}

#[test]
fn pages_of_other_sites_cannot_post() {
    let server = Server::start();
    let ask = |headers: &str| server.ask(post_with("/generate", headers, "{}"));
    let json = "Content-Type: application/json; charset=utf-8";
    for (headers, status, expected) in [
        (json.to_owned(), 400, "not what the page sends"),
        (
            format!("{json}\r\nOrigin: http://localhost:1\r\nSec-Fetch-Site: same-origin"),
            400,
            "not what the page sends",
        ),
        (
            format!("{json}\r\nOrigin: http://evil.example"),
            403,
            "other sites",
        ),
        (
            format!("{json}\r\nOrigin: http://localhost:2"),
            403,
            "other sites",
        ),
        (format!("{json}\r\nOrigin: null"), 403, "other sites"),
        (
            format!("{json}\r\nSec-Fetch-Site: cross-site"),
            403,
            "other sites",
        ),
        (
            "Content-Type: text/plain".to_owned(),
            415,
            "expected `application/json`",
        ),
        ("Accept: */*".to_owned(), 415, "expected `application/json`"),
    ] {
        let answer = ask(&headers);
        assert_eq!(answer.status, status, "{headers}");
        assert!(answer.body.contains(expected), "{}", answer.body);
    }
}

#[test]
fn a_large_header_is_refused() {
    let server = Server::start();
    let header = |bytes: usize| {
        let value = "a".repeat(bytes);
        format!("GET /model HTTP/1.1\r\nHost: localhost\r\nX-Long: {value}\r\n\r\n")
    };
    assert_eq!(server.ask(header(10_000)).status, 200);
    assert_eq!(server.ask(header(17_000)).status, 431);
    // A header without end: the server takes no more of it than it allows.
    let mut endless = server.connect();
    let stream = endless.0.get_mut();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        .unwrap();
    let sent = (0..1000).take_while(|_| stream.write_all(&[b'a'; 1 << 20]).is_ok());
    assert!(sent.count() < 100);
    server.assert_answers();
}

#[test]
fn a_large_body_is_refused_on_every_path() {
    let server = Server::start();
    for (length, status) in [(1 << 25, 413), (1 << 46, 413), (u64::MAX, 431)] {
        for path in ["GET /", "GET /model", "POST /generate", "POST /nowhere"] {
            let request =
                format!("{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(server.ask(request).status, status, "{path} {length}");
        }
    }
    // A body that is really sent, with or without its length, is read to its end so that the answer arrives.
    let body = " ".repeat((16 << 20) + 1);
    let answer = server.ask(post("/generate", &body));
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("draw fewer"), "{}", answer.body);
    let chunked = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(server.ask(chunked).status, 413);
    server.assert_answers();
}

#[test]
fn idle_and_slow_connections_keep_nobody_else_waiting() {
    let server = Server::start();
    let mut incomplete = ["", "GET /model HT", "GET /model HTTP/1.1\r\nHost: local"]
        .map(str::to_owned)
        .to_vec();
    incomplete.push(post("/generate", "{}").replace("Length: 2", "Length: 100"));
    let mut clients = Vec::new();
    for request in incomplete.iter().cycle().take(100) {
        let mut client = server.connect();
        client.send(request);
        clients.push(client);
    }
    server.assert_answers();
    let answer = server.ask(post("/generate", &drawings([&png(20, 20), &png(20, 30)])));
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The first connection was closed to make room.
    assert!(clients[0].is_closed());
}

#[test]
fn a_connection_that_sends_nothing_is_closed_after_a_while() {
    let server = Server::start();
    let silent = server.connect();
    let mut slow = server.connect();
    slow.send("GET /model HTTP/1.1\r\nHost: local");
    let mut kept = server.connect();
    kept.send(get("/model"));
    assert_eq!(kept.response().status, 200);
    for mut client in [silent, slow, kept] {
        assert!(client.is_closed());
    }
}

#[test]
fn a_lack_of_file_descriptors_is_survived() {
    let server = Server::start_with_few_files(30);
    let idle: Vec<_> = (0..100).map(|_| server.connect()).collect();
    server.assert_answers();
    drop(idle);
    server.assert_answers();
}

#[test]
fn huge_pictures_are_refused_before_they_are_decoded() {
    let server = Server::start();
    let small = png(20, 20);
    // A file of a few bytes whose header promises 16384×16384 pixels.
    let mut forged = png(4, 4);
    forged[16..24].copy_from_slice(&[0, 0, 64, 0, 0, 0, 64, 0]);
    let mut checksum = flate2::Crc::new();
    checksum.update(&forged[12..29]);
    forged[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
    for (picture, size) in [
        (forged, "16384×16384"),
        // Small, but it would be padded to a square.
        (png(10_000, 4), "10000×4"),
    ] {
        let answer = server.ask(post("/generate", &drawings([&small, &picture])));
        assert_eq!(answer.status, 400);
        let expected = format!("b, picture 1 is {size}");
        assert!(answer.body.contains(&expected), "{}", answer.body);
    }
    let several = png(3000, 4);
    let answer = server.ask(post("/generate", &drawings([&several, &several])));
    assert!(
        answer.body.contains("b, picture 1 is 3000×4"),
        "{}",
        answer.body
    );
}

#[test]
fn while_the_model_is_busy_requests_are_refused_and_the_page_is_served() {
    let server = Server::start();
    let large = png(2800, 2800);
    let request = post("/generate", &drawings([&large, &large]));
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&request);
    }
    server.assert_answers();
    assert!(
        !clients.iter().all(Client::has_response),
        "the model was busy for too short a time"
    );
    let answers: Vec<_> = clients.iter_mut().map(Client::response).collect();
    let busy: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 503)
        .collect();
    for answer in &busy {
        assert!(
            answer.head.contains("\r\nretry-after: 1\r\n"),
            "{}",
            answer.head
        );
        assert!(answer.body.contains("busy"), "{}", answer.body);
    }
    assert!(!busy.is_empty());
    let written = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(written >= 8, "{written} answers");
    assert_eq!(written + busy.len(), answers.len());
}
