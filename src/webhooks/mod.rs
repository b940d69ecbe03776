//! Webhooks: what happens, sent to the URLs of users, signed.
//!
//! The leader's role (`leader/webhooks/`) sends; the API registers, tests and shows. The rules are pure:
//! [`window`] says what may be sent next, [`backoff`] when it is tried again and when not any more, [`beginning`] where a
//! leader goes on, [`address`] which addresses may be called, [`signature`] how a delivery is signed. [`sender`] makes one
//! attempt, for which [`resolver`] finds the addresses. [`source`] is the port through which the role reads what is to be sent,
//! [`progress`] the port to its checkpoints.

pub mod address;
pub mod backoff;
pub mod beginning;
pub mod progress;
pub mod resolver;
pub mod sender;
pub mod signature;
pub mod source;
pub mod window;
