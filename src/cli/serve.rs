//! `serve`: a page on this machine where classes are drawn and the CNN is written as they are.
use std::io::{Cursor, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use hypertransformer::export::model_file::onnx_bytes;
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::model::hypertransformer::Views;
use hypertransformer::pictures::labelled::{LabelledPicture, LabelledPictures};
use serde::Deserialize;
use serde_json::json;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::cli::open::writer::{IN_THE_BOX, OpenedWriter, WriterArguments};

/// The page, which loads nothing from elsewhere.
const PAGE: &str = include_str!("serve.html");

/// Largest request in bytes: 20 classes of 20 drawings are some 2 MB.
const LARGEST_BODY: u64 = 16 << 20;
/// Bytes of a body that nobody reads to the end: memory for them is taken when the request is dropped.
const LARGEST_DROPPED: u64 = 1 << 30;
/// Most pictures of a request.
const MOST_PICTURES: usize = 400;
/// Longest name of a class.
const LONGEST_NAME: usize = 100;

#[derive(Args)]
pub(super) struct ServeArguments {
    /// The run folder, or a bundle
    #[arg(default_value = IN_THE_BOX)]
    run: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8017)]
    port: u16,
    #[command(flatten)]
    writer: WriterArguments,
}

/// What the page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    classes: Vec<DrawnClass>,
    /// A picture to be classified, in base64.
    #[serde(default)]
    question: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawnClass {
    name: String,
    /// Picture files in base64.
    pictures: Vec<String>,
}

/// Status and what to tell.
struct Refusal(u16, String);

type Answer = Result<Response<Cursor<Vec<u8>>>, Refusal>;

