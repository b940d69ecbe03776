//! Queries. Each handler waits for the position that its caller asks for, reads, and answers.

pub mod backend;
pub mod events;
pub mod export_account;
pub mod health;
pub mod home;
pub mod instance;
pub mod instance_history;
pub mod instances;
pub mod live;
pub mod me;
pub mod operation;
pub mod ready;
pub mod sessions;
pub mod ssh_keys;
pub mod tokens;
pub mod webhook;
pub mod webhook_deliveries;
pub mod webhooks;
