//! What administrators can do with the API, they can do with the command line.

use std::collections::BTreeSet;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::http::testing::DOCUMENT;

/// The operations of administrators, each with the command that calls it.
const COMMANDS: &[(&str, &str)] = &[
    ("listUsers", "admin users list"),
    ("getUser", "admin users show"),
    ("changeRole", "admin users role"),
    ("disableUser", "admin users disable"),
    ("enableUser", "admin users enable"),
    ("eraseUser", "admin users erase"),
    ("endUserSessions", "admin users sign-out"),
    ("issuePasswordReset", "admin users reset-password"),
    ("getQuota", "admin users quota"),
    ("setQuota", "admin users quota"),
    ("setUserGroup", "admin groups add"),
    ("listGroups", "admin groups list"),
    ("getGroup", "admin groups list"),
    ("createGroup", "admin groups create"),
    ("changeGroup", "admin groups change"),
    ("deleteGroup", "admin groups delete"),
    ("listInvitations", "admin invitations list"),
    ("createInvitation", "admin invitations create"),
    ("revokeInvitation", "admin invitations revoke"),
    ("listAllInstances", "admin instances list"),
    ("getAnyInstance", "admin instances list"),
    ("getAnyInstanceHistory", "admin instances history"),
    ("stopAnyInstance", "admin instances stop"),
    ("resumeAnyInstance", "admin instances resume"),
    ("changeAnyInstance", "admin instances change"),
    ("deleteAnyInstance", "admin instances delete"),
    ("listBackends", "admin backends list"),
    ("getAnyBackend", "admin backends show"),
    ("approveBackend", "admin backends approve"),
    ("setBackendCapacity", "admin backends capacity"),
    ("setBackendLabels", "admin backends labels"),
    ("cordonBackend", "admin backends cordon"),
    ("uncordonBackend", "admin backends uncordon"),
    ("drainBackend", "admin backends drain"),
    ("getDrain", "admin backends drain-status"),
    ("undrainBackend", "admin backends undrain"),
    ("revokeBackendKey", "admin backends revoke"),
    ("issueBackendKey", "admin backends key"),
    ("rotateBackendKey", "admin backends rotate-key"),
    ("removeBackend", "admin backends remove"),
    ("listEnrolmentTokens", "admin enrolment-tokens list"),
    ("createEnrolmentToken", "admin enrolment-tokens create"),
    ("revokeEnrolmentToken", "admin enrolment-tokens revoke"),
    ("explainPlacement", "admin placement explain"),
    ("listAllSessions", "admin sessions list"),
    ("endAnySession", "admin sessions end"),
    ("listQuarantine", "admin quarantine list"),
    ("retryQuarantined", "admin quarantine retry"),
    ("listSettings", "admin settings"),
    ("getUsage", "admin usage"),
    ("listAdminWebhooks", "admin webhooks list"),
    ("createAdminWebhook", "admin webhooks add"),
    ("listEvents", "events"),
    ("watchAllEvents", "events"),
];
/// Figures that the pages draw. A terminal has `/metrics` and `dockhost events`.
const OF_PAGES: [&str; 2] = ["getCharts", "getRefusals"];

#[test]
fn every_operation_of_administrators_has_a_command() {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let items = paths.iter().filter(|(path, _)| path.starts_with("/api/v2/admin/")).map(|(_, item)| item);
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let operations: BTreeSet<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let known = COMMANDS.iter().map(|(operation, _)| *operation).chain(OF_PAGES);
    assert_eq!(known.collect::<BTreeSet<_>>(), operations);
    let dockhost = Cli::command();
    for (operation, words) in COMMANDS {
        let found = words.split(' ').try_fold(&dockhost, |command, word| command.find_subcommand(word));
        assert!(found.is_some(), "{operation}: there is no `dockhost {words}`");
    }
}
