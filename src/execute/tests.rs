use std::collections::BTreeSet;

use dockhost_domain::claim::{AlreadyClaimed, Claim, ReleaseClaim, TakeClaim};
use dockhost_domain::envelope::Actor;
use dockhost_domain::event::Event;
use dockhost_domain::idempotency::{KeyedRequest, RequestHash};
use dockhost_domain::ids::{BackendId, InstanceId, PrincipalId, SessionId, UserId};
use dockhost_domain::labels::Labels;
use dockhost_domain::placement::Choice;
use dockhost_domain::session::{RevokeSession, Sessions, StartSession, Started};
use dockhost_domain::subject::{ClaimHash, ClaimId, ClaimKind};
use dockhost_domain::tenancy::event::{FailureReason, Placed, PlacementFailure, Requested};
use dockhost_domain::tenancy::{Tenancy, TenancyEvent};
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::wire::{Limits, RestartPolicy};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::retries::MAX_CONFLICTS;
use super::*;
use crate::event_log::memory::{Fault, MemoryLog};
use crate::replica::follower::Follower;

const NAME: ClaimId = ClaimId { kind: ClaimKind::Username, hash: ClaimHash::from_bytes([1; 32]) };
const EMAIL: ClaimId = ClaimId { kind: ClaimKind::Email, hash: ClaimHash::from_bytes([2; 32]) };

const fn principal(n: u128) -> PrincipalId {
    PrincipalId::from_uuid(Uuid::from_u128(n))
}

const fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n))
}

fn origin() -> Origin {
    Origin::new(Actor::System, "test")
}

fn start(n: u128) -> StartSession {
    StartSession(Started {
        session_id: session(n),
        expires_at: Timestamp::from_millis(i64::MAX / 2),
        token: None,
        client: None,
        refresh_until: None,
    })
}

/// A log and this many replicas on it, which do not follow it.
fn replicas<const N: usize>() -> (Arc<MemoryLog>, [Arc<Executor>; N]) {
    let log = Arc::new(MemoryLog::default());
    let executors = std::array::from_fn(|_| Executor::new(Arc::clone(&log) as Arc<dyn EventLog>));
    (log, executors)
}

async fn take(executor: &Arc<Executor>, owner: u128) -> Result<Executed<Claim>, ExecuteError<AlreadyClaimed>> {
    executor.execute(NAME, origin(), TakeClaim { owner: principal(owner) }).await
}

async fn release(executor: &Arc<Executor>, owner: u128) {
    executor.execute(NAME, origin(), ReleaseClaim { owner: principal(owner) }).await.map(|_| ()).unwrap();
}

#[tokio::test]
async fn executor_conflict_reloads_and_decides_again() {
    let (log, [one, other]) = replicas();
    assert_eq!(other.state::<Claim>(NAME).await.unwrap().sequence, 0, "cached: the name is free");
    assert!(take(&one, 1).await.unwrap().stored.is_some());
    assert!(matches!(take(&other, 2).await, Err(ExecuteError::Rejected(AlreadyClaimed))));
    assert_eq!(log.events().len(), 1);
    assert_eq!(other.state::<Claim>(NAME).await.unwrap().sequence, 1);
}

#[tokio::test]
async fn executor_gives_up_as_busy_after_max_attempts() {
    let (log, [one]) = replicas();
    for _ in 1..MAX_CONFLICTS {
        log.fail_next(Fault::Conflict);
    }
    assert!(take(&one, 1).await.unwrap().stored.is_some());
    for _ in 0..MAX_CONFLICTS {
        log.fail_next(Fault::Conflict);
    }
    let busy = one.execute(NAME, origin(), ReleaseClaim { owner: principal(1) }).await;
    assert!(matches!(busy, Err(ExecuteError::Busy)));
    assert_eq!(log.events().len(), 1);
}

