//! The network side of `serve`: HTTP/1.1 on one thread, with limits on what clients can use of the program.
//!
//! `/` and `/model` are answered here at once. `/generate` and `/onnx` go through a bounded queue to the thread that
//! owns the model; while the queue is full they are refused as "busy".

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::serve::connections::{Client, Connections};

/// Largest header of a request in bytes: browsers send less than 2 KiB.
const LARGEST_HEADER: usize = 16 << 10;
/// How long a connection may take to send the header of its first or next request. Browsers send it at once, and open a
/// new connection if an idle one was closed.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Largest body of a request in bytes: 20 classes of 20 drawings are some 2 MB.
const LARGEST_BODY: usize = 16 << 20;
/// How long the body may take: the largest needs 5 Mbit/s.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Most bytes of partly received bodies on all connections, which the program keeps in memory.
const LARGEST_BODIES: usize = 64 << 20;
/// Most open connections: a browser opens six, and each takes a file descriptor, of which a process often has 1,024.
const MOST_CONNECTIONS: usize = 64;
/// Pause before accepting again after the system had no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Seconds after which a client that was refused as "busy" may ask again: the model answers most requests within one.
const RETRY_SECONDS: &str = "1";

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the network thread needs to know.
pub(super) struct Site {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Answers `/`.
    pub(super) page: Content,
    /// Answers `/model`.
    pub(super) model: Content,
    /// To the thread that owns the model.
    pub(super) queue: mpsc::Sender<Job>,
}

/// What the model is asked for.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// `/generate`: the size of the CNN, and its answer about one picture.
    Generate,
    /// `/onnx`: the CNN as a file.
    Onnx,
}

/// A request that waits for the model.
pub(super) struct Job {
    pub(super) task: Task,
    /// The body of the request.
    pub(super) body: Vec<u8>,
    /// Closed if the client has closed its connection.
    pub(super) reply: oneshot::Sender<Result<Content, Refusal>>,
}

/// The body of an answer with its media type.
#[derive(Clone)]
pub(super) struct Content {
    bytes: Bytes,
    kind: &'static str,
}

impl Content {
    pub(super) fn html(text: &'static str) -> Content {
        Content {
            bytes: Bytes::from_static(text.as_bytes()),
            kind: "text/html; charset=utf-8",
        }
    }

    pub(super) fn json(value: &serde_json::Value) -> Content {
        Content {
            bytes: value.to_string().into(),
            kind: "application/json",
        }
    }

    pub(super) fn file(bytes: Vec<u8>) -> Content {
        Content {
            bytes: bytes.into(),
            kind: "application/octet-stream",
        }
    }
}

/// Why a request gets no result: the status of the response, and a message that the page shows.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

/// The network side, shared by all connections.
struct Server {
    site: Site,
    connections: Connections,
}

