//! `dockhost events`: the events of the log, for administrators; a client of `GET /api/v2/admin/audit`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::cli::api::client::{ApiArgs, Client};
use crate::cli::api::output::{Output, plain};
use crate::cli::block_on;

/// How long `--follow` waits for more.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// The arguments of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with new events until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// Only events not before this RFC 3339 time, or after this position (`position` or `sequence` of an event).
    #[arg(long, value_name = "TIME|POSITION")]
    since: Option<String>,
    /// Only events before this RFC 3339 time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events about this user: username or id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only events that name this backend, or that its agent caused: name or id.
    #[arg(long, value_name = "BACKEND")]
    machine: Option<String>,
    /// Only events that this user or backend caused, by id, or system, operator or anonymous.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only events of this type, for example instance.failed, or of all types that begin with it, for example instance.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Events {
    /// Prints the events, one per line.
    ///
    /// # Errors
    /// What the server says, or standard output is closed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        super::reported(block_on(|stop| super::success(self.print(stop))))
    }

    async fn print(self, stop: CancellationToken) -> anyhow::Result<()> {
        let client = Client::new(&self.api)?;
        let id = async |path, what, name: &Option<String>| match name {
            Some(name) => client.find(path, what, name).await.map(Some),
            None => Ok(None),
        };
        let user = id("admin/users", "user", &self.user).await?;
        let machine = id("admin/backends", "backend", &self.machine).await?;
        let (since, mut cursor) = since(self.since);
        loop {
            let query = [
                ("user", user.clone()),
                ("machine", machine.clone()),
                ("actor", self.actor.clone()),
                ("type", self.kind.clone()),
                ("since", since.clone()),
                ("until", self.until.clone()),
                ("limit", Some("200".to_owned())),
                ("cursor", cursor.clone()),
            ];
            let (page, position) = client.get_with_position("admin/audit", &query).await?;
            for event in page["items"].as_array().into_iter().flatten() {
                print(self.api.output, event)?;
            }
            cursor = position.and_then(|position| Some(position.rsplit_once('.')?.1.to_owned())).or(cursor);
            if page["nextCursor"].is_string() {
                continue;
            }
            if !self.follow {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    }
}

/// The time and the cursor that `--since` means.
fn since(text: Option<String>) -> (Option<String>, Option<String>) {
    let Some(text) = text else { return (None, None) };
    let sequence = text.rsplit_once('.').map_or(text.as_str(), |(_, sequence)| sequence);
    // A time ends with `Z` or has colons after its dot.
    if !sequence.is_empty() && sequence.chars().all(|c| c.is_ascii_digit()) {
        return (None, Some(sequence.to_owned()));
    }
    (Some(text), None)
}

fn print(output: Output, event: &Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => serde_json::to_writer(&mut out, event)?,
        Output::Table => write!(out, "{}", line(event))?,
    }
    writeln!(out)?;
    Ok(out.flush()?)
}

/// An event for people: time, type, subject, actor and cause.
fn line(event: &Value) -> String {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str);
    let kind = text("/type").map_or("(unreadable)", |kind| kind.strip_prefix("dockhost.").unwrap_or(kind));
    let actor = match (text("/actor/kind"), text("/actor/name").or(text("/actor/id"))) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (kind, _) => kind.unwrap_or("-").to_owned(),
    };
    let [time, subject, cause] = ["/time", "/subject", "/cause"].map(|pointer| text(pointer).unwrap_or("-"));
    plain(&format!("{time}  {kind}  {subject}  {actor}  {cause}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dockhost_domain::aggregate::Meta;
    use dockhost_domain::envelope::Envelope;
    use dockhost_domain::event::Event;
    use dockhost_domain::ids::EventId;
    use dockhost_domain::subject::AggregateId;
    use serde_json::json;

    use super::*;
    use crate::common::clock;
    use crate::event_log::{Append, EventLog};
    use crate::http::testing::{TestApp, golden_events, origin};

    /// Stores an event, whatever state its aggregate is in.
    async fn store(app: &TestApp, aggregate: AggregateId, event: Event) -> u64 {
        let stored = app.log.events();
        let last = stored.iter().rfind(|recorded| recorded.envelope.aggregate == aggregate);
        let expected = last.map_or(0, |recorded| recorded.sequence);
        let meta = Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: clock::now() };
        let envelope = Envelope { aggregate, meta, origin: origin(), event };
        app.log.append(Append { expected, envelope }).await.unwrap()
    }

    /// In each version that was ever released, as the API answers it to the command.
    #[tokio::test]
    async fn line_of_every_golden_event_has_its_type_and_what_it_is_about() {
        let app = TestApp::new().await;
        let boss = app.admin("boss").await;
        let mut expected = Vec::new();
        for (aggregate, event) in golden_events() {
            let kind = event.encode().unwrap().kind;
            expected.push((store(&app, aggregate, event).await, kind, aggregate.to_string()));
        }
        let types: BTreeSet<_> = expected.iter().map(|(_, kind, _)| kind).collect();
        assert!(types.len() > 50, "{types:?}");
        let (mut shown, mut cursor) = (Vec::new(), json!((expected[0].0 - 1).to_string()));
        while let Some(after) = cursor.as_str() {
            let path = format!("/api/v2/admin/audit?limit=200&cursor={after}");
            let page = app.get(&path).token(&boss.token).send().await;
            shown.extend(page.data()["items"].as_array().unwrap_or_else(|| panic!("{page:?}")).clone());
            cursor = page.data()["nextCursor"].clone();
        }
        assert_eq!(shown.len(), expected.len());
        for (event, (sequence, kind, subject)) in shown.iter().zip(&expected) {
            assert_eq!(event["sequence"], *sequence, "{event}");
            let words = [kind.strip_prefix("dockhost.").unwrap(), subject.strip_prefix("dockhost.event.").unwrap()];
            assert_eq!(line(event).split("  ").skip(1).take(2).collect::<Vec<_>>(), words, "{event}");
        }
    }

    #[test]
    fn since_is_a_position_or_a_time() {
        let of = |text: &str| since(Some(text.to_owned()));
        assert_eq!(of("18a2b.42"), (None, Some("42".to_owned())));
        assert_eq!(of("42"), (None, Some("42".to_owned())));
        for time in ["2026-11-22T10:00:15.000Z", "2026-11-22T10:00:15+01:00", "yesterday"] {
            assert_eq!(of(time), (Some(time.to_owned()), None));
        }
        assert_eq!(since(None), (None, None));
    }

    #[test]
    fn line_has_time_type_subject_actor_and_cause() {
        let event = json!({
            "time": "2026-11-22T10:00:15.000Z", "type": "dockhost.account.disabled.v1", "subject": "account.7",
            "actor": { "kind": "admin", "id": "8", "name": "boss" }, "cause": "request:r-1",
        });
        let expected = "2026-11-22T10:00:15.000Z  account.disabled.v1  account.7  admin boss  request:r-1";
        assert_eq!(line(&event), expected);
        let unreadable = json!({ "subject": "account.7", "unreadable": "unknown variant" });
        assert_eq!(line(&unreadable), "-  (unreadable)  account.7  -  -");
    }
}