/// An append in flight may be the same command's, from an earlier request.
#[tokio::test]
async fn executor_append_in_flight_is_never_answered_as_not_stored() {
    let (log, [one]) = replicas();
    log.fail_next(Fault::InFlight);
    for _ in 0..MAX_CONFLICTS {
        log.fail_next(Fault::Conflict);
    }
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Unknown(_))));
    log.fail_next(Fault::InFlight);
    log.fail_next(Fault::Unavailable);
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Unknown(_))));
    log.fail_next(Fault::InFlight);
    assert!(take(&one, 1).await.unwrap().stored.is_some(), "it ended meanwhile");
}

#[tokio::test]
async fn executor_unknown_outcome_repeated_command_is_stored_once() {
    for (fault, stored_at_first) in [(Fault::LostAnswer, 1), (Fault::LostRequest, 0)] {
        let (log, [one]) = replicas();
        log.fail_next(fault);
        assert!(matches!(take(&one, 1).await, Err(ExecuteError::Unknown(_))), "{fault:?}");
        assert_eq!(log.events().len(), stored_at_first, "{fault:?}");
        let again = take(&one, 1).await.unwrap();
        assert_eq!(again.stored.is_none(), stored_at_first == 1, "{fault:?}");
        assert_eq!((again.current.state.owner, again.current.sequence), (Some(principal(1)), 1), "{fault:?}");
        assert_eq!(log.events().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn executor_full_or_unavailable_log_stores_nothing() {
    let (log, [one]) = replicas();
    log.fail_next(Fault::Full);
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Full)));
    log.fail_next(Fault::Unavailable);
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Unavailable(_))));
    log.set_unavailable(true);
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Unavailable(_))));
    assert!(log.events().is_empty());
}

#[tokio::test]
async fn executor_checks_an_old_state_before_it_rejects_or_does_nothing() {
    let (log, [one, other]) = replicas();
    take(&one, 1).await.map(|_| ()).unwrap();
    assert_eq!(other.state::<Claim>(NAME).await.unwrap().state.owner, Some(principal(1)));
    release(&one, 1).await;
    // In its cache, the name is taken.
    assert!(take(&other, 2).await.unwrap().stored.is_some());
    // In its cache, the name is free; before that, the same owner had it.
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Rejected(AlreadyClaimed))));
    release(&other, 2).await;
    take(&one, 3).await.map(|_| ()).unwrap();
    release(&one, 3).await;
    take(&other, 3).await.map(|_| ()).unwrap();
    release(&one, 3).await;
    let again = take(&other, 3).await.unwrap();
    assert!(again.stored.is_some(), "in its cache the owner had the name already, a no-op");
    assert_eq!(again.current.sequence, u64::try_from(log.events().len()).unwrap());
}

#[tokio::test]
async fn executor_unreadable_event_freezes_its_aggregate_only() {
    let (log, [one]) = replicas();
    log.put_unreadable(&Claim::subject(NAME).to_string(), "from a newer release");
    assert!(matches!(take(&one, 1).await, Err(ExecuteError::Frozen(_))));
    let other = one.execute(EMAIL, origin(), TakeClaim { owner: principal(1) }).await;
    assert!(other.is_ok());
}

/// Sign-ins and sign-outs of one principal on two replicas that also follow the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn executors_that_follow_and_write_agree_with_the_log() {
    let (log, [one, other, cold]) = replicas();
    let stop = CancellationToken::new();
    for executor in [&one, &other] {
        let follower = Follower::new(Arc::clone(executor), Arc::default());
        tokio::spawn(Arc::clone(&follower).run(0, std::collections::BTreeMap::new(), stop.clone()));
    }
    let who = principal(1);
    let work = (1..=60).map(|n| {
        let executor = Arc::clone(if n % 2 == 0 { &one } else { &other });
        tokio::spawn(async move {
            // With two writers a command may run out of attempts; nothing is stored then.
            while let Err(error) = executor.execute(who, origin(), start(n)).await {
                assert!(matches!(error, ExecuteError::Busy), "{error:?}");
            }
            if n % 3 == 0 {
                let revoke = RevokeSession { session_id: session(n) };
                while let Err(error) = executor.execute(who, origin(), revoke).await {
                    assert!(matches!(error, ExecuteError::Busy), "{error:?}");
                }
            }
        })
    });
    for done in join_all(work).await {
        done.unwrap();
    }
    assert_eq!(log.events().len(), 60 + 20, "each event once");
    let folded = cold.state::<Sessions>(who).await.unwrap();
    for executor in [&one, &other] {
        let cached = executor.confirmed::<Sessions>(who).await.unwrap();
        assert_eq!((cached.sequence, &cached.state), (folded.sequence, &folded.state));
    }
    stop.cancel();
}

