//! Writes every page in every state as a file, for screenshots and for people who change the templates:
//! `cargo run -p dockhost-dashboard --example gallery -- FOLDER`.

mod admin;
mod charts;

use std::fs;
use std::path::Path;

use dockhost_dashboard::Template;
use dockhost_dashboard::pages::{
    AccountPage, ErrorPage, Frame, Health, InstancePage, InstancesPage, KeysPage, ResetPage, SignInPage, SignUp,
    SignUpPage, Size, StatusPage, User,
};
use dockhost_dashboard::parts::{InstanceDetail, InstanceList, KeyList, Profile, SessionList, SshKey, TokenList};
use dockhost_dashboard::timeline::History;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const LONG: &str = "a-name-of-sixty-three-characters-which-is-as-long-as-it-can-be1";
const MARKUP: &str = "<b onclick=alert(1)>bold</b> & \"quoted\"";

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    Ok(serde_json::from_value(value)?)
}

fn frame(user: Option<&str>) -> Frame {
    Frame { user: user.map(|name| User { name: name.to_owned(), is_admin: false }), version: "0.1.0", has_docs: true }
}

fn instance(name: &str, status: &str, number: u16) -> Value {
    let has_address = !matches!(status, "creating" | "failed");
    let is_under_way = matches!(status, "creating" | "stopping" | "resuming" | "deleting");
    let port = 22_000 + number;
    json!({
        "instanceId": format!("0190b2c4-5a51-7c3e-9d1e-0000000{number:05}"),
        "name": name, "status": status, "size": if number.is_multiple_of(2) { Some("small") } else { None },
        "cpu": 0.5, "memoryMib": 512,
        "sshDetails": has_address.then(|| json!({
            "host": "192.0.2.17", "port": port, "username": "root", "command": format!("ssh -p {port} root@192.0.2.17"),
            "hostKeys": ["SHA256:8Zt0sQ1mBvN3xPqv0wJm9xV3t1rUq7dLk2c5eYb6aHs"],
        })),
        "sshKeys": ["SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"],
        // The deadline is far away, so that a picture of any day shows a bar on its way.
        "underWay": is_under_way.then(|| json!({
            "since": "2026-11-01T08:00:00.000Z", "deadline": "2027-02-01T08:00:00.000Z",
        })),
        "stopsAt": (status == "running").then(|| json!({
            "at": "2026-11-27T18:00:00.000Z", "reason": "autostop", "movedBy": "activity",
            "movedAt": "2026-11-27T17:00:00.000Z",
        })),
        "backend": { "name": "lab-1" }, "createdAt": "2026-11-24T08:00:15.000Z",
    })
}

fn with(mut instance: Value, member: &str, value: Value) -> Value {
    instance[member] = value;
    instance
}

fn many() -> Vec<Value> {
    let at = "2026-11-25T08:00:15.000Z";
    vec![
        instance("web", "running", 1),
        instance("build", "creating", 2),
        with(
            instance("notebook", "stopped", 3),
            "stopReason",
            json!("stopped because the group of its owner has ended"),
        ),
        instance("db", "resuming", 4),
        with(
            instance("gpu", "failed", 5),
            "failure",
            json!([{ "backend": "lab-2", "reason": "its machine lacks the image of new instances" }]),
        ),
        with(instance("old", "unreachable", 6), "lastSeen", json!(at)),
        with(instance("worker", "running", 7), "lastEnd", json!({ "message": "it ran out of memory", "at": at })),
        with(
            instance(MARKUP, "stopped", 8),
            "administrator",
            json!({ "at": at, "wanted": "stopped", "reason": MARKUP }),
        ),
        with(instance(LONG, "running", 9), "backend", json!({ "name": LONG })),
    ]
}

