//! What administrators do. Each endpoint is one file; its first argument is the administrator who calls.
//!
//! `list` has what lists share, `user_view`, `backend_view`, `enrolment_token_view`, `invitation_view` and `group_view` what
//! is shown of users, backends, tokens, invitations and groups, `change_backend` what the commands on one backend share.

mod administer;
pub mod approve_backend;
pub mod audit;
pub mod backend;
pub mod backend_drain;
mod backend_view;
pub mod backends;
mod change_backend;
pub mod change_group;
pub mod change_instance;
pub mod change_role;
pub mod cordon_backend;
pub mod create_enrolment_token;
pub mod create_group;
pub mod create_invitation;
pub mod delete_group;
pub mod delete_instance;
pub mod disable_user;
pub mod drain_backend;
pub mod enable_user;
pub mod end_user_sessions;
mod enrolment_token_view;
pub mod enrolment_tokens;
pub mod events;
pub mod explain_placement;
pub mod group;
mod group_view;
pub mod groups;
pub mod instance_history;
pub mod instances;
mod invitation_view;
pub mod invitations;
pub mod issue_backend_key;
pub mod list;
pub mod quota;
mod quota_view;
pub mod remove_backend;
pub mod reset_user_password;
pub mod resume_instance;
pub mod revoke_backend_key;
pub mod revoke_enrolment_token;
pub mod revoke_invitation;
pub mod rotate_backend_key;
pub mod set_backend_capacity;
pub mod set_backend_labels;
pub mod set_quota;
pub mod set_user_group;
pub mod stop_instance;
pub mod uncordon_backend;
pub mod undrain_backend;
pub mod usage;
pub mod user;
mod user_view;
pub mod users;
