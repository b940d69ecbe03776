//! The trace that a task works for.
//!
//! Where a message arrives (a request, an event, an assignment, a report), [`in_span`] handles it in a span that continues the
//! trace of the message's sender. [`current`] is what is sent along with the messages that result.

use std::future::Future;

use dockhost_domain::trace::{SpanId, TraceId, TraceParent};
use tracing::field::display;
use tracing::{Instrument, Span};

/// The field of a span with the id of its trace. A span for [`in_span`] declares it: `trace = tracing::field::Empty`.
pub const FIELD: &str = "trace";

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// The trace that this task works for, and the span that it works in; `None` outside of [`in_span`], also in tasks that
/// were spawned there.
#[must_use]
pub fn current() -> Option<TraceParent> {
    CURRENT.try_with(|current| *current).ok()
}

/// Runs a future in a span that continues the trace of `parent`, or begins a new one.
pub async fn in_span<F: Future>(span: Span, parent: Option<TraceParent>, future: F) -> F::Output {
    let context = begin(&span, parent);
    CURRENT.scope(context, future).instrument(span).await
}

/// Begins a span that continues the trace of `parent`; it ends when it is dropped. For work on many messages at once.
#[must_use]
pub fn continued(span: Span, parent: TraceParent) -> Span {
    begin(&span, Some(parent));
    span
}

/// Gives a span its place in a trace.
fn begin(span: &Span, parent: Option<TraceParent>) -> TraceParent {
    let context = exported(span, parent).unwrap_or_else(|| fresh(parent));
    span.record(FIELD, display(context.trace_id));
    context
}

/// The place that the exporter has given it, if spans are exported.
#[cfg(feature = "otlp")]
fn exported(span: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    crate::otlp::begin(span, parent)
}

#[cfg(not(feature = "otlp"))]
const fn exported(_: &Span, _: Option<TraceParent>) -> Option<TraceParent> {
    None
}

/// A place without an exporter. A new trace counts as sampled, so that processes that do export spans, export theirs.
fn fresh(parent: Option<TraceParent>) -> TraceParent {
    TraceParent {
        trace_id: parent.map_or_else(|| random(TraceId::new), |parent| parent.trace_id),
        span_id: random(SpanId::new),
        is_sampled: parent.is_none_or(|parent| parent.is_sampled),
    }
}

/// A random id. 0 is none.
fn random<N, I>(id: impl Fn(N) -> Option<I>) -> I
where
    rand::distr::StandardUniform: rand::distr::Distribution<N>,
{
    loop {
        if let Some(id) = id(rand::random()) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::field::Empty;
    use tracing::info_span;
    use tracing::instrument::WithSubscriber;

    use super::*;

    fn parent(is_sampled: bool) -> TraceParent {
        let (trace_id, span_id) = (TraceId::new(7).unwrap(), SpanId::new(8).unwrap());
        TraceParent { trace_id, span_id, is_sampled }
    }

    #[tokio::test]
    async fn in_span_continues_the_trace_of_the_parent_with_an_own_span() {
        assert_eq!(current(), None);
        for is_sampled in [true, false] {
            let inner = in_span(Span::none(), Some(parent(is_sampled)), async { current().unwrap() }).await;
            assert_eq!((inner.trace_id, inner.is_sampled), (parent(true).trace_id, is_sampled));
            assert_ne!(inner.span_id, parent(true).span_id);
        }
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn in_span_without_a_parent_begins_a_new_trace_each_time() {
        let begin = || in_span(Span::none(), None, async { current().unwrap() });
        let (first, second) = (begin().await, begin().await);
        assert!(first.trace_id != second.trace_id && first.span_id != second.span_id, "{first:?} {second:?}");
        assert!(first.is_sampled);
    }

    #[tokio::test]
    async fn in_span_lines_have_the_id_of_the_trace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = tracing_subscriber::fmt().json().with_writer(file.reopen().unwrap()).finish();
        let work = async {
            let span = info_span!("request", id = 1, trace = Empty);
            in_span(span, Some(parent(true)), async { tracing::info!("working") }).await;
        };
        work.with_subscriber(lines).await;
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("\"trace\":\"00000000000000000000000000000007\""), "{text}");
    }
}
