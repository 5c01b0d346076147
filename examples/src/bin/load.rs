//! The load generator's binary: flags in, a report out, exit code 1 if anything failed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use examples::ended;
use examples::load::{Amount, Plan, Protocol, ShareBy, run};
use http::{HeaderName, HeaderValue, Method};

/// Bounded load over HTTP/1.1 or cleartext HTTP/2, without retries.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Args {
    /// Where to connect. A name is looked up once, at the start.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// The Host header or :authority; what --to says if left out.
    #[arg(long)]
    host: Option<String>,
    /// Path and query.
    #[arg(long, default_value = "/")]
    path: String,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// A header, as "name: value". May be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of every request.
    #[arg(long, default_value = "")]
    body: String,
    /// How many requests.
    #[arg(short = 'n', long, default_value_t = 1000, conflicts_with = "seconds")]
    requests: u64,
    /// How many seconds, instead of a number of requests.
    #[arg(long)]
    seconds: Option<f64>,
    /// Requests per second over all connections; as fast as answers come if left out.
    #[arg(long)]
    rate: Option<f64>,
    /// Connections at once.
    #[arg(short = 'c', long, default_value_t = 8)]
    connections: usize,
    /// Speak HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
    /// Streams at once on each HTTP/2 connection.
    #[arg(short = 's', long, default_value_t = 8)]
    streams: usize,
    /// Count shares by this response header.
    #[arg(long, value_name = "NAME", conflicts_with = "share_field")]
    share_header: Option<HeaderName>,
    /// Count shares by this JSON pointer into the body, as /next/version.
    #[arg(long, value_name = "POINTER")]
    share_field: Option<String>,
    /// A header that gets the number of each request.
    #[arg(long, value_name = "NAME")]
    number_header: Option<HeaderName>,
    /// The only status that counts as success; any below 400 if left out.
    #[arg(long)]
    expect_status: Option<u16>,
    /// Seconds one request may take.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
    /// How to print the report.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = text
        .split_once(':')
        .with_context(|| format!("{text:?} is not NAME: VALUE"))?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

fn seconds(value: f64, flag: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value).with_context(|| format!("--{flag} {value}"))
}

async fn look_up(to: &str) -> anyhow::Result<SocketAddr> {
    let what = || format!("--to {to}: expected HOST:PORT with a name that can be looked up");
    let mut found = tokio::net::lookup_host(to).await.with_context(what)?;
    found.next().with_context(what)
}

impl Args {
    async fn plan(self) -> anyhow::Result<Plan> {
        let address = look_up(&self.to).await?;
        let authority = self.host.unwrap_or(self.to);
        let mut plan = Plan::new(address, authority, self.path);
        plan.method = self.method;
        for (name, value) in self.headers {
            plan.headers.append(name, value);
        }
        plan.body = self.body.into();
        plan.amount = match self.seconds {
            Some(value) => Amount::For(seconds(value, "seconds")?),
            None => Amount::Requests(self.requests),
        };
        plan.rate = self.rate;
        plan.connections = self.connections;
        plan.streams = self.streams;
        plan.protocol = if self.http2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        plan.share_by = match (self.share_header, self.share_field) {
            (Some(name), _) => Some(ShareBy::Header(name)),
            (None, Some(pointer)) => Some(ShareBy::JsonField(pointer)),
            (None, None) => None,
        };
        plan.number_header = self.number_header;
        plan.expect_status = self.expect_status;
        plan.timeout = seconds(self.timeout, "timeout")?;
        Ok(plan)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(measure(Args::parse()).await)
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let output = args.output;
    let report = run(args.plan().await?).await;
    let mut stdout = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(stdout, "{report}")?,
        Output::Json => writeln!(
            stdout,
            "{}",
            serde_json::to_string_pretty(&report.to_json())?
        )?,
    }
    Ok(if report.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
