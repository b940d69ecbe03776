//! The rules of DockHost, without I/O, clock or randomness.
//!
//! In: recorded events, and commands that bring the time, the candidates for a placement and new ids along. Out: states
//! folded from events, and new events or typed rejections.
//!
//! # Layout
//! - [`ids`], [`names`], [`timestamp`], [`minutes`], [`personal`], [`incarnation`]: small types.
//! - [`subject`]: the subjects of the broker.
//! - [`reported`]: the values that backends send, each with a type that only its valid form can have.
//! - [`event`], [`envelope`]: the events, and their CloudEvents headers. [`idempotency`]: the requests that they were stored for.
//!   [`trace`]: the trace context of messages.
//! - [`wire`]: the messages between server and agents.
//! - [`aggregate`]: the traits of aggregates and commands.
//! - [`account`], [`administrators`], [`claim`], [`session`], [`backend`], [`enrolment`], [`group`], [`invitation`], [`refusal`], [`tenancy`], [`webhook`]: the aggregates.
//! - [`placement`], [`labels`], [`room`]: the choice of a backend for an instance; [`sizes`]: what an instance may use;
//!   [`quota`]: what those of one user may use.

pub mod account;
pub mod administrators;
pub mod aggregate;
pub mod backend;
pub mod claim;
mod decimal;
pub mod enrolment;
pub mod envelope;
pub mod event;
#[cfg(any(test, feature = "testing"))]
pub mod golden;
pub mod group;
pub mod idempotency;
pub mod ids;
pub mod incarnation;
pub mod invitation;
pub mod labels;
pub mod minutes;
pub mod names;
pub mod node_choice;
pub mod personal;
pub mod placement;
pub mod quota;
pub mod refusal;
pub mod reported;
pub mod room;
pub mod session;
pub mod sizes;
pub mod ssh_key;
pub mod subject;
pub mod tenancy;
#[cfg(test)]
pub mod testing;
pub mod timestamp;
pub mod trace;
pub mod webhook;
pub mod wire;
