//! `serve`, asked by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program serving the model in the box.
struct Served {
    program: Child,
    address: String,
}

impl Served {
    fn start() -> Served {
        let mut program = Command::new(assert_cmd::cargo::cargo_bin("hypertransformer"))
            .args(["serve", "--port", "0", "--threads", "1"])
            .current_dir(crate::common::repository(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut told = BufReader::new(program.stdout.take().unwrap());
        told.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Served { program, address }
    }

    /// What is answered, up to `end`.
    fn ask(&self, request: &str, end: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(end.as_bytes()) {
            stream.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} after {}", String::from_utf8_lossy(&answer))
            });
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn a_huge_announced_length_is_refused_on_every_path_and_ends_nothing() {
    let served = Served::start();
    for length in [(1 << 30) + 1, 1 << 46, u64::MAX] {
        for path in ["GET /", "GET /model", "POST /generate", "POST /nowhere"] {
            let request = format!("{path} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            let answer = served.ask(&request, "draw fewer\"}");
            assert!(answer.contains("HTTP/1.1 413 "), "{answer}");
        }
    }
    let answer = served.ask("GET /model HTTP/1.1\r\n\r\n", "}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn who_sends_slowly_keeps_nobody_else_waiting() {
    let served = Served::start();
    let mut slow = TcpStream::connect(&served.address).unwrap();
    slow.write_all(b"POST /generate HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    // Long enough for that request to come first.
    std::thread::sleep(Duration::from_millis(300));
    let answer = served.ask("GET /model HTTP/1.1\r\n\r\n", "}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