pub(super) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    let opened = OpenedWriter::open(&arguments.run, &arguments.writer)?;
    let views = opened.writer.views(&opened.phi, &opened.buffers);
    let address = ("127.0.0.1", arguments.port);
    let server = Server::http(address)
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| {
            format!(
                "could not listen on 127.0.0.1:{}: is another program there? name another port with --port",
                arguments.port
            )
        })?;
    println!("http://{}", server.server_addr());
    eprintln!("open it in a browser; stop with Ctrl-C");
    let (sender, received) = channel();
    thread::spawn(move || receive(&server, &sender));
    for (request, body) in received {
        let answer = match (request.method(), request.url()) {
            (Method::Get, "/") => Ok(response(
                PAGE.as_bytes().to_vec(),
                "text/html; charset=utf-8",
            )),
            (Method::Get, "/model") => Ok(model(&opened)),
            (Method::Post, "/generate") => generate(&body, &opened, &views),
            (Method::Post, "/onnx") => onnx(&body, &opened, &views),
            (_, path) => Err(Refusal(404, format!("{path} is not here"))),
        };
        let answer = answer.unwrap_or_else(refused);
        // Who asked may be gone by now.
        let _ = request.respond(answer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Passes on each request with its body, read in a thread of its own: who sends slowly keeps nobody else waiting.
fn receive(server: &Server, sender: &Sender<(Request, Vec<u8>)>) {
    for mut request in server.incoming_requests() {
        let sender = sender.clone();
        let work = move || {
            let announced = request.body_length().unwrap_or(0) as u64;
            if announced > LARGEST_DROPPED {
                return refuse_unread(request);
            }
            // Nobody takes either where somebody is about to end.
            match read_body(&mut request) {
                Ok(body) => drop(sender.send((request, body))),
                // What is left to be sent is waited for here.
                Err(refusal) => drop(request.respond(refused(refusal))),
            }
        };
        // Where no more threads are to be had the connection closes.
        let _ = thread::Builder::new().spawn(work);
    }
}

fn read_body(request: &mut Request) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    request
        .as_reader()
        .take(LARGEST_BODY + 1)
        .read_to_end(&mut body)
        .map_err(|error| Refusal(400, format!("the request broke off ({error})")))?;
    match body.len() as u64 > LARGEST_BODY {
        true => Err(too_large()),
        false => Ok(body),
    }
}

/// Answers 413 and keeps the body's reader for good: dropped, it would allocate as many bytes as the request announced,
/// and the program ends where there is no such memory. What stays is one connection.
fn refuse_unread(request: Request) {
    let version = request.http_version().clone();
    // Only `upgrade` gives the reader away, and it sends no body: an interim response needs none.
    let mut stream = request.upgrade("HTTP/1.1", Response::empty(100));
    // Who asked may be gone by now.
    let _ = refused(too_large())
        .raw_print(&mut stream, version, &[], false, None)
        .and_then(|()| stream.flush());
    std::mem::forget(stream);
}

fn too_large() -> Refusal {
    let text = format!("more than {LARGEST_BODY} bytes of pictures: draw fewer");
    Refusal(413, text)
}

fn refused(Refusal(status, text): Refusal) -> Response<Cursor<Vec<u8>>> {
    let body = json!({ "error": text }).to_string().into_bytes();
    response(body, "application/json").with_status_code(status)
}

fn response(body: Vec<u8>, kind: &str) -> Response<Cursor<Vec<u8>>> {
    let header = |name: &str, value: &str| {
        Header::from_bytes(name.as_bytes(), value.as_bytes()).expect("the header is in ASCII")
    };
    Response::from_data(body)
        .with_header(header("Content-Type", kind))
        .with_header(header("Cache-Control", "no-store"))
        // Whatever a class is called, the page runs its own script only.
        .with_header(header(
            "Content-Security-Policy",
            "default-src 'self' 'unsafe-inline' data:",
        ))
}

fn model(opened: &OpenedWriter) -> Response<Cursor<Vec<u8>>> {
    let preparation = opened.writer.preparation();
    let body = json!({
        "way": opened.writer.way(),
        "ink": preparation.ink,
        "height": preparation.height,
        "width": preparation.width,
    });
    response(body.to_string().into_bytes(), "application/json")
}

/// Writes the CNN and, if a picture is asked about, classifies it.
fn generate(body: &[u8], opened: &OpenedWriter, views: &Views) -> Answer {
    let (drawn, support) = read(body, opened)?;
    let start = Instant::now();
    let cnn = write(opened, views, &support)?;
    let milliseconds = 1000.0 * start.elapsed().as_secs_f64();
    let answer = match &drawn.question {
        None => None,
        Some(question) => {
            let pixels = picture(question, opened, "the picture to be classified")?;
            let probabilities = cnn.probabilities(&pixels);
            Some(cnn.labels.iter().zip(probabilities).collect::<Vec<_>>())
        }
    };
    let cost = cnn.cost().map_err(|problem| Refusal(500, problem))?;
    let body = json!({
        "milliseconds": milliseconds,
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "answer": answer,
    });
    Ok(response(body.to_string().into_bytes(), "application/json"))
}

fn onnx(body: &[u8], opened: &OpenedWriter, views: &Views) -> Answer {
    let (_, support) = read(body, opened)?;
    let cnn = write(opened, views, &support)?;
    Ok(response(onnx_bytes(&cnn), "application/octet-stream"))
}

fn write(
    opened: &OpenedWriter,
    views: &Views,
    support: &LabelledPictures,
) -> Result<StandaloneCnn, Refusal> {
    let cnn = opened.writer.write(views, support, &[]);
    cnn.map_err(|error| Refusal(400, error.to_string()))
}

fn read(body: &[u8], opened: &OpenedWriter) -> Result<(Drawn, LabelledPictures), Refusal> {
    let refuse = |text: String| Refusal(400, text);
    let drawn: Drawn = serde_json::from_slice(body)
        .map_err(|error| refuse(format!("not what the page sends ({error})")))?;
    let count: usize = drawn.classes.iter().map(|class| class.pictures.len()).sum();
    if count > MOST_PICTURES {
        return Err(refuse(format!(
            "{count} pictures, expected at most {MOST_PICTURES}"
        )));
    }
    if drawn.classes.len() < 2 {
        return Err(refuse("draw at least two classes".to_owned()));
    }
    let mut support = LabelledPictures {
        classes: Vec::new(),
        pictures: Vec::new(),
    };
    for (class, DrawnClass { name, pictures }) in drawn.classes.iter().enumerate() {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(refuse(format!(
                "class {}: expected a name of 1 to {LONGEST_NAME} letters",
                class + 1
            )));
        }
        if support.classes.iter().any(|known| known == name) {
            return Err(refuse(format!("two classes are called `{name}`")));
        }
        if pictures.is_empty() {
            return Err(refuse(format!("class `{name}` has no picture")));
        }
        for (index, content) in pictures.iter().enumerate() {
            let name = format!("{name}, picture {}", index + 1);
            support.pictures.push(LabelledPicture {
                pixels: picture(content, opened, &name)?,
                file: name.into(),
                class,
            });
        }
        support.classes.push(name.to_owned());
    }
    Ok((drawn, support))
}

/// A prepared picture from a file in base64.
fn picture(content: &str, opened: &OpenedWriter, name: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = BASE64
        .decode(content)
        .map_err(|error| Refusal(400, format!("{name} is not in base64 ({error})")))?;
    let prepared = opened.writer.preparation().bytes(&bytes, name);
    prepared.map_err(|error| Refusal(400, error.to_string()))
}
