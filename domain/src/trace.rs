//! The W3C trace context of a request and of all that it causes: which trace a message belongs to, and which span of it
//! sent the message.
//!
//! It travels in the header [`HEADER`], over HTTP and in messages of the broker. A receiver of something malformed
//! ignores it and begins a new trace. Only version `00` is known.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

/// The header of a trace context.
pub const HEADER: &str = "traceparent";

/// The flag of traces that are recorded.
const SAMPLED: u8 = 1;

/// The id of a trace: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span of a trace: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// A trace, and the span that is the parent of what the receiver does: `00-<trace>-<span>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether the spans of this trace are recorded.
    pub is_sampled: bool,
}

/// A text is no trace context of version `00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no trace context of version 00")]
pub struct InvalidTraceParent;

impl TraceId {
    /// `None` for 0, which is no id.
    #[must_use]
    pub fn new(id: u128) -> Option<Self> {
        NonZeroU128::new(id).map(Self)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// `None` for 0, which is no id.
    #[must_use]
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        parse(text).ok_or(InvalidTraceParent)
    }
}

fn parse(text: &str) -> Option<TraceParent> {
    let mut fields = text.split('-');
    let mut next = |digits: usize| fields.next().filter(|field| is_hex(field, digits));
    let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    if version != "00" || fields.next().is_some() {
        return None;
    }
    Some(TraceParent {
        trace_id: TraceId::new(u128::from_str_radix(trace_id, 16).ok()?)?,
        span_id: SpanId::new(u64::from_str_radix(span_id, 16).ok()?)?,
        is_sampled: u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0,
    })
}

/// Whether a field has so many hexadecimal digits, in lower case.
fn is_hex(field: &str, digits: usize) -> bool {
    field.len() == digits && field.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn trace_parent_of_the_standard_is_read() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.trace_id.get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parent.span_id.get(), 0x00f0_67aa_0ba9_02b7);
        assert!(parent.is_sampled);
        assert_eq!(parent.to_string(), EXAMPLE);
        // The flags that version 00 does not define are not passed on.
        for (flags, passed_on) in [("00", "00"), ("02", "00"), ("03", "01"), ("ff", "01")] {
            let text = EXAMPLE.strip_suffix("01").unwrap();
            let parent: TraceParent = format!("{text}{flags}").parse().unwrap();
            assert_eq!(parent.to_string(), format!("{text}{passed_on}"));
        }
    }

    #[test]
    fn trace_parent_malformed_is_refused() {
        let (zeros, upper) = ("0".repeat(32), EXAMPLE.to_uppercase());
        for text in [
            "",
            "ada@example.org",
            "00-4bf9-00f0-01",
            &upper,
            &format!("{EXAMPLE}-00"),
            &format!("{EXAMPLE} "),
            &EXAMPLE.replacen("00", "01", 1),
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &EXAMPLE.replace("00f067aa0ba902b7", "0000000000000000"),
            &EXAMPLE.replace("4bf9", "+bf9"),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7\r\n01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }

    proptest! {
        #[test]
        fn trace_parent_written_is_read_as_the_same(trace in 1..=u128::MAX, span in 1..=u64::MAX, is_sampled: bool) {
            let (trace_id, span_id) = (TraceId::new(trace).unwrap(), SpanId::new(span).unwrap());
            let parent = TraceParent { trace_id, span_id, is_sampled };
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
        }

        /// What is read is passed on in headers, so it must contain nothing but what the format allows.
        #[test]
        fn trace_parent_of_any_text_is_refused_or_canonical(text in "(00|01)-[0-9a-fA-F]{30,33}-[0-9a-f]{15,17}-[0-9a-f-]{1,4}") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                let written = parent.to_string();
                prop_assert_eq!(written.len(), 55);
                prop_assert_eq!(&written[..53], &text[..53]);
            }
        }
    }
}
