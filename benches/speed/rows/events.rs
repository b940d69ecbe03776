//! Event streams: many clients watch on one replica, to most of whom nothing happens, while 64 users stop and resume their
//! instances. Measured is the time from an event, by its own time, to the client of its user.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dockhost::app::open_files;
use dockhost::common::clock;
use dockhost_domain::timestamp::Timestamp;
use dockhost_harness::World;
use dockhost_harness::events::{EventStream, Parser};
use futures::StreamExt;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::paced;
use crate::report::{Figure, Target, short};
use crate::setup::{Owner, address, clients, owners, toggle};
use crate::{Effort, usage};

const ROW: &str = "events";
const PATH: &str = "/api/v2/user/events";
const LISTENERS: usize = 10_000;
const OWNERS: usize = 64;
/// Between the commands of one user.
const PAUSE: Duration = Duration::from_millis(250);
const CONCURRENT_CONNECTS: usize = 64;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let listeners = LISTENERS / usize::try_from(effort.divisor).unwrap();
    open_files::raise_limit(2 * listeners);
    let max = (listeners + 500).to_string();
    let limits = [
        ("DOCKHOST_MAX_CONNECTIONS", max.as_str()),
        ("DOCKHOST_MAX_CONNECTIONS_PER_ADDRESS", max.as_str()),
        ("DOCKHOST_MAX_EVENT_STREAMS", max.as_str()),
        ("DOCKHOST_MAX_EVENT_STREAMS_PER_USER", max.as_str()),
    ];
    let mut world = World::with(1, &limits).await;
    world.add_agent("events", 200).await;
    let owners = Arc::new(owners(&world, "owner", OWNERS).await);
    let quiet = world.user("quiet").await;
    let server = world.replicas[0].process.as_ref().unwrap().pid().unwrap();
    let before = usage::memory(server);
    let replica = address(&world.replicas[0].url);
    let _quiet = listen(replica, quiet.token().unwrap(), listeners - OWNERS).await;
    let mut watching = JoinSet::new();
    for (client, _) in owners.iter() {
        let mut stream = EventStream::open(client, PATH, None).await;
        stream.until(|message| message.name == "ready").await;
        watching.spawn(delays(stream));
    }
    let memory = usage::memory(server);
    commands(&world, &owners, effort).await;
    world.kill_replica(0).await;
    let mut millis = Histogram::<u64>::new(3).unwrap();
    while let Some(delays) = watching.join_next().await {
        millis.add(delays.unwrap()).unwrap();
    }
    let (p50, p99) = (quantile(&millis, 0.5), quantile(&millis, 0.99));
    vec![
        Figure::new(
            ROW,
            format!("{listeners} listeners: event to client, p99, ms"),
            format!("p50 {p50} ms, p99 {p99} ms"),
        )
        .judged(p99, Target::AtMost(250.0)),
        Figure::new(
            ROW,
            format!("{listeners} listeners: memory of the server"),
            format!("{} MB before, {} MB with them", short(before), short(memory)),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn quantile(millis: &Histogram<u64>, quantile: f64) -> f64 {
    millis.value_at_quantile(quantile) as f64
}

/// Alternately stops and resumes each instance.
async fn commands(world: &World, owners: &Arc<Vec<Owner>>, effort: Effort) {
    let owners = Arc::clone(owners);
    let span = effort.span * 3;
    let load = paced(clients(world, 0, OWNERS), span, PAUSE, move |client, round| toggle(&owners[client], round)).await;
    assert_eq!(load.refused, 0, "some commands were refused");
}

/// The milliseconds from each event to its message, until the stream ends.
async fn delays(mut stream: EventStream) -> Histogram<u64> {
    let mut millis = Histogram::<u64>::new(3).unwrap();
    while let Some(message) = stream.next().await {
        let time: Option<Timestamp> = message.data["event"]["time"].as_str().and_then(|time| time.parse().ok());
        if let Some(time) = time {
            let delay = clock::now().since(time).as_millis();
            millis.record(u64::try_from(delay).unwrap()).unwrap();
        }
    }
    millis
}

/// Opens streams that are read and not looked at; they end on drop.
async fn listen(replica: SocketAddr, token: &str, count: usize) -> JoinSet<()> {
    let opened: Vec<_> = futures::stream::iter(0..count)
        .map(|_| open(replica, token))
        .buffer_unordered(CONCURRENT_CONNECTS)
        .collect()
        .await;
    let mut listening = JoinSet::new();
    for mut stream in opened {
        listening.spawn(async move {
            let mut read = vec![0; 1024];
            while stream.read(&mut read).await.is_ok_and(|length| length > 0) {}
        });
    }
    listening
}

/// A stream that is ready.
async fn open(replica: SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(replica).await.unwrap();
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: {replica}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut parser, mut read) = (Parser::default(), vec![0; 4096]);
    loop {
        let length = stream.read(&mut read).await.unwrap();
        assert!(length > 0, "a stream was refused");
        // The head of the answer and the lengths of its chunks are no messages.
        parser.push(&read[..length]);
        if parser.next_message().is_some_and(|message| message.name == "ready") {
            return stream;
        }
    }
}
