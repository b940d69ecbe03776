//! The answer to a question on the terminal.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Asks for a confirmation, unless `yes` gives it.
///
/// # Errors
/// There is none.
pub async fn require(yes: bool, question: &str, stop: &CancellationToken) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("nothing was done: it needs --yes or a confirmation on a terminal");
    }
    print!("{question} Type yes: ");
    if !yes_is_typed(stop).await? {
        bail!("nothing was done");
    }
    Ok(())
}

/// Whether `yes` is typed in answer to what was printed last. Not if `stop` is cancelled meanwhile.
///
/// # Errors
/// The question can't be written.
pub async fn yes_is_typed(stop: &CancellationToken) -> io::Result<bool> {
    io::stdout().flush()?;
    let (answer, answered) = oneshot::channel();
    // A detached thread, because reading from a terminal can't be cancelled.
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = io::stdin().read_line(&mut line);
        let _ = answer.send(line.trim() == "yes");
    });
    Ok(stop.run_until_cancelled(answered).await.is_some_and(|answered| answered.unwrap_or(false)))
}
