//! Retries, replacement and ordering of reports.

use std::collections::HashSet;

use dockhost_domain::ids::UserId;
use dockhost_domain::wire::ReportKind;
use uuid::Uuid;

use super::*;

fn report(instance: u128, generation: u32) -> Report {
    Report {
        instance_id: InstanceId::from_uuid(Uuid::from_u128(instance)),
        user_id: UserId::from_uuid(Uuid::from_u128(1)),
        placement: 1,
        generation,
        kind: ReportKind::InstanceDeleted,
    }
}

/// A sink whose first sends fail, and which can delay each send until it is released.
#[derive(Default)]
struct FlakySink {
    failures: Mutex<u32>,
    sent: Mutex<Vec<(InstanceId, u32, String)>>,
    arrived: Notify,
    release: Option<Notify>,
    in_flight: Mutex<HashSet<InstanceId>>,
}

impl ReportSink for FlakySink {
    async fn send(&self, report: &Report, message_id: &str) -> Result<(), PublishError> {
        assert!(self.in_flight.lock().unwrap().insert(report.instance_id), "two concurrent sends for one instance");
        self.sent.lock().unwrap().push((report.instance_id, report.generation, message_id.to_owned()));
        self.arrived.notify_one();
        if let Some(release) = &self.release {
            release.notified().await;
        }
        self.in_flight.lock().unwrap().remove(&report.instance_id);
        let mut failures = self.failures.lock().unwrap();
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(PublishError("unavailable".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn outbox_failed_send_is_retried_with_the_same_message_id() {
    let (outbox, stop) = (Outbox::default(), CancellationToken::new());
    let sink = FlakySink { failures: Mutex::new(3), ..FlakySink::default() };
    outbox.put(report(1, 1));
    let script = async {
        for _ in 0..4 {
            sink.arrived.notified().await;
        }
        stop.cancel();
    };
    tokio::join!(outbox.run(&sink, &stop), script);
    let sent = sink.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|(_, _, id)| *id == sent[0].2 && id.len() == 32), "{sent:?}");
}

#[tokio::test]
async fn outbox_newer_report_replaces_a_queued_one_and_follows_one_in_flight() {
    let (outbox, stop) = (Outbox::default(), CancellationToken::new());
    let sink = FlakySink { release: Some(Notify::new()), ..FlakySink::default() };
    outbox.put(report(1, 1));
    let script = async {
        sink.arrived.notified().await;
        outbox.put(report(1, 2));
        outbox.put(report(1, 3));
        outbox.put(report(2, 1));
        // The other instance's report doesn't wait for the first one's.
        sink.arrived.notified().await;
        let release = sink.release.as_ref().unwrap();
        release.notify_one();
        sink.arrived.notified().await;
        stop.cancel();
        release.notify_one();
        release.notify_waiters();
    };
    let ((), ()) = tokio::join!(outbox.run(&sink, &stop), script);
    let sent = sink.sent.lock().unwrap().clone();
    let first: Vec<u32> = sent.iter().filter(|(id, ..)| *id == report(1, 1).instance_id).map(|sent| sent.1).collect();
    assert_eq!(first, [1, 3]);
    let ids: HashSet<&String> = sent.iter().map(|sent| &sent.2).collect();
    assert_eq!(ids.len(), 3, "each report has its own message id");
}
