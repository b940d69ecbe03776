//! The gateway: runs DockHost's agent for machines whose program speaks Socket.IO, as the backends of DockHostV2 do.
//!
//! In: the socket of one machine. Out: one agent, an ordinary client of the broker with that machine's own key, which ends
//! when the socket does. Toward the log such a machine is a backend like any other; only the runtime differs: its
//! operations are messages to the machine.
//!
//! A machine has no list of its containers, no labels and no ids. So the name of a container says its instance and
//! placement, and its id, which the log keeps, says its ports besides: whichever replica a machine connects to knows from
//! its assignments which containers it may have, and asks it about each.
//!
//! # Layout
//! - [`protocol`]: the messages, pure functions.
//! - [`link`]: questions to one machine and their answers. [`containers`]: what is known of its containers.
//! - [`observer`]: looks at the containers. [`ssh`]: whether an SSH server answers.
//! - [`runtime`]: the runtime of the agent, made of these.
//! - [`socket`]: all of it on a socket.

pub mod containers;
pub mod link;
pub mod observer;
pub mod protocol;
pub mod runtime;
pub mod socket;
pub mod ssh;

#[cfg(test)]
mod testing;
