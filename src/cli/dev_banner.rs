//! What `dockhost dev` prints when everything runs.

use std::net::IpAddr;
use std::path::PathBuf;

use super::dev::NATS_PORT;
use crate::app::config::{EnrolmentMode, SignUpMode};
use crate::dev::engine::{Runtime, RuntimeChoice};
use crate::dev::running::RunningDev;

/// The administrator that the first start makes.
pub struct Administrator {
    pub name: String,
    /// Where the password is, if it was generated.
    pub password_file: Option<PathBuf>,
}

/// How agents on other machines join.
#[derive(Clone, Copy)]
pub struct Join<'a> {
    /// Where they reach the broker.
    pub address: IpAddr,
    /// What lets their backends in.
    pub enrolment: EnrolmentMode,
    /// The secret that registering requires.
    pub secret: Option<&'a str>,
}

/// Prints what runs, and what to do next.
pub fn print(
    running: &RunningDev,
    choice: &RuntimeChoice,
    image: Option<&str>,
    agents: usize,
    join: Option<Join<'_>>,
    sign_up: SignUpMode,
    admin: &Administrator,
) {
    let RunningDev { url: api, nats_url, mongodb_uri, .. } = running;
    let runtime = choice.runtime.as_str();
    let reason = &choice.reason;
    println!("\n  DockHost is running.\n");
    println!("    API      {api}      health {api}/health");
    println!("    broker   {nats_url}      database {mongodb_uri}");
    println!("    agents   {agents}, runtime {runtime}: {reason}");
    match (choice.runtime, image) {
        (Runtime::Simulated, _) => {
            println!("             no containers run; for instances with SSH, start Docker or Podman");
        }
        (Runtime::Docker, Some(image)) => println!("    image    {image}"),
        (Runtime::Docker, None) => {
            println!("    image    the agents build it now, in a minute or two; an instance created earlier may fail.");
            println!(
                "             The build needs a registry; without one, use DOCKHOST_IMAGE=… or --runtime simulated"
            );
        }
    }
    if let Some(Join { address, enrolment, secret }) = join {
        let with = secret.map(|secret| format!(" with \"enrolmentSecret\":\"{secret}\"")).unwrap_or_default();
        let then = match enrolment {
            EnrolmentMode::Open => "",
            EnrolmentMode::Approval => "; then dockhost admin backends approve NAME",
            EnrolmentMode::Token => ", and an \"enrolmentToken\" of dockhost admin enrolment-tokens create",
        };
        println!("    enrol    POST {api}/api/v2/backend/signup{with}{then}");
        println!("    join     NATS_URL=nats://{address}:{NATS_PORT} DOCKHOST_API_KEY=… dockhost-agent");
    }
    print_admin(api, admin);
    println!("\n  Next, in another terminal:\n");
    let invitation = match sign_up {
        SignUpMode::Open | SignUpMode::Closed => "",
        SignUpMode::Invite => {
            println!("    dockhost admin invitations create      # prints the token for the sign-up");
            "\\\"invitation\\\":\\\"…\\\","
        }
    };
    println!("    curl -s -c jar -H 'content-type: application/json' {api}/api/v2/user/signup \\");
    println!(
        "      -d \"{{{invitation}\\\"username\\\":\\\"ada\\\",\\\"email\\\":\\\"ada@example.org\\\",\\\"password\\\":\\\"correct horse\\\",\\\"sshPublicKey\\\":\\\"$(cat ~/.ssh/id_ed25519.pub)\\\"}}\""
    );
    println!("    curl -s -b jar -X POST {api}/api/v2/user/instance");
    if choice.runtime == Runtime::Docker {
        println!("    ssh -p <sshPort> root@127.0.0.1");
    } else {
        println!("    curl -s -b jar {api}/api/v2/user/instance");
    }
    println!("\n  Ctrl-C stops broker, database, server and agents; the data stays.");
    if choice.runtime == Runtime::Docker {
        println!(
            "  Running instances go on without them; the next start manages them again, and --reset removes them."
        );
    }
    println!();
}

fn print_admin(api: &str, admin: &Administrator) {
    let name = &admin.name;
    let Some(file) = &admin.password_file else {
        println!(
            "    admin    {name}, with the password in DOCKHOST_ADMIN_PASSWORD when there was no administrator yet"
        );
        return;
    };
    let file = file.display();
    println!("    admin    {name}, with the password in {file}. To sign in:");
    println!("             dockhost admin login {name} --server {api} < {file}    or");
    println!("             curl -s -c admin.jar -H 'content-type: application/json' {api}/api/v2/user/signin \\");
    println!("               -d \"{{\\\"username\\\":\\\"{name}\\\",\\\"password\\\":\\\"$(cat {file})\\\"}}\"");
}
