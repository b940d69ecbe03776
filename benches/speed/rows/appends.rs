//! Commands compared with acknowledged publishes on the same broker: the latency of one client, and the rate of many. Shared
//! by the rows whose commands write to the log.

use std::time::Duration;

use async_nats::jetstream::Context;

use crate::load::Load;
use crate::setup::median;
use crate::{Effort, publishing};

/// Clients that send at once.
pub const CLIENTS: usize = 64;
/// The pause of the single client, and of the single publisher.
const PAUSE_BETWEEN_COMMANDS: Duration = Duration::from_millis(40);

/// The medians of one load, of its raw limit, and of the ratios of the repetitions.
pub struct Comparison {
    /// Of the commands.
    pub commands: f64,
    /// Of the publishes.
    pub raw: f64,
    /// Commands divided by publishes, within one repetition.
    pub ratio: f64,
}

impl Comparison {
    fn of(pairs: &[(f64, f64)]) -> Self {
        let of = |value: fn(&(f64, f64)) -> f64| median(pairs.iter().map(value).collect());
        Self { commands: of(|pair| pair.0), raw: of(|pair| pair.1), ratio: of(|pair| pair.0 / pair.1) }
    }
}

/// Measures commands and publishes in alternation: the median latency of one client in milliseconds, and the rate of
/// [`CLIENTS`] clients per second. `commands` gets the number of clients and their pause.
pub async fn compare(
    js: &Context,
    effort: Effort,
    commands: impl AsyncFn(usize, Duration) -> Load,
) -> (Comparison, Comparison) {
    publishing::prepare(js).await;
    let (mut alone, mut many) = (vec![], vec![]);
    for _ in 0..effort.repetitions {
        let (_, micros) = publishing::raw(js, 1, effort.span, PAUSE_BETWEEN_COMMANDS).await;
        let raw = Duration::from_micros(micros.value_at_quantile(0.5)).as_secs_f64() * 1e3;
        alone.push((commands(1, PAUSE_BETWEEN_COMMANDS).await.millis(0.5), raw));

        let (rate, _) = publishing::raw(js, CLIENTS, effort.span, Duration::ZERO).await;
        many.push((commands(CLIENTS, Duration::ZERO).await.rate, rate));
    }
    (Comparison::of(&alone), Comparison::of(&many))
}
