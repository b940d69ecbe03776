//! The read model `sessions`: one document per sign-in. In: session events. Out: who signed in when, and until when.
//! For people who look after the service; whether a token counts is asked of the follower and the log, never of this.

mod document;
mod fold;

pub use document::{SessionDocument, Sessions};
