//! The export of spans to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Spans are queued and sent by a thread of their own. A collector that can't be reached delays nobody: what the queue has no
//! room for is dropped. Of a span go out its name, its times and its fields, never a line that was logged in it.

mod collector;
mod sampling;
#[cfg(test)]
mod tests;

use std::time::Duration;

use dockhost_domain::trace::{self, TraceParent};
use dockhost_environment::{VERSION, variable};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};

use crate::{BoxedLayer, endpoint, uncached};
use collector::Collector;

/// The beginning of the targets of all our spans.
const TARGET: &str = "dockhost";
/// The finest level of the spans that are exported.
const FINEST: LevelFilter = LevelFilter::DEBUG;
/// How long the end of the process waits for the collector to take the last spans.
const MAX_FLUSH: Duration = Duration::from_secs(2);

/// Exports spans until it is dropped.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// As the variables `OTEL_*` say; `None` without an endpoint.
    ///
    /// # Errors
    /// One sentence about an invalid variable.
    pub fn of_environment(service: &str) -> Result<Option<Self>, String> {
        let Some(url) = endpoint() else { return Ok(None) };
        let service = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| service.to_owned());
        let sampler = sampling::sampler(
            variable("OTEL_TRACES_SAMPLER").as_deref(),
            variable("OTEL_TRACES_SAMPLER_ARG").as_deref(),
        )?;
        Self::new(&url, service, sampler).map(Some)
    }

    /// Exports to the collector at this URL, under this name.
    fn new(endpoint: &str, service: String, sampler: Sampler) -> Result<Self, String> {
        if has_credentials(endpoint) {
            let problem =
                "it must have no user name and no password, which are not sent; set OTEL_EXPORTER_OTLP_HEADERS";
            return Err(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {problem}"));
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint:?}: {error}"))?;
        let resource =
            Resource::builder().with_service_name(service).with_attribute(KeyValue::new("service.version", VERSION));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource.build())
            .with_batch_exporter(Collector::new(exporter))
            .build();
        Ok(Self(provider))
    }

    /// Takes in our spans, of all levels but the finest, and nothing of the libraries.
    pub fn layer(&self) -> BoxedLayer {
        let is_exported = |metadata: &Metadata<'_>| {
            metadata.is_span() && *metadata.level() <= FINEST && metadata.target().starts_with(TARGET)
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(TARGET))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // No other library of OpenTelemetry is used.
            .with_context_activation(false)
            .with_filter(uncached(FilterFn::new(is_exported).with_max_level_hint(FINEST)))
            .boxed()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // What it could not send then is lost; the collector's failure is logged already.
        let _ = self.0.shutdown_with_timeout(MAX_FLUSH);
    }
}

/// Whether a URL has a user name or a password.
fn has_credentials(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

/// Continues the trace of a parent in a span, or begins one, and returns the span's place in it; `None` if the span is not
/// taken in.
pub fn begin(span: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    if let Some(parent) = parent {
        let flags = if parent.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from(parent.trace_id.get()), SpanId::from(parent.span_id.get()));
        let sender = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
        // Without a layer that exports, there is nothing to set.
        let _ = span.set_parent(Context::new().with_remote_span_context(sender));
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    Some(TraceParent {
        trace_id: trace::TraceId::new(u128::from_be_bytes(own.trace_id().to_bytes()))?,
        span_id: trace::SpanId::new(u64::from_be_bytes(own.span_id().to_bytes()))?,
        is_sampled: own.is_sampled(),
    })
}
