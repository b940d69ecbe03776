use futures::FutureExt;
use serde_json::json;

use super::*;
use crate::protocol::about;

/// Records what is sent.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<(&'static str, Value)>>>);

impl Sent {
    fn events(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(event, _)| *event).collect()
    }
}

impl Wire for Sent {
    fn emit(&self, event: &'static str, body: &Value) -> Result<(), NoAnswer> {
        self.0.lock().unwrap().push((event, body.clone()));
        Ok(())
    }
}

struct Gone;

impl Wire for Gone {
    fn emit(&self, _event: &'static str, _body: &Value) -> Result<(), NoAnswer> {
        Err(NoAnswer::NotSent("gone".to_owned()))
    }
}

fn link() -> (Arc<Link>, Sent) {
    let sent = Sent::default();
    (Arc::new(Link::new(sent.clone())), sent)
}

/// Begins a command; it waits for its answer when this returns.
async fn begin(link: &Arc<Link>, command: Command, name: &str) -> tokio::task::JoinHandle<Result<Answer, NoAnswer>> {
    let (link, name) = (Arc::clone(link), name.to_owned());
    let call = tokio::spawn(async move { link.call(command, &name, &about(&name)).await });
    tokio::task::yield_now().await;
    call
}

#[tokio::test(start_paused = true)]
async fn call_returns_the_answer_that_fits_and_drops_others() {
    let (link, sent) = link();
    let call = begin(&link, Command::Stop, "a").await;
    assert_eq!(*sent.0.lock().unwrap(), [("stop_container", json!({ "USERNAME": "a" }))]);
    let stopped = json!({ "success": true, "message": "Instance stopped successfully" });
    link.deliver("b", &stopped);
    for other in [json!(true), json!(null), json!({ "success": true, "message": "Instance deleted successfully" })] {
        link.deliver("a", &other);
    }
    assert!(!call.is_finished());
    link.deliver("a", &stopped);
    assert!(matches!(call.await.unwrap(), Ok(Answer::Outcome { success: true, .. })));
    // The same again answers nothing.
    link.deliver("a", &stopped);
    assert!(link.containers().is_empty(), "nothing is kept of a container without a command");
}

#[tokio::test(start_paused = true)]
async fn call_about_the_same_container_waits_for_its_turn() {
    let (link, sent) = link();
    let first = begin(&link, Command::IsRunning, "a").await;
    let second = begin(&link, Command::Exists, "a").await;
    let other = begin(&link, Command::Exists, "b").await;
    assert_eq!(sent.events(), ["check_if_container_running", "check_if_container_exists"]);
    link.deliver("a", &json!(false));
    assert_eq!(first.await.unwrap(), Ok(Answer::Flag(false)));
    tokio::task::yield_now().await;
    link.deliver("a", &json!(true));
    link.deliver("b", &json!(false));
    assert_eq!(second.await.unwrap(), Ok(Answer::Flag(true)));
    assert_eq!(other.await.unwrap(), Ok(Answer::Flag(false)));
}

#[tokio::test(start_paused = true)]
async fn late_answer_is_not_taken_for_that_to_the_next_command() {
    let (link, sent) = link();
    let late = begin(&link, Command::IsRunning, "a").await;
    assert_eq!(late.await.unwrap(), Err(NoAnswer::TimedOut(Command::IsRunning.timeout())));
    let next = begin(&link, Command::Exists, "a").await;
    assert_eq!(sent.events().len(), 1);
    // It arrives, so the next command can only be answered by its own answer.
    link.deliver("a", &json!(false));
    tokio::task::yield_now().await;
    assert_eq!(sent.events().len(), 2);
    link.deliver("a", &json!(true));
    assert_eq!(next.await.unwrap(), Ok(Answer::Flag(true)));
}

#[tokio::test(start_paused = true)]
async fn container_whose_answer_never_comes_is_asked_again_later() {
    let (link, sent) = link();
    let lost = begin(&link, Command::Exists, "a").await;
    assert!(lost.await.unwrap().is_err());
    let (next, began) = (begin(&link, Command::Exists, "a").await, Instant::now());
    while sent.events().len() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= LATE_FOR && began.elapsed() < 2 * LATE_FOR, "{:?}", began.elapsed());
    link.deliver("a", &json!(true));
    assert_eq!(next.await.unwrap(), Ok(Answer::Flag(true)));
}

#[tokio::test]
async fn call_to_a_machine_that_is_gone_fails_at_once_and_leaves_nothing() {
    let link = Link::new(Gone);
    for _ in 0..2 {
        let call = link.call(Command::Exists, "a", &about("a")).now_or_never();
        assert_eq!(call, Some(Err(NoAnswer::NotSent("gone".to_owned()))));
    }
}
