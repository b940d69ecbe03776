//! An OpenTelemetry collector that keeps the spans that it receives.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span that was exported. Ids are in hexadecimal digits.
#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty for the first one of a trace.
    pub parent: String,
    /// The program that exported it.
    pub service: String,
}

/// The collector; it ends on drop.
pub struct Collector {
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&bodies));
        let serving = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { url, bodies, serving }
    }

    /// Everything that was received, as it was sent.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// The spans that were received.
    pub fn spans(&self) -> Vec<Span> {
        self.bodies().into_iter().flat_map(spans).collect()
    }
}

async fn keep(State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes) -> StatusCode {
    bodies.lock().unwrap().push(body);
    StatusCode::OK
}

fn spans(body: Bytes) -> Vec<Span> {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut found = Vec::new();
    for exported in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = format!("{:?}", exported.resource.unwrap_or_default().attributes);
        let service = if resource.contains("\"dockhost-agent\"") { "dockhost-agent" } else { "dockhost" };
        for span in exported.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let (trace, id, parent) = (hex(&span.trace_id), hex(&span.span_id), hex(&span.parent_span_id));
            found.push(Span { name: span.name, trace, id, parent, service: service.to_owned() });
        }
    }
    found
}
