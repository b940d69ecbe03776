//! A page of the log, for whoever is too far behind for the feed.

use std::ops::ControlFlow;

use dockhost_domain::ids::PrincipalId;
use dockhost_projections::LogEntry;

use super::view::Reader;
use crate::http::app::App;
use crate::http::past::LogReader;
use crate::http::response::ApiError;

/// Entries of the log that are looked at for one page.
const MAX_LOOKED_AT: usize = 20_000;

/// The entries for a reader of what the log has between two positions, at most so many, and the position after them.
///
/// # Errors
/// `rate_limited`, `broker_unavailable`.
pub async fn read(
    app: &App,
    log_reader: &LogReader,
    caller: PrincipalId,
    reader: &Reader,
    (after, to): (u64, u64),
    most: usize,
) -> Result<(Vec<LogEntry>, u64), ApiError> {
    let (mut page, mut position, mut looked_at) = (Vec::new(), after, 0);
    let mut is_whole = true;
    let visit = |entry: &LogEntry| {
        if page.len() == most || looked_at == MAX_LOOKED_AT {
            is_whole = false;
            return ControlFlow::Break(());
        }
        looked_at += 1;
        position = entry.sequence();
        if reader.select(entry).is_some() {
            page.push(entry.clone());
        }
        ControlFlow::Continue(())
    };
    let permit = log_reader.permit(caller).await?;
    permit.read(app.executor.log(), reader.audience().filter(), after, to, visit).await?;
    Ok((page, if is_whole { to } else { position }))
}