fn history() -> Result<History, Failure> {
    read(json!({ "items": [
        {
            "position": "log.7", "time": "2026-11-24T08:00:15.000Z", "type": "dockhost.instance.requested.v1",
            "choice": { "backend": "lab-1", "used": 3, "maxContainers": 20, "among": 4 },
            "actor": { "kind": "user" }, "cause": "request:0b6f", "changes": [
                { "member": "name", "before": null, "after": "web" },
                { "member": "status", "before": null, "after": "creating" },
                { "member": "memoryMib", "before": null, "after": 512 },
            ],
        },
        {
            "position": "log.8", "time": "2026-11-24T08:00:17.000Z", "type": "dockhost.instance.observed.v2",
            "actor": { "kind": "backend", "name": "lab-1" }, "cause": "report:17", "changes": [
                { "member": "status", "before": "creating", "after": "running" },
                { "member": "sshPort", "before": null, "after": 22001 },
            ],
        },
        {
            "position": "log.12", "time": "2026-11-25T09:10:00.000Z", "type": "dockhost.instance.observed.v2",
            "actor": { "kind": "backend", "name": LONG }, "cause": "report:18", "changes": [],
        },
    ], "nextCursor": null }))
}

fn keys() -> Result<Vec<SshKey>, Failure> {
    let fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s";
    read(json!([
        { "id": "1", "name": "default", "fingerprint": fingerprint, "addedAt": null },
        { "id": "2", "name": "laptop", "fingerprint": fingerprint, "addedAt": "2026-11-24T08:00:15.000Z" },
        { "id": "3", "name": MARKUP, "fingerprint": fingerprint, "addedAt": "2026-11-24T08:00:15.000Z" },
    ]))
}

fn unreadable<T>() -> Result<T, String> {
    Err("The database is unreachable; try again.".to_owned())
}

fn size(name: &str, cpu_millis: u32, memory_mib: u32) -> Size {
    Size { name: name.to_owned(), cpu_millis, memory_mib }
}

fn instances(user: &str, list: Result<Vec<Value>, String>, keys: Vec<SshKey>) -> Result<InstancesPage, Failure> {
    let instances = match list {
        Ok(instances) => Ok(instances.into_iter().map(read).collect::<Result<_, _>>()?),
        Err(problem) => Err(problem),
    };
    Ok(InstancesPage {
        frame: frame(Some(user)),
        list: InstanceList { instances, max_instances: Some(12) },
        keys,
        sizes: vec![size("small", 500, 512), size("large", 2000, 4096)],
        default_size: size("standard", 1000, 1024),
    })
}

fn status(status: &str, down: &[&str], connected: u64) -> Result<StatusPage, Failure> {
    let health: Health = read(json!({
        "status": status, "phase": "serving", "down": down, "backends": connected, "fleet": { "registered": 3 },
    }))?;
    Ok(StatusPage { frame: frame(None), health, instances: 17 * connected, has_console: true })
}

fn detail(instance: Option<Value>, history: Result<History, String>) -> Result<InstancePage, Failure> {
    let (instance, id) = (instance.map(read).transpose()?, "0190b2c4-5a51-7c3e-9d1e-000000000001".to_owned());
    let detail = InstanceDetail { instance, id, keys: keys()?, history };
    Ok(InstancePage { frame: frame(Some("ada")), detail })
}

