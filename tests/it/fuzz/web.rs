//! The web server on changed requests: it answers the next one whatever the last was.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::hypertransformer_process;
use crate::fuzz::mutations::mutated;
use crate::fuzz::{MOST_MEMORY, corpus, peak_of};

/// How long a client listens. A changed request may be one that the server still waits for the rest of.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long a client waits for the answer to a whole request.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_server_stands_changed_requests() {
    assert_eq!(ask(1, 60), 60);
}

/// Sends changed requests to a server and whole ones between them; returns their number.
///
/// # Panics
/// If the server ends, does not answer, reports a fault or takes much memory.
pub(super) fn ask(first: u64, count: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let messages = folder.path().join("messages");
    let mut server = Server::start(File::create(&messages).unwrap());
    let inputs = corpus::inputs("http");
    let before = peak_of(&server.program.id().to_string());
    for seed in first..first + count {
        send(&server.address, &mutated(&inputs, seed), PATIENCE);
        if seed % 20 == 0 {
            let answer = send(&server.address, &inputs[0], LONG);
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "seed {seed}: {answer:?}"
            );
        }
        let ended = server.program.try_wait().unwrap();
        assert!(ended.is_none(), "seed {seed}: the server ended: {ended:?}");
        let peak = peak_of(&server.program.id().to_string());
        assert!(peak <= before + MOST_MEMORY, "seed {seed}: {peak} bytes");
    }
    let messages = std::fs::read_to_string(messages).unwrap();
    assert!(!messages.contains("fault"), "{messages}");
    count
}

/// Sends bytes and returns the beginning of what comes back.
fn send(address: &str, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    // The server may refuse a request before it has all of it.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

struct Server {
    program: Child,
    address: String,
}

impl Server {
    fn start(messages: File) -> Server {
        let mut program = hypertransformer_process()
            .args(["serve", "--port", "0", "--threads", "1"])
            .stdout(Stdio::piped())
            .stderr(messages)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Server { program, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