/// Serves until the program ends.
///
/// # Errors
/// If the event loop cannot be started. Nothing that a client does ends it.
pub(super) fn serve(listener: std::net::TcpListener, site: Site) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = Rc::new(Server {
            site,
            connections: Connections::default(),
        });
        loop {
            match listener.accept().await {
                Ok((stream, _)) => server.open(stream),
                // The client closed it already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No file descriptors or memory are left.
                Err(_) => {
                    server.connections.close_longest_waiting(|_| true);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Server {
    /// Serves a connection in its own task. If there are too many, the one that has kept the server waiting longest is
    /// closed first.
    fn open(self: &Rc<Self>, stream: TcpStream) {
        while self.connections.count() >= MOST_CONNECTIONS
            && self.connections.close_longest_waiting(|_| true)
        {}
        let client = Rc::new(Client {
            waiting_since: Cell::new(Some(Instant::now())),
            received: Cell::new(0),
        });
        let (server, served) = (Rc::clone(self), Rc::clone(&client));
        let service = service_fn(move |request| {
            let (server, client) = (Rc::clone(&server), Rc::clone(&served));
            async move { Ok::<_, Infallible>(server.answer(&client, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(LARGEST_HEADER)
            .serve_connection(TokioIo::new(stream), service);
        let task = spawn_local(async move {
            // An error concerns this client only: it closed the connection, was too slow, or did not send HTTP.
            let _ = connection.await;
        });
        self.connections.add(client, task);
    }

    async fn answer(
        &self,
        client: &Rc<Client>,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let deadline = Instant::now() + BODY_TIME;
        let (head, mut body) = request.into_parts();
        let result = self.route(client, &head, &mut body, deadline).await;
        client.waiting_since.set(Some(Instant::now()));
        client.received.set(0);
        if !body.is_end_stream() {
            // If a connection is closed while it holds unread bytes, the client may lose the answer.
            spawn_local(timeout_at(deadline, discard(body)));
        }
        response(result)
    }

    async fn route(
        &self,
        client: &Rc<Client>,
        head: &Parts,
        body: &mut Incoming,
        deadline: Instant,
    ) -> Result<Content, Refusal> {
        if body.size_hint().lower() > LARGEST_BODY as u64 {
            return Err(too_large());
        }
        let host = self.check_host(head)?;
        let task = match (&head.method, head.uri.path()) {
            (&Method::GET, "/") => return Ok(self.site.page.clone()),
            (&Method::GET, "/model") => return Ok(self.site.model.clone()),
            (&Method::POST, "/generate") => Task::Generate,
            (&Method::POST, "/onnx") => Task::Onnx,
            (method, path) => {
                let text = format!("{method} {path} does not exist");
                return Err(Refusal(StatusCode::NOT_FOUND, text));
            }
        };
        self.check_origin(head, host)?;
        check_json(head)?;
        let body = self.read(client, body, deadline).await?;
        self.ask(client, task, body).await
    }

    /// Returns the value of `Host`, which must name this machine. Otherwise the page of another site, whose name is
    /// made to resolve to 127.0.0.1 ("DNS rebinding"), would have the same origin as this server. Any port is accepted,
    /// because an SSH tunnel may change it.
    fn check_host<'a>(&self, head: &'a Parts) -> Result<&'a str, Refusal> {
        let mut values = head.headers.get_all(HOST).iter();
        let host = match (values.next(), values.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => "",
        };
        let is_local = |authority: &Authority| {
            let known = ["localhost", "127.0.0.1", "[::1]"];
            known
                .iter()
                .any(|name| authority.host().eq_ignore_ascii_case(name))
        };
        let named = host.parse().is_ok_and(|authority| is_local(&authority));
        if named && head.uri.authority().is_none_or(is_local) {
            return Ok(host);
        }
        let text = format!(
            "Host is not this machine: open http://{}",
            self.site.address
        );
        Err(Refusal(StatusCode::FORBIDDEN, text))
    }

    /// Refuses what a browser sends for the page of another site. Programs such as curl send neither header.
    fn check_origin(&self, head: &Parts, host: &str) -> Result<(), Refusal> {
        let value = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        let own = format!("http://{host}");
        let same_origin = value(&ORIGIN)
            .is_none_or(|origin| origin.eq_ignore_ascii_case(own.as_bytes()))
            && value(&FETCH_SITE).is_none_or(|site| site == b"same-origin");
        if same_origin {
            return Ok(());
        }
        let text = format!(
            "requests from pages of other sites are refused: open http://{}",
            self.site.address
        );
        Err(Refusal(StatusCode::FORBIDDEN, text))
    }

    async fn read(
        &self,
        client: &Rc<Client>,
        body: &mut Incoming,
        deadline: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
                let seconds = BODY_TIME.as_secs();
                let text = format!("the request took more than {seconds} seconds: send it again");
                Refusal(StatusCode::REQUEST_TIMEOUT, text)
            })?;
            let Some(frame) = frame else {
                return Ok(bytes);
            };
            let frame = frame.map_err(|error| {
                let text = format!("the request broke off ({error})");
                Refusal(StatusCode::BAD_REQUEST, text)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > LARGEST_BODY {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
            client.received.set(bytes.len());
            let other = |other: &Rc<Client>| other.received.get() > 0 && !Rc::ptr_eq(other, client);
            while self.connections.received() > LARGEST_BODIES
                && self.connections.close_longest_waiting(other)
            {}
        }
    }

    async fn ask(&self, client: &Client, task: Task, body: Vec<u8>) -> Result<Content, Refusal> {
        let stopped = || {
            let text = "the model stopped: start the program again".to_owned();
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, text)
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { task, body, reply };
        self.site.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                let text = format!(
                    "busy: {} requests wait for the model; try again in {RETRY_SECONDS} s",
                    self.site.queue.max_capacity()
                );
                Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            TrySendError::Closed(_) => stopped(),
        })?;
        client.waiting_since.set(None);
        client.received.set(0);
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// Without this, a form on another site could post: browsers send JSON across sites only after asking the server.
fn check_json(head: &Parts) -> Result<(), Refusal> {
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.map_or("", |kind| kind.to_str().unwrap_or_default());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = format!("Content-Type is `{kind}`, expected `application/json`");
    Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

/// Reads a body to its end without keeping it.
async fn discard(body: Incoming) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_large() -> Refusal {
    let text = format!("more than {LARGEST_BODY} bytes of pictures: draw fewer");
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn response(result: Result<Content, Refusal>) -> Response<Full<Bytes>> {
    let (status, content) = match result {
        Ok(content) => (StatusCode::OK, content),
        Err(Refusal(status, text)) => (status, Content::json(&json!({ "error": text }))),
    };
    let mut response = Response::new(Full::new(content.bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Whatever a class is called, the page runs only its own script.
    let policy = HeaderValue::from_static("default-src 'self' 'unsafe-inline' data:");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    response
}
