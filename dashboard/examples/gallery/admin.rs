//! The pages of administrators.

use dockhost_dashboard::Template;
use dockhost_dashboard::admin::fleet::{
    EnrolmentTokenList, Machine, MachineDetail, MachineList, MachinePage, MachinesPage,
};
use dockhost_dashboard::admin::fleet_map::FleetMap;
use dockhost_dashboard::admin::log::{AllInstances, AllInstancesPage, LogPage, Tail};
use dockhost_dashboard::admin::overview::{Overview, OverviewPage};
use dockhost_dashboard::admin::people::{GroupList, InvitationList, PeopleList, PeoplePage, PersonDetail, PersonPage};
use dockhost_dashboard::admin::quarantine::{Quarantine, QuarantinePage};
use dockhost_dashboard::admin::sessions::{AllSessions, AllSessionsPage};
use dockhost_dashboard::admin::settings::SettingsPage;
use dockhost_dashboard::admin::usage::UsagePage;
use dockhost_dashboard::admin::{Chip, List};
use dockhost_dashboard::pages::{Frame, User};
use serde_json::{Value, json};

use crate::charts::charts;
use crate::{Failure, LONG, MARKUP, many, read, unreadable};

const AT: &str = "2026-11-24T08:00:15.000Z";

type Page = fn() -> Result<String, Failure>;