fn placed(sequence: u64, event: TenancyEvent) -> RecordedEvent {
    let meta = Meta { id: EventId::from_uuid(Uuid::from_u128(u128::from(sequence))), time: Timestamp::from_millis(0) };
    let event = Event::Tenancy(event);
    let aggregate = Tenancy::subject(UserId::from_uuid(Uuid::nil()));
    RecordedEvent { sequence, envelope: Envelope { aggregate, meta, origin: origin(), event } }
}

/// An instance that is placed again: applied twice, it would have two placement failures.
fn request_and_retry() -> [RecordedEvent; 2] {
    let (instance_id, deadline) = (InstanceId::from_uuid(Uuid::nil()), Timestamp::from_millis(1));
    let backend_id = BackendId::from_uuid(Uuid::nil());
    let choice = Choice { backend_id, used: 0, max_containers: 1, eligible: 1 };
    let requested = Requested {
        instance_id,
        name: "box".parse::<dockhost_domain::names::InstanceName>().unwrap().into(),
        ssh_public_key: "key".to_owned().into(),
        further_keys: Vec::new(),
        image: None,
        limits: Limits { memory_mib: 1, cpu_millis: 1, pids: 1 },
        choice: choice.clone(),
        deadline,
        idempotency: None,
        restart: RestartPolicy::default(),
        requires: Labels::default(),
        size: None,
        on_lost: dockhost_domain::tenancy::OnLost::Wait,
        lifetime: dockhost_domain::tenancy::Lifetime::default(),
    };
    let failure = PlacementFailure { backend_id, reason: FailureReason::Late };
    let again = Placed { instance_id, placement: 2, choice, deadline, failure };
    [placed(4, TenancyEvent::Requested(requested)), placed(9, TenancyEvent::Placed(again))]
}

fn placement_failures(cached: &CachedState<Tenancy>) -> usize {
    cached.state.all().map(|(_, instance)| instance.placement_failures.len()).sum()
}

#[test]
fn cache_event_from_several_sources_is_applied_once() {
    let user = UserId::from_uuid(Uuid::nil());
    let [requested, retried] = request_and_retry();
    let passing = Arc::new(retried.clone());
    for loaded in [vec![requested.clone()], vec![requested.clone(), retried.clone()]] {
        let aggregates = Aggregates::default();
        let entry = Tenancy::cache(&aggregates).entry(user);
        let load = entry.begin_load();
        aggregates.observe(&passing);
        let cached = load.finish(CachedState::empty().with(&loaded));
        assert_eq!(
            (cached.sequence, placement_failures(&cached)),
            (9, 1),
            "observed during a load of {}",
            loaded.len()
        );
        entry.observe([&passing]);
        aggregates.observe(&Arc::new(requested.clone()));
        let cached = entry.loaded().unwrap();
        assert_eq!((cached.sequence, placement_failures(&cached)), (9, 1), "the follower delivers known events");
    }
}

#[test]
fn cache_dropped_load_leaves_the_entry_empty() {
    let aggregates = Aggregates::default();
    let entry = Tenancy::cache(&aggregates).entry(UserId::from_uuid(Uuid::nil()));
    drop(entry.begin_load());
    entry.observe([&Arc::new(request_and_retry()[0].clone())]);
    assert!(entry.loaded().is_none(), "a state without its earlier events");
}