fn account() -> Result<AccountPage, Failure> {
    let at = "2026-11-24T08:00:15.000Z";
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";
    let session = |id, is_current, address, device| {
        json!({
            "id": id, "startedAt": at, "expiresAt": "2026-11-25T08:00:15.000Z", "isCurrent": is_current, "address": address,
            "device": device,
        })
    };
    let token = |id, name, scope| json!({ "id": id, "name": name, "scope": scope, "createdAt": at, "expiresAt": "2026-12-24T08:00:15.000Z" });
    Ok(AccountPage {
        frame: frame(Some("ada")),
        profile: Profile {
            account: Ok(read(json!({
                "username": "ada", "email": format!("{LONG}@example.org"), "role": "user", "createdAt": at,
                "maxInstances": 12, "maxCpu": 16.0, "maxMemoryMib": null,
                "use": { "instances": 9, "cpu": 4.5, "memoryMib": 4608 },
                "group": { "name": "course-2026", "endsAt": at, "timeToLiveMinutes": 480, "autostopMinutes": 60 },
            }))?),
        },
        sessions: SessionList {
            sessions: Ok(read(json!([
                session("1", true, Some("192.0.2.7"), Some(firefox)),
                session("2", false, Some("2001:db8:1:2::/64"), Some("curl/8.14.1")),
                session("3", false, None, None),
            ]))?),
        },
        tokens: TokenList {
            tokens: Ok(read(json!([
                token("1", "backup job", "read"),
                token("2", MARKUP, "all"),
                token("3", LONG, "instances")
            ]))?),
        },
    })
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("the folder is missing")?;
    fs::create_dir_all(&folder)?;
    let write = |name: &str, page: &dyn Fn() -> Result<String, Failure>| -> Result<(), Failure> {
        Ok(fs::write(Path::new(&folder).join(format!("{name}.html")), page()?)?)
    };
    for (name, page) in admin::pages() {
        write(name, &page)?;
    }
    write("status-ok", &|| Ok(status("healthy", &[], 3)?.render()?))?;
    write("status-empty", &|| Ok(status("healthy", &[], 0)?.render()?))?;
    write("status-down", &|| Ok(status("unhealthy", &["broker"], 3)?.render()?))?;
    let sign_in = |sign_up| SignInPage { frame: frame(None), next: "/console".to_owned(), sign_up };
    write("signin", &|| Ok(sign_in(SignUp::Open).render()?))?;
    let sign_up = |sign_up| SignUpPage { frame: frame(None), sign_up, invitation: String::new() };
    write("signup", &|| Ok(sign_up(SignUp::Invite).render()?))?;
    write("signup-closed", &|| Ok(sign_up(SignUp::Closed).render()?))?;
    write("instances-first-visit", &|| Ok(instances("ada", Ok(vec![]), vec![])?.render()?))?;
    write("instances-empty", &|| Ok(instances("ada", Ok(vec![]), keys()?)?.render()?))?;
    write("instances-error", &|| Ok(instances("ada", unreadable(), keys()?)?.render()?))?;
    write("instances-many", &|| Ok(instances(&LONG[..32], Ok(many()), keys()?)?.render()?))?;
    write("instance", &|| Ok(detail(Some(instance("web", "running", 1)), Ok(history()?))?.render()?))?;
    write("instance-creating", &|| Ok(detail(Some(instance(LONG, "creating", 1)), Ok(history()?))?.render()?))?;
    write("instance-deleted", &|| Ok(detail(None, Ok(history()?))?.render()?))?;
    write("instance-error", &|| {
        let history = Err("the event log is unreachable; nothing was stored, try again".to_owned());
        Ok(detail(Some(instance(MARKUP, "stopped", 1)), history)?.render()?)
    })?;
    let keys_page = |keys| KeysPage { frame: frame(Some("ada")), list: KeyList { keys } };
    write("keys", &|| Ok(keys_page(Ok(keys()?)).render()?))?;
    write("keys-empty", &|| Ok(keys_page(Ok(vec![])).render()?))?;
    write("account", &|| Ok(account()?.render()?))?;
    write("account-error", &|| {
        let page = AccountPage {
            sessions: SessionList { sessions: unreadable() },
            tokens: TokenList { tokens: unreadable() },
            ..account()?
        };
        Ok(page.render()?)
    })?;
    write("reset", &|| Ok(ResetPage { frame: frame(None), token: String::new() }.render()?))?;
    write("error", &|| {
        let page = ErrorPage {
            frame: frame(None),
            title: "There is no such instance".to_owned(),
            message: "It may have been deleted.".to_owned(),
            request_id: "0b6f4f7e".to_owned(),
        };
        Ok(page.render()?)
    })
}
