//! The golden events of the domain.

use std::path::Path;

use dockhost_domain::event::{Encoded, Event};
use dockhost_domain::subject::AggregateId;
use serde_json::Value;

/// Every golden event; one about a placement occurs with each of the placements 1 to 3.
pub fn golden_events() -> Vec<(AggregateId, Event)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("domain/golden");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|name| name == "json")).collect();
    paths.sort();
    let mut events = Vec::new();
    for mut stored in paths.iter().flat_map(|path| {
        serde_json::from_slice::<Vec<Value>>(&std::fs::read(path).unwrap()).unwrap_or_else(|_| panic!("{path:?}"))
    }) {
        let subject: AggregateId = stored["subject"].as_str().unwrap().parse().unwrap();
        let placements = if stored["data"]["placement"].is_u64() { 1..=3 } else { 0..=0 };
        for placement in placements {
            if placement > 0 {
                stored["data"]["placement"] = placement.into();
            }
            let encoded: Encoded = serde_json::from_value(stored.clone()).unwrap();
            events.push((subject, Event::decode(&subject, encoded).unwrap()));
        }
    }
    events
}