#[tokio::test]
async fn batch_conflict_stores_nothing_and_can_be_decided_again() {
    let (log, [one, other]) = replicas();
    let mut batch = one.batch(origin());
    for claim in [NAME, EMAIL] {
        batch.decide(claim, &TakeClaim { owner: principal(1) }).await.unwrap();
    }
    // Another owner takes one of the two before the batch is stored.
    other.execute(EMAIL, origin(), TakeClaim { owner: principal(2) }).await.map(|_| ()).unwrap();
    assert!(matches!(batch.commit().await, Err(AppendError::Conflict)));
    assert_eq!(log.events().len(), 1, "a part of the batch is stored");

    let mut batch = one.batch(origin());
    batch.decide(NAME, &TakeClaim { owner: principal(1) }).await.unwrap();
    let taken = batch.decide(EMAIL, &TakeClaim { owner: principal(1) }).await;
    assert!(matches!(taken, Err(ExecuteError::Rejected(AlreadyClaimed))));
    drop(batch);
    assert_eq!(log.events().len(), 1, "an uncommitted batch is stored");

    other.execute(EMAIL, origin(), ReleaseClaim { owner: principal(2) }).await.map(|_| ()).unwrap();
    let mut batch = one.batch(origin());
    for claim in [NAME, EMAIL] {
        batch.decide(claim, &TakeClaim { owner: principal(1) }).await.unwrap();
    }
    assert_eq!(batch.commit().await.unwrap(), 4);
    for claim in [NAME, EMAIL] {
        let cached = one.state::<Claim>(claim).await.unwrap();
        assert_eq!(cached.state.owner, Some(principal(1)), "the cache has the stored events");
    }
}

/// Another replica's clock is ahead.
#[tokio::test]
async fn execute_event_time_of_an_aggregate_does_not_go_back() {
    let (log, [one, batching]) = replicas();
    let ahead = clock::now().after(Duration::from_secs(20));
    let event = |owner| TakeClaim { owner: principal(owner) }.decide(&Claim::default()).unwrap().unwrap();
    for claim in [NAME, EMAIL] {
        let envelope = Envelope {
            meta: Meta { id: EventId::from_uuid(clock::fresh_uuid()), time: ahead },
            ..to_envelope::<Claim>(claim, &origin(), event(1), None)
        };
        log.append(Append { expected: 0, envelope }).await.unwrap();
    }
    release(&one, 1).await;
    let mut batch = batching.batch(origin());
    batch.decide(EMAIL, &ReleaseClaim { owner: principal(1) }).await.unwrap();
    batch.commit().await.unwrap();
    let times: Vec<_> = log.events().iter().map(|event| event.envelope.meta.time).collect();
    assert_eq!(times, [ahead; 4]);
}

#[tokio::test]
async fn execute_too_many_commands_for_one_aggregate_is_busy() {
    let (_, [executor]) = replicas();
    let entry = Claim::cache(executor.aggregates()).entry(NAME);
    let first = entry.command_lock.lock().await;
    let waiting = (0..cache::MAX_COMMANDS_PER_AGGREGATE).map(|_| {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { take(&executor, 1).await.map(|_| ()) })
    });
    let waiting: Vec<_> = waiting.collect();
    while entry.command_places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(take(&executor, 1).await, Err(ExecuteError::Busy)));
    let other = executor.execute(EMAIL, origin(), TakeClaim { owner: principal(1) }).await;
    assert!(other.is_ok(), "another aggregate");
    drop(first);
    for outcome in join_all(waiting).await {
        outcome.unwrap().unwrap();
    }
    assert!(take(&executor, 1).await.is_ok());
}

/// The origin of a request with this key, that asks for this, and creates what gets this id.
fn keyed(key: u128, asked_for: u128, created: u128) -> Origin {
    let request = KeyedRequest {
        key: RequestHash::from_bits(key),
        request: RequestHash::from_bits(asked_for),
        created: Some(Uuid::from_u128(created)),
    };
    Origin { request: Some(request), ..origin() }
}

