//! The web pages, rendered. In: what the HTTP API answers. Out: HTML.
//!
//! No I/O: `src/http/pages` of the server asks the API and serves what is rendered here. A page is one template with one
//! struct; each part of a page that changes while it is open is a template of its own, which the page includes and which
//! is rendered alone when it is fetched again. askama escapes everything, so a name with markup in it is shown as text.

pub mod account;
pub mod admin;
pub mod assets;
pub mod compare;
pub mod instance;
pub mod moment;
pub mod pages;
pub mod parts;
pub mod timeline;

pub use askama::Template;
