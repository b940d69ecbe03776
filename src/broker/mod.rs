//! The server's side of the broker: its connection, and the door at which backends are let in.
//!
//! In: the broker's URL, this server's keys, and two small ports to the rest of the server (who holds an API key, how
//! much room a backend has). Out: a connection that heals itself, and two services that every replica offers in one
//! queue group. Agents are not trusted: what they may say and hear is decided here, nowhere else.
//!
//! # Layout
//! - [`connect`]: how the server connects and what it does when the broker is away.
//! - [`jwt`]: the broker's questions and the server's signed answers.
//! - [`callout`]: the service that lets backends in.
//! - [`hello`]: the service that gives a backend its assignments.

pub mod connect;
