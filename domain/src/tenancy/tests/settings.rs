//! Changes of an instance's name and other settings, by its owner and by administrators.

use super::fixtures::*;
use crate::aggregate::Command;
use crate::ids::InstanceId;
use crate::personal::Personal;
use crate::tenancy::event::*;
use crate::tenancy::{
    AdministerSettings, AdministratorNote, ChangeSettings, RequestInstance, SettingsRejected, Tenancy,
    desired_assignments,
};
use crate::testing::{Given, at, given, user};
use crate::wire::DesiredState;

fn rename(instance_id: InstanceId, name: &str) -> ChangeSettings {
    ChangeSettings {
        instance_id,
        name: Some(name.parse().unwrap()),
        on_lost: None,
        expires_at: None,
        autostop: None,
        now: at(10),
    }
}

fn renamed(instance_id: InstanceId, name: &str) -> TenancyEvent {
    TenancyEvent::SettingsChanged(SettingsChanged {
        instance_id,
        on_lost: OnLost::Wait,
        lifetime: Lifetime::default(),
        name: Some(Personal::Plain(name.parse().unwrap())),
        by_administrator: None,
    })
}

/// The running instance `web`, and `db`, which is being created.
fn two() -> Vec<TenancyEvent> {
    [history::running(), vec![TenancyEvent::Requested(requested(DB, "db"))]].concat()
}

#[test]
fn rename_frees_the_old_name_and_takes_the_new_one() {
    let tenancy = given(two())
        .when(rename(WEB, "web"))
        .then_nothing()
        .when(rename(WEB, "db"))
        .then_rejected(SettingsRejected::NameTaken)
        .when(rename(WEB, "shop"))
        .then(renamed(WEB, "shop"));
    let find = |name: &str| tenancy.state.find_by_name(&name.parse().unwrap());
    assert_eq!((find("web"), find("shop")), (None, Some(WEB)));
    tenancy.clone().when(rename(DB, "shop")).then_rejected(SettingsRejected::NameTaken);
    tenancy.when(rename(DB, "web")).then(renamed(DB, "web"));
}

/// A request for an instance is decided on the same names.
#[test]
fn request_of_a_name_that_an_instance_was_given_later_is_refused() {
    let tenancy = given::<Tenancy>(two()).and(vec![renamed(WEB, "shop")]);
    let request = |name: &str| RequestInstance { name: Some(name.parse().unwrap()), ..request(CI) };
    assert!(request("shop").decide(&tenancy.state).is_err());
    assert!(request("web").decide(&tenancy.state).is_ok());
}

#[test]
fn rename_restarts_nothing_and_a_container_made_later_has_the_new_name() {
    let before = given::<Tenancy>(two());
    let after = before.clone().when(rename(WEB, "shop")).then(renamed(WEB, "shop"));
    let web = |tenancy: &Given<Tenancy>| {
        let web = tenancy.state.instance(WEB).unwrap();
        (web.generation, web.placement, web.desired, web.progress.clone())
    };
    assert_eq!(web(&after), web(&before));
    let assignments = desired_assignments(user(1), WEB, after.state.instance(WEB).unwrap());
    let hostnames: Vec<_> =
        assignments.values().filter_map(|one| Some(one.container.as_ref()?.hostname.clone())).collect();
    assert_eq!(hostnames, ["shop"]);
}

#[test]
fn rename_of_what_is_deleted_or_of_nobodys_instance_is_refused() {
    given(history::deleting()).when(rename(WEB, "shop")).then_rejected(SettingsRejected::Deleting);
    given(history::running()).when(rename(CI, "shop")).then_rejected(SettingsRejected::NotFound);
}

#[test]
fn settings_changed_by_an_administrator_show_the_reason_until_the_owner_changes_the_desired_state() {
    let by =
        |reason: Option<&str>| AdministerSettings { change: rename(WEB, "shop"), reason: reason.map(str::to_owned) };
    let expected = |reason: Option<&str>| {
        let TenancyEvent::SettingsChanged(changed) = renamed(WEB, "shop") else { unreachable!() };
        let reason = reason.map(|reason| Personal::Plain(reason.to_owned()));
        TenancyEvent::SettingsChanged(SettingsChanged { by_administrator: Some(ByAdministrator { reason }), ..changed })
    };
    given(history::running()).when(by(None)).then(expected(None));
    let changed = given(history::running()).when(by(Some("as asked"))).then(expected(Some("as asked")));
    let web = changed.state.instance(WEB).unwrap();
    let reason = Some(Personal::Plain("as asked".to_owned()));
    let Some(AdministratorNote { wanted, reason: shown, .. }) = web.administered.clone() else { panic!("{web:?}") };
    assert_eq!((wanted, shown), (DesiredState::Running, reason));
    // Nothing changes, so nothing is recorded.
    changed.clone().when(by(Some("again"))).then_nothing();
    let by_owner = changed.and(vec![renamed(WEB, "web")]);
    assert!(
        by_owner.state.instance(WEB).unwrap().administered.is_some(),
        "it is still the last one of an administrator"
    );
    let stopped = by_owner.and(vec![TenancyEvent::StopRequested(change_requested(2, 40))]);
    assert!(stopped.state.instance(WEB).unwrap().administered.is_none());
}