/// Each page by its name.
pub const fn pages() -> [(&'static str, Page); 17] {
    [
        ("admin-overview", || overview(true)),
        ("admin-overview-calm", || overview(false)),
        ("admin-machines", || machines(Some(fleet()))),
        ("admin-machines-empty", || machines(Some(vec![]))),
        ("admin-machines-error", || machines(None)),
        ("admin-machine", || machine(false)),
        ("admin-machine-draining", || machine(true)),
        ("admin-instances", || instances(true)),
        ("admin-instances-empty", || instances(false)),
        ("admin-people", people),
        ("admin-person", person_page),
        ("admin-log", log),
        ("admin-quarantine", || quarantine(true)),
        ("admin-quarantine-empty", || quarantine(false)),
        ("admin-sessions", sessions),
        ("admin-usage", usage),
        ("admin-settings", settings),
    ]
}

fn frame() -> Frame {
    Frame { user: Some(User { name: "root-admin".to_owned(), is_admin: true }), version: "0.1.0", has_docs: true }
}

fn one(number: u32, name: &str, status: &str, changes: Value) -> Value {
    let mut machine = json!({
        "id": format!("0190b2c4-5a51-7c3e-9d1e-0000000{number:05}"), "username": name, "status": status, "labName": "Lab 3",
        "operatingSystem": "Debian 12", "maxContainers": 20, "requestedMaxContainers": 20, "labels": { "zone": "a" },
        "cordoned": false, "drain": null, "keyRevoked": false, "address": "192.0.2.17", "runtime": "docker",
        "agentVersion": "0.1.0", "createdAt": AT, "lastSeen": AT, "load": 0.41, "memory": 0.63, "instances": number,
        "machine": { "engine": { "state": "ok" }, "image": null, "isolation": null },
    });
    if let (Some(machine), Value::Object(changes)) = (machine.as_object_mut(), changes) {
        machine.extend(changes);
    }
    machine
}

fn fleet() -> Vec<Value> {
    let drain = json!({ "startedAt": AT, "deadline": AT, "endedAt": null, "retire": false });
    let image =
        json!({ "engine": null, "image": { "state": "missing", "reason": "it is being built" }, "isolation": null });
    vec![
        one(3, "lab-1", "connected", json!({ "load": 0.07 })),
        one(12, "lab-2", "connected", json!({ "cordoned": true, "load": 0.83 })),
        one(20, "lab-3", "lost", json!({ "load": null })),
        one(0, "lab-4", "pending", json!({ "load": null, "agentVersion": null, "runtime": null })),
        one(7, "lab-5", "connected", json!({ "drain": drain, "load": 0.58 })),
        one(1, "lab-6", "degraded", json!({ "machine": image, "load": 1.4 })),
        one(2, LONG, "connected", json!({ "keyRevoked": true })),
    ]
}

fn list<T: serde::de::DeserializeOwned>(items: &[Value]) -> Result<List<T>, Failure> {
    read(json!({ "items": items, "nextCursor": "0190b2c4-5a51-7c3e-9d1e-000000000001" }))
}

fn overview(has_faults: bool) -> Result<String, Failure> {
    let machines: Vec<Machine> = if has_faults { fleet() } else { vec![one(3, "lab-1", "connected", json!({}))] }
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let quarantined =
        json!([{ "subject": "tenancy.0190b2c4-5a51-7c3e-9d1e-000000000001", "sequence": 7, "why": "unknown type" }]);
    let health = read(json!({
        "status": "healthy", "down": if has_faults { json!(["database"]) } else { json!([]) }, "problems": [], "backends": 5,
        "uptime": 600, "fleet": { "registered": 7, "problems": [], "massFailure": false },
        "log": { "bytes": if has_faults { 966_367_642_u64 } else { 10_000_000 }, "maxBytes": 1_073_741_824 },
        "projections": { "users": { "lag": 2 } },
        "quarantined": { "count": i32::from(has_faults), "entries": if has_faults { quarantined } else { json!([]) } },
    }))?;
    let overdue = if has_faults { owned(many()).into_iter().take(1).collect() } else { vec![] };
    let refusals =
        json!({ "lastTenMinutes": if has_faults { 57 } else { 0 }, "hourBefore": 12, "isRising": has_faults });
    let overview = Overview {
        health,
        machines: Ok(machines),
        overdue: Ok(List { items: overdue.into_iter().map(read).collect::<Result<_, _>>()?, next_cursor: None }),
        refusals: read(refusals)?,
    };
    let charts = charts(if has_faults { 360 } else { 1 })?;
    Ok(OverviewPage { frame: frame(), overview, charts }.render()?)
}

fn machines(found: Option<Vec<Value>>) -> Result<String, Failure> {
    let all = found.clone().map_or_else(|| Ok(unreadable()), |found| read(Value::Array(found)).map(Ok))?;
    let machines = found.map_or_else(|| Ok(unreadable()), |found| list(&found).map(Ok))?;
    let token = json!({ "id": "1", "status": "valid", "createdAt": AT, "expiresAt": AT, "maxContainers": 8 });
    let page = MachinesPage {
        frame: frame(),
        map: FleetMap { machines: all },
        list: MachineList { machines, cursor: None },
        tokens: EnrolmentTokenList { tokens: Ok(vec![read(token)?]) },
    };
    Ok(page.render()?)
}

fn machine(drains: bool) -> Result<String, Failure> {
    let progress = json!({
        "status": "draining", "deadline": AT, "left": 2, "stopped": 4, "moved": 1, "stayed": 1,
        "instances": [{ "instanceId": "0190b2c4-5a51-7c3e-9d1e-000000000001", "reason": "no other machine has room" }],
    });
    let number = if drains { 4 } else { 0 };
    let machine = fleet().into_iter().nth(number).ok_or("there is no such machine")?;
    let progress = if drains { Some(Ok(read(progress)?)) } else { None };
    Ok(MachinePage { frame: frame(), detail: MachineDetail { machine: read(machine)?, progress } }.render()?)
}

fn chips(words: &[&'static str]) -> Vec<Chip> {
    let chip = |(index, name): (usize, &&'static str)| Chip { name, address: "#".to_owned(), is_chosen: index == 0 };
    words.iter().enumerate().map(chip).collect()
}

fn owned(instances: Vec<Value>) -> Vec<Value> {
    let owned = |mut instance: Value| {
        instance["owner"] = json!({ "id": "1", "username": "ada" });
        instance
    };
    instances.into_iter().map(owned).collect()
}

fn instances(has_some: bool) -> Result<String, Failure> {
    let found = if has_some { owned(many()) } else { vec![] };
    let page = AllInstancesPage {
        frame: frame(),
        list: AllInstances {
            instances: Ok(list(&found)?),
            query: String::new(),
            next: has_some.then(|| "#".to_owned()),
        },
        chips: chips(&["All", "Running", "Stopped", "Failed", "Creating"]),
        name: if has_some { String::new() } else { LONG.to_owned() },
        kept: vec![],
        narrowed: (!has_some).then_some("Of one person or machine."),
    };
    Ok(page.render()?)
}

fn person(number: u32, name: &str, changes: Value) -> Value {
    let mut person = json!({
        "id": format!("0190b2c4-5a51-7c3e-9d1e-0000000{number:05}"), "username": name, "email": format!("{name}@example.org"),
        "role": "user", "state": "active", "createdAt": AT, "disabledAt": null, "disabledReason": null, "group": null,
        "instances": number, "cpu": 1.5, "memoryMib": 1536, "lastSignInAt": AT,
    });
    if let (Some(person), Value::Object(changes)) = (person.as_object_mut(), changes) {
        person.extend(changes);
    }
    person
}

fn groups() -> Vec<Value> {
    let group = |id: &str, name: &str, max: Option<u32>| {
        json!({
            "id": id, "name": name, "maxInstances": max, "endsAt": max.map(|_| AT), "timeToLiveMinutes": null,
            "autostopMinutes": max.map(|_| 60),
        })
    };
    vec![group("1", "course-2026", Some(3)), group("2", MARKUP, None)]
}

fn people() -> Result<String, Failure> {
    let group = json!({ "id": "1", "name": "course-2026" });
    let disabled = json!({ "state": "disabled", "disabledAt": AT, "disabledReason": MARKUP, "lastSignInAt": null });
    let found = vec![
        person(3, "ada", json!({ "role": "admin" })),
        person(0, "grace", json!({ "group": group })),
        person(1, &LONG[..32], json!({})),
        person(2, "eve", disabled),
    ];
    let invitation = json!({ "id": "0190b2c4", "status": "valid", "createdAt": AT, "expiresAt": AT });
    let page = PeoplePage {
        frame: frame(),
        list: PeopleList { people: Ok(list(&found)?), query: String::new(), next: Some("#".to_owned()) },
        search: String::new(),
        chips: chips(&["All", "Active", "Disabled", "Administrators"]),
        groups: GroupList { groups: Ok(groups().into_iter().map(read).collect::<Result<_, _>>()?) },
        invitations: InvitationList { invitations: Ok(vec![read(invitation)?]) },
    };
    Ok(page.render()?)
}

fn person_page() -> Result<String, Failure> {
    let person = read(person(3, "ada", json!({ "group": { "id": "1", "name": "course-2026" } })))?;
    let groups = groups().into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(PersonPage { frame: frame(), detail: PersonDetail { person }, groups }.render()?)
}

fn log() -> Result<String, Failure> {
    let event = |sequence: u64, kind: &str, actor: &str| {
        json!({
            "sequence": sequence, "time": AT, "type": kind, "subject": "tenancy.0190b2c4-5a51-7c3e-9d1e-000000000001",
            "actor": { "kind": "user", "name": actor }, "cause": "request:0b6f", "data": { "instanceId": "0190b2c4", "name": MARKUP },
        })
    };
    let events = vec![
        read(event(1_204, "dockhost.instance.requested.v1", "ada"))?,
        read(event(1_203, "dockhost.session.started.v1", LONG))?,
        read(event(1_202, "dockhost.enrolment-token.created.v1", "ada"))?,
    ];
    let page = LogPage {
        frame: frame(),
        tail: Tail { events: Ok(events), query: String::new(), earlier: Some("#".to_owned()), is_last: true },
        chips: chips(&["All", "Instances", "Machines", "Accounts", "Sessions", "Refusals"]),
    };
    Ok(page.render()?)
}

fn quarantine(has_some: bool) -> Result<String, Failure> {
    let one = |subject: String, models: &[&str]| json!({ "subject": subject, "sequence": 4_711, "since": AT, "why": "unknown type dockhost.instance.teleported.v1", "models": models });
    let id = "0190b2c4-5a51-7c3e-9d1e-000000000001";
    let found = [
        one(format!("dockhost.event.backend.{id}"), &["backends"]),
        one(format!("dockhost.event.claim.{}", LONG.repeat(2)), &[]),
        one(format!("dockhost.event.tenancy.{id}"), &["instances"]),
    ];
    let aggregates = if has_some { list(&found)? } else { List::default() };
    Ok(QuarantinePage { frame: frame(), list: Quarantine { aggregates: Ok(aggregates), cursor: None } }.render()?)
}

fn sessions() -> Result<String, Failure> {
    let session = |number: u32, kind: &str, name: Option<&str>, is_token: bool| {
        json!({
            "id": format!("0190b2c4-5a51-7c3e-9d1e-0000000{number:05}"), "owner": { "kind": kind, "id": "1", "username": name },
            "isToken": is_token, "startedAt": AT, "expiresAt": AT,
        })
    };
    let found = [
        session(1, "user", Some("ada"), false),
        session(2, "backend", Some("lab-1"), false),
        session(3, "user", Some(LONG), true),
        session(4, "user", None, false),
    ];
    let list = AllSessions { sessions: Ok(list(&found)?), query: String::new(), next: Some("#".to_owned()) };
    Ok(AllSessionsPage { frame: frame(), list, is_narrowed: false }.render()?)
}

fn usage() -> Result<String, Failure> {
    let report = json!({
        "users": [
            { "id": "1", "username": "ada", "runningSeconds": 912_345.678 },
            { "id": "2", "username": LONG, "runningSeconds": 86_400.0 },
            { "id": "3", "username": null, "runningSeconds": 12.5 },
        ],
        "groups": [],
        "backends": [{ "id": "4", "name": "lab-1", "runningSeconds": 998_758.178 }],
    });
    let (from, to) = ("2026-11-01".to_owned(), "2026-11-30".to_owned());
    Ok(UsagePage { frame: frame(), from, to, report: Ok(read(report)?) }.render()?)
}

fn settings() -> Result<String, Failure> {
    let setting = |name: &str, value: Option<&str>, source: &str, is_secret: bool, is_set: bool| {
        json!({
            "name": name, "about": "What this setting is for, in a sentence or two that may be rather long, as here", "value": value,
            "source": source, "isSecret": is_secret, "isSet": is_set,
        })
    };
    let sizes = "small=0.5/512/256,medium=1/1024/512,large=2/2048/1024,a-very-large-one=32/262144/16384";
    let found = [
        setting("PORT", Some("3001"), "default", false, true),
        setting("DOCKHOST_BIND", None, "default", false, false),
        setting("DOCKHOST_SIZES", Some(sizes), "environment", false, true),
        setting("DOCKHOST_SIGNUP", Some("invite"), "argument", false, true),
        setting("DOCKHOST_MASTER_KEY", None, "environment", true, true),
        setting("DOCKHOST_MASTER_KEY_PREVIOUS", None, "default", true, false),
    ];
    Ok(SettingsPage { frame: frame(), settings: list(&found)?, chips: chips(&["All", "Not the default"]) }.render()?)
}
