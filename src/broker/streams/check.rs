//! Compares a stream's configuration, as the broker reports it, with what its guarantees need. The broker accepts some
//! settings with silently changed values.

use async_nats::jetstream::stream::{Config, PersistenceMode};

use super::StreamError;

/// Returns the first setting that differs.
pub(super) fn check_settings(wanted: &Config, got: &Config) -> Result<(), StreamError> {
    macro_rules! require_equal {
        ($($field:ident),* $(,)?) => {
            $(if wanted.$field != got.$field {
                return Err(StreamError::Differs {
                    stream: wanted.name.clone(),
                    field: stringify!($field),
                    wanted: format!("{:?}", wanted.$field),
                    got: format!("{:?}", got.$field),
                });
            })*
        };
    }
    require_equal!(
        subjects,
        storage,
        retention,
        discard,
        discard_new_per_subject,
        max_bytes,
        max_message_size,
        max_messages,
        max_messages_per_subject,
        max_age,
        num_replicas,
        no_ack,
        sealed,
        duplicate_window,
        deny_delete,
        deny_purge,
        allow_rollup,
        allow_atomic_publish,
        allow_message_schedules,
        allow_message_ttl,
        allow_message_counter,
        subject_transform,
        republish,
        mirror,
        sources,
    );
    // In this mode the broker acknowledges before it writes, whatever its fsync setting.
    if got.persist_mode.as_ref().is_some_and(|mode| *mode == PersistenceMode::Async) {
        return Err(StreamError::Differs {
            stream: wanted.name.clone(),
            field: "persist_mode",
            wanted: "default".to_owned(),
            got: "async".to_owned(),
        });
    }
    Ok(())
}
