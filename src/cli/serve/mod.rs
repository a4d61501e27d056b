//! `serve`: a local web page where classes are drawn and the CNN is written while they are.
//!
//! Two threads: one (`http`) talks to clients and never waits for the model. The main thread owns the model, because
//! its tensors have to stay on one thread, and answers requests in turn from a bounded queue.
mod answer;
mod connections;
mod http;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, anyhow};
use clap::Args;
use hypertransformer::report::console::{say, tell};
use tokio::sync::mpsc;

use crate::cli::open::writer::{INCLUDED_MODEL, OpenedWriter, WriterArguments};
use crate::cli::serve::answer::Answers;
use crate::cli::serve::http::{Content, Site};

/// The page, which loads nothing from elsewhere.
const PAGE: &str = include_str!("../serve.html");

/// Most requests that wait for the model. It answers a usual request within milliseconds and the largest within about a
/// second: a client that would wait for more than eight of those had better learn that the model is busy.
const LONGEST_QUEUE: usize = 8;

#[derive(Args)]
pub(super) struct ServeArguments {
    /// The run folder, or a bundle
    #[arg(default_value = INCLUDED_MODEL)]
    run: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8017)]
    port: u16,
    #[command(flatten)]
    writer: WriterArguments,
}

pub(super) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    let opened = OpenedWriter::open(&arguments.run, &arguments.writer)?;
    let answers = Answers::new(&opened);
    let port = arguments.port;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!(
            "could not listen on 127.0.0.1:{port}\nhint: if another program uses this port, name another with --port"
        )
    })?;
    let address = listener.local_addr()?;
    let (queue, jobs) = mpsc::channel(LONGEST_QUEUE);
    let site = Site {
        address,
        page: Content::html(PAGE),
        model: answers.model(),
        queue,
    };
    let network = thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || http::serve(listener, site))?;
    tell(format!("http://{address}"))?;
    say("open it in a browser; stop with Ctrl-C");
    answers.serve(jobs);
    // There are no more jobs only if the other thread ended, which it never does by itself.
    match network.join() {
        Ok(Err(error)) => Err(error).context("the web server failed"),
        Ok(Ok(never)) => match never {},
        Err(_) => Err(anyhow!("the web server stopped")),
    }
}
