//! What is sent next: the messages of one webhook that are read and not yet delivered.
//!
//! Messages of one lane (an instance) are delivered in order, one at a time; lanes go side by side. After a crash everything
//! after [`Window::position`] is delivered again, in the same order. Messages have personal values of people who may be erased while
//! they wait, so they are released before a long wait, and read again after it.

use std::collections::{BTreeSet, VecDeque};

use super::source::{Batch, Lane, Outgoing};

/// Messages that may be read ahead.
const MAX_MESSAGES: usize = 32;
/// Bytes of messages after which no more are read ahead.
const MAX_BYTES: usize = 1024 * 1024;
/// Messages of one webhook that are on their way at once.
const MAX_IN_FLIGHT: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    Delivered,
}

/// The messages of a webhook.
#[derive(Debug, Default)]
pub struct Window {
    messages: VecDeque<(Outgoing, State)>,
    /// Everything up to here was read.
    read: u64,
    /// Which of the released messages are delivered. They are read again, but not sent.
    delivered: BTreeSet<u64>,
}

impl Window {
    /// Everything up to this sequence is delivered.
    #[must_use]
    pub fn after(position: u64) -> Self {
        Self { read: position, ..Self::default() }
    }

    /// Whether more may be read.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let bytes: usize = self.messages.iter().map(|(message, _)| message.body.len()).sum();
        self.messages.len() < MAX_MESSAGES && bytes < MAX_BYTES
    }

    /// Adds what was read.
    pub fn add(&mut self, Batch { messages, position }: Batch) {
        let (read, delivered) = (self.read, &self.delivered);
        let is_new = |message: &Outgoing| message.sequence > read && !delivered.contains(&message.sequence);
        self.messages.extend(messages.into_iter().filter(is_new).map(|message| (message, State::Waiting)));
        self.read = read.max(position);
        let position = self.position();
        self.delivered.retain(|sequence| *sequence > position);
    }

    /// Releases all messages; none may be on its way. Those after [`Window::position`] are to be read again.
    pub fn release(&mut self) {
        let position = self.position();
        let messages = self.messages.drain(..);
        let delivered = messages.filter(|(_, state)| *state == State::Delivered).map(|(message, _)| message.sequence);
        self.delivered.extend(delivered);
        self.read = position;
    }

    /// The message to send now, if there is one. While the receiver fails, that is one at a time, the oldest first.
    pub fn next(&mut self, is_failing: bool) -> Option<Outgoing> {
        let most = if is_failing { 1 } else { MAX_IN_FLIGHT };
        if self.messages.iter().filter(|(_, state)| *state == State::InFlight).count() >= most {
            return None;
        }
        let found = self.first_free()?;
        let (message, state) = self.messages.get_mut(found)?;
        *state = State::InFlight;
        Some(message.clone())
    }

    /// Where the first message is that waits for none of its lane.
    fn first_free(&self) -> Option<usize> {
        let mut busy: BTreeSet<&Lane> = BTreeSet::new();
        self.messages.iter().position(|(message, state)| match state {
            State::Waiting => busy.insert(&message.lane),
            State::InFlight => {
                busy.insert(&message.lane);
                false
            }
            State::Delivered => false,
        })
    }

    /// The receiver took this message. Its text is not kept.
    pub fn delivered(&mut self, sequence: u64) {
        if let Some(message) = self.set(sequence, State::Delivered) {
            message.body = Vec::new();
        }
        while self.messages.front().is_some_and(|(_, state)| *state == State::Delivered) {
            self.messages.pop_front();
        }
    }

    /// The receiver did not take this message: it waits again, before those after it.
    pub fn failed(&mut self, sequence: u64) {
        self.set(sequence, State::Waiting);
    }

    fn set(&mut self, sequence: u64, state: State) -> Option<&mut Outgoing> {
        let (message, current) = self.messages.iter_mut().find(|(message, _)| message.sequence == sequence)?;
        *current = state;
        Some(message)
    }

    /// Everything up to this sequence is delivered.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.oldest().map_or(self.read, |oldest| oldest.sequence.saturating_sub(1))
    }

    /// The oldest message that is not delivered.
    #[must_use]
    pub fn oldest(&self) -> Option<&Outgoing> {
        self.messages.front().map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dockhost_domain::ids::InstanceId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn message(sequence: u64, lane: u128) -> Outgoing {
        Outgoing {
            sequence,
            lane: Lane::Instance(InstanceId::from_uuid(Uuid::from_u128(lane))),
            message_id: sequence.to_string(),
            happened_at: None,
            body: vec![],
        }
    }

    /// These messages, as sequence and lane, after which everything up to `position` was read.
    fn batch(messages: &[(u64, u128)], position: u64) -> Batch {
        Batch { messages: messages.iter().map(|(sequence, lane)| message(*sequence, *lane)).collect(), position }
    }

    fn window(messages: &[(u64, u128)], position: u64) -> Window {
        let mut window = Window::after(0);
        window.add(batch(messages, position));
        window
    }

    fn all_next(window: &mut Window, is_failing: bool) -> Vec<u64> {
        std::iter::from_fn(|| window.next(is_failing)).map(|message| message.sequence).collect()
    }

    #[test]
    fn next_takes_one_message_of_each_lane_in_order() {
        let mut window = window(&[(1, 1), (2, 1), (3, 2), (4, 1), (5, 3)], 9);
        assert_eq!(all_next(&mut window, false), [1, 3, 5]);
        window.delivered(3);
        assert_eq!((window.position(), all_next(&mut window, false)), (0, vec![]));
        window.delivered(1);
        assert_eq!((window.position(), all_next(&mut window, false)), (1, vec![2]));
        window.delivered(2);
        window.delivered(5);
        assert_eq!((window.position(), all_next(&mut window, false)), (3, vec![4]));
        window.delivered(4);
        assert_eq!((window.position(), window.oldest()), (9, None));
    }

    #[test]
    fn next_has_at_most_four_on_their_way() {
        let mut window = window(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], 5);
        assert_eq!(all_next(&mut window, false), [1, 2, 3, 4]);
        window.delivered(2);
        assert_eq!(all_next(&mut window, false), [5]);
    }

    #[test]
    fn failed_message_is_tried_again_alone_and_before_later_ones() {
        let mut window = window(&[(1, 1), (2, 2), (3, 1)], 3);
        assert_eq!(all_next(&mut window, false), [1, 2]);
        window.failed(1);
        window.failed(2);
        assert_eq!(all_next(&mut window, true), [1]);
        window.failed(1);
        assert_eq!((window.position(), all_next(&mut window, true)), (0, vec![1]));
        window.delivered(1);
        assert_eq!(all_next(&mut window, false), [2, 3]);
    }

    #[test]
    fn released_messages_are_sent_once_they_are_read_again_but_for_those_that_are_delivered() {
        let (all, end) = ([(1, 1), (2, 2), (3, 3), (4, 1)], 6);
        let mut window = window(&all, end);
        assert_eq!(all_next(&mut window, false), [1, 2, 3]);
        window.delivered(1);
        window.delivered(3);
        window.failed(2);
        for _ in 0..3 {
            window.release();
            assert_eq!((window.position(), window.oldest()), (1, None));
            assert!(all_next(&mut window, true).is_empty());
            window.add(batch(&all[1..], end));
            assert_eq!((window.position(), all_next(&mut window, true)), (1, vec![2]));
            window.failed(2);
        }
        assert_eq!(all_next(&mut window, false), [2, 4]);
        window.delivered(2);
        assert_eq!(window.position(), 3);
        window.delivered(4);
        window.add(batch(&[], end + 1));
        assert_eq!(window.position(), end + 1);
        assert!(window.delivered.is_empty(), "{window:?}");
    }

    #[test]
    fn messages_are_not_kept_once_they_are_delivered_and_large_ones_are_not_read_ahead() {
        let mut window = Window::after(0);
        let large =
            |sequence: u64| Outgoing { body: vec![b' '; MAX_BYTES / 2], ..message(sequence, u128::from(sequence)) };
        window.add(Batch { messages: vec![large(1)], position: 1 });
        assert!(window.has_room());
        window.add(Batch { messages: vec![large(2)], position: 2 });
        assert!(!window.has_room());
        assert_eq!(all_next(&mut window, false), [1, 2]);
        // It stays until the one before it is delivered, without its text.
        window.delivered(2);
        assert!(window.has_room() && window.messages.iter().any(|(message, _)| message.body.is_empty()), "{window:?}");
    }

    #[test]
    fn add_of_what_was_read_before_is_left_out() {
        let mut window = window(&[(1, 1), (2, 2)], 2);
        window.add(Batch { messages: vec![message(2, 2), message(3, 3)], position: 3 });
        assert_eq!(all_next(&mut window, false), [1, 2, 3]);
    }

    proptest! {
        /// Whatever fails and in whatever order answers come, and with a restart and releases in between: each message arrives, and
        /// those of a lane in order.
        #[test]
        fn every_message_is_delivered_at_least_once_and_lanes_in_order(
            lanes in prop::collection::vec(0_u128..4, 1..30),
            answers in prop::collection::vec((any::<usize>(), any::<bool>()), 0..200),
            restart_after in 0_usize..100,
        ) {
            let all: Vec<_> = lanes.iter().enumerate().map(|(at, lane)| (at as u64 + 1, *lane)).collect();
            let end = all.len() as u64;
            let mut current = window(&all, end);
            let (mut in_flight, mut last): (Vec<Outgoing>, BTreeMap<Lane, u64>) = (vec![], BTreeMap::new());
            let mut delivered = BTreeSet::new();
            let always = std::iter::repeat_n((0, true), 1000);
            for (step, (which, is_taken)) in answers.into_iter().chain(always).enumerate() {
                if step == restart_after {
                    // The successor knows the position alone; what was in flight may have arrived or not.
                    let position = current.position();
                    current = window(&all, end);
                    current.messages.retain(|(message, _)| message.sequence > position);
                    in_flight.clear();
                    last.clear();
                }
                while let Some(message) = current.next(false) {
                    prop_assert!(in_flight.iter().all(|other| other.lane != message.lane), "two of a lane at once");
                    in_flight.push(message);
                }
                if in_flight.is_empty() {
                    break;
                }
                let message = in_flight.remove(which % in_flight.len());
                if is_taken {
                    let before = last.insert(message.lane.clone(), message.sequence);
                    prop_assert!(before.is_none_or(|before| before < message.sequence), "against the order of its lane");
                    delivered.insert(message.sequence);
                    current.delivered(message.sequence);
                } else {
                    current.failed(message.sequence);
                    if in_flight.is_empty() {
                        current.release();
                        current.add(batch(&all, end));
                    }
                }
            }
            prop_assert_eq!(delivered.len() as u64, end);
            prop_assert_eq!(current.position(), end);
        }
    }
}
