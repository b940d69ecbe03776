//! A hostile agent against a whole system: real replicas, broker, database and honest agents.
//!
//! - [`raw`]: a NATS client without the limits of a client library. [`flood`]: what it sends, and how fast.
//! - [`sockets`]: raw connections to the API. [`processor`]: the processor time of all processes.
//! - [`system`]: the system under attack. [`honest`]: a user's creates meanwhile. [`observation`]: what the attack
//!   changed. [`run`]: the phases before, during and after one attack.

#![expect(missing_docs, reason = "helpers with telling names; the others are documented")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests and their helpers fail by panicking")]

pub mod flood;
pub mod honest;
pub mod observation;
pub mod processor;
pub mod raw;
pub mod run;
pub mod sockets;
pub mod system;