#[tokio::test]
async fn executor_request_repeated_on_several_replicas_is_stored_once() {
    let (log, replicas) = replicas::<4>();
    let who = principal(1);
    let tries = (0..40).map(|n| {
        let executor = Arc::clone(&replicas[n % 4]);
        let n = n as u128;
        async move { (n, executor.execute(who, keyed(1, 1, n), start(n)).await) }
    });
    let mut created = BTreeSet::new();
    for (n, outcome) in join_all(tries).await {
        match outcome {
            Ok(done) => _ = created.insert(done.created(Uuid::from_u128(n), |id| id)),
            // Its replica was carrying out another one.
            Err(ExecuteError::RequestInFlight) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((log.events().len(), created.len()), (1, 1));

    let restarted = Executor::new(Arc::clone(&log) as _);
    let again = restarted.execute(who, keyed(1, 1, 50), start(50)).await.unwrap();
    assert!(again.stored.is_none() && again.event() == Some(log.events()[0].envelope.meta.id));
    assert!(created.contains(&again.created(Uuid::from_u128(50), |id| id)));
    let reused = restarted.execute(who, keyed(1, 2, 50), start(50)).await;
    assert!(matches!(reused, Err(ExecuteError::KeyReused)));
    // Another aggregate does not know the key.
    assert!(restarted.execute(principal(2), keyed(1, 2, 50), start(50)).await.unwrap().stored.is_some());
    assert_eq!(log.events().len(), 2);
}

#[tokio::test]
async fn executor_request_without_an_answer_is_found_when_it_is_repeated() {
    for (fault, stored_at_first) in [(Fault::LostAnswer, true), (Fault::LostRequest, false)] {
        let (log, [one, other]) = replicas();
        log.fail_next(fault);
        let unknown = one.execute(principal(1), keyed(1, 1, 1), start(1)).await;
        assert!(matches!(unknown, Err(ExecuteError::Unknown(_))), "{fault:?}");
        let again = other.execute(principal(1), keyed(1, 1, 2), start(2)).await.unwrap();
        let created = again.created(Uuid::from_u128(2), |id| id);
        assert_eq!(created, Uuid::from_u128(if stored_at_first { 1 } else { 2 }), "{fault:?}");
        assert_eq!((again.stored.is_none(), log.events().len()), (stored_at_first, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn batch_request_repeated_stores_nothing_of_it_again() {
    let (log, [one, other]) = replicas();
    for id in [NAME, EMAIL] {
        assert_eq!(other.state::<Claim>(id).await.unwrap().sequence, 0, "cached: the name is free");
    }
    let take = &TakeClaim { owner: principal(1) };
    let both = |mut batch: Batch| async move {
        batch.decide(NAME, take).await?;
        batch.decide(EMAIL, take).await?;
        Ok::<_, ExecuteError<AlreadyClaimed>>(batch)
    };
    one.execute_batch(&keyed(1, 1, 1), both).await.unwrap();
    // Somebody else has one of them by now.
    one.execute(EMAIL, origin(), ReleaseClaim { owner: principal(1) }).await.map(|_| ()).unwrap();
    one.execute(EMAIL, origin(), TakeClaim { owner: principal(2) }).await.map(|_| ()).unwrap();
    let events = log.events().len();
    other.execute_batch(&keyed(1, 1, 2), both).await.unwrap();
    let reused = other.execute_batch(&keyed(1, 2, 2), both).await;
    assert!(matches!(reused, Err(ExecuteError::KeyReused)));
    assert_eq!(log.events().len(), events);
    let rejected = other.execute_batch(&keyed(2, 1, 2), both).await;
    assert!(matches!(rejected, Err(ExecuteError::Rejected(AlreadyClaimed))), "another request is decided");
}
