//! `dockhost dev`: runs a broker, a database, the server and agents on this machine until Ctrl-C. The data stays.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use dockhost_environment::settings::Setting;
use dockhost_environment::variable;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::confirmation;
use super::dev_banner::{self, Administrator, Join};
use crate::app::config::{AccountArgs, EnrolmentMode, ServerArgs, ServiceUrls};
use crate::app::secrets::Secrets;
use crate::app::{self, Shutdown};
use crate::broker::write_proof::WriteProof;
use crate::common::port_owner;
use crate::dev::agents::{AGENTS_DIR, AgentLauncher};
use crate::dev::broker::DevBroker;
use crate::dev::containers;
use crate::dev::engine::{self, Runtime};
use crate::dev::fetch::{self, MONGOD, NATS_SERVER};
use crate::dev::log_limit;
use crate::dev::mongod::Mongod;
use crate::dev::process::Child;
use crate::dev::running::{LOCK_FILE, RunningDev};
use crate::dev::secrets::{self, ADMIN_PASSWORD_FILE, GeneratedSecrets};
use crate::http::server::Listener;

/// How long an agent may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The administrator, unless DOCKHOST_ADMIN_USERNAME names one. Nobody can sign up with this name.
const DEFAULT_ADMIN: &str = "admin";
/// The broker's port with `--listen`: agents on other machines need a fixed one.
pub const NATS_PORT: u16 = 4222;

/// How to remove what runs with other data directories left in the container engine.
const REMOVE_CONTAINERS: &str =
    "to remove all of DockHost's: docker rm -f $(docker ps -aq --filter label=dockhost.backend)";

/// The arguments of `dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Number of agents.
    #[arg(long, value_name = "N", default_value_t = 2)]
    agents: usize,
    /// What runs the containers [default: docker if an engine responds, else simulated].
    #[arg(long, env = "DOCKHOST_RUNTIME", value_enum)]
    runtime: Option<Runtime>,
    /// Image of the instances [default: the agents build DockHost's own].
    #[arg(long, env = "DOCKHOST_IMAGE", value_name = "IMAGE")]
    image: Option<String>,
    /// Address of this machine on which agents on other machines can reach the broker [default: loopback only].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// Directory of all data: broker, database, secrets and logs.
    #[arg(long, env = "DOCKHOST_DATA", value_name = "DIR", default_value = ".dockhost")]
    data: PathBuf,
    /// Delete the data of earlier runs first, and their containers with all files in these.
    #[arg(long)]
    reset: bool,
    /// Don't ask before containers are removed.
    #[arg(long, requires = "reset")]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Dev {
    /// Runs everything until `stop`. `settings` are its arguments, as administrators are shown them.
    pub async fn run(self, settings: Vec<Setting>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        private_directory(&self.data).with_context(|| format!("creating {}", self.data.display()))?;
        let data = fs::canonicalize(&self.data)?;
        let _lock = lock(&data)?;
        let (host, runtime_dir) = (variable("DOCKER_HOST"), variable("XDG_RUNTIME_DIR"));
        let choice = engine::choose_runtime(self.runtime, host.as_deref(), runtime_dir.as_deref())?;
        if self.reset {
            if choice.runtime == Runtime::Docker && !remove_containers(&data, self.yes, &stop).await? {
                return Ok(ExitCode::FAILURE);
            }
            reset(&data)?;
        }
        // Without --listen nothing else lets other machines in either.
        let default = if self.listen.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let address = self.server.api.address(default);
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("{}; stop it, or choose another port with PORT=…", port_owner::explain(address))
        })?;
        let mut local = listener.local_addr()?;
        if local.ip().is_unspecified() {
            local.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let api = format!("http://{local}");

        eprintln!(
            "starting broker and database (at the first start they are downloaded into {}) …",
            self.data.display()
        );
        let secrets = GeneratedSecrets::load_or_generate(&data)?;
        let (nats_program, mongod_program) =
            tokio::try_join!(fetch::find(&NATS_SERVER, &data), fetch::find(&MONGOD, &data))?;
        let nats_listen = match self.listen {
            Some(address) => SocketAddr::new(address, NATS_PORT),
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        };
        let nats_data = data.join("nats");
        let mongod_data = data.join("mongod");
        let mut server = self.server;
        server.storage.streams.log_max_bytes = log_limit::choose(&data, server.storage.streams.log_max_bytes)?;
        let (nats, mongod) = tokio::join!(
            DevBroker::start(nats_program, nats_data, secrets.clone(), nats_listen),
            Mongod::start(&mongod_program, &mongod_data),
        );
        let (mut nats, mut mongod) = (nats?, mongod?);
        let running = RunningDev { pid: std::process::id(), url: api, nats_url: nats.url(), mongodb_uri: mongod.uri() };
        running.write(&data)?;

        // Its own agents need no approval.
        let enrolment = *server.accounts.enrolment.get_or_insert(EnrolmentMode::Open);
        if enrolment == EnrolmentMode::Token && self.agents > 0 {
            bail!(
                "the agents of `dockhost dev` have no enrolment tokens; use DOCKHOST_ENROLMENT=approval or --agents 0"
            );
        }
        // With the broker on loopback a stranger's backend could not connect. With `--listen` it could, and would be
        // given other people's instances, unless an administrator has to let it in.
        if self.listen.is_some() && enrolment == EnrolmentMode::Open && server.accounts.enrolment_secret.is_none() {
            server.accounts.enrolment_secret = Some(secrets.enrolment().parse()?);
        }
        let sign_up = server.accounts.signup;
        let admin = choose_admin(&mut server.accounts, &data)?;
        let enrolment_secret = server.accounts.enrolment_secret.as_ref().map(|secret| secret.reveal().to_owned());
        let urls = ServiceUrls { nats_url: nats.url(), mongodb_uri: mongod.uri() };
        let env = secrets.server_env();
        let read = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        server.in_force = app::settings::in_force(settings, read);
        let (ready, serving) = oneshot::channel();
        // No load balancer has to notice the end.
        let shutdown = Shutdown { stop: stop.clone(), delay: Duration::ZERO };
        let listener = Listener { tcp: listener, tls: None };
        let replica = tokio::spawn(app::run(server, urls, Secrets::read(read)?, listener, shutdown, move |proof| {
            let _ = ready.send(proof);
        }));
        let mut agents: Vec<Child> = Vec::new();
        let write_proof = stop.run_until_cancelled(serving).await.and_then(Result::ok);
        if write_proof.is_some() {
            let launcher = AgentLauncher {
                api: running.url.clone(),
                enrolment_secret: enrolment_secret.clone(),
                nats_url: nats.url(),
                lan_ip: self.listen.unwrap_or(Ipv4Addr::LOCALHOST.into()),
                runtime: choice.runtime,
                image: self.image.clone(),
                data: data.clone(),
            };
            for n in 1..=self.agents {
                agents.push(launcher.start(n).await?);
            }
            let join = self.listen.map(|address| Join { address, enrolment, secret: enrolment_secret.as_deref() });
            dev_banner::print(&running, &choice, self.image.as_deref(), agents.len(), join, sign_up, &admin);
        }
        let outcome = wait_for_exit(replica, (&mut nats, write_proof), &mut mongod, &mut agents, &stop).await;
        eprintln!("\nstopping …");
        for agent in agents {
            agent.stop(STOP_TIMEOUT).await;
        }
        mongod.stop().await;
        nats.stop().await;
        if choice.runtime == Runtime::Docker {
            print_remaining(&data).await;
        }
        outcome.map(|()| ExitCode::SUCCESS)
    }
}

/// Who the first administrator is: the one that is configured, or `admin` with a generated password.
fn choose_admin(accounts: &mut AccountArgs, data: &Path) -> anyhow::Result<Administrator> {
    if let Some(name) = &accounts.admin_username {
        accounts.admin_password = variable("DOCKHOST_ADMIN_PASSWORD").map(Into::into);
        return Ok(Administrator { name: name.to_string(), password_file: None });
    }
    accounts.admin_username = Some(DEFAULT_ADMIN.parse()?);
    accounts.admin_password = Some(secrets::admin_password(data)?);
    Ok(Administrator { name: DEFAULT_ADMIN.to_owned(), password_file: Some(data.join(ADMIN_PASSWORD_FILE)) })
}

/// Creates a directory that only its owner can enter: it holds secrets, data and logs.
fn private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Waits until the server stops, or until a process exits and the server has to stop. Restarts the broker when it does not
/// store any more.
async fn wait_for_exit(
    mut replica: tokio::task::JoinHandle<anyhow::Result<()>>,
    (nats, write_proof): (&mut DevBroker, Option<Arc<WriteProof>>),
    mongod: &mut Mongod,
    agents: &mut [Child],
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let agent = async {
        if agents.is_empty() {
            return std::future::pending().await;
        }
        let ends = agents.iter_mut().map(|agent| Box::pin(agent.wait()));
        futures::future::select_all(ends).await.0
    };
    let broker = async {
        loop {
            let age = || write_proof.as_ref().map_or(Duration::ZERO, |proof| proof.age());
            let due = nats.until_restart_is_due(age);
            tokio::select! {
                ended = nats.wait() => return exited_early("the broker", ended),
                () = due => {}
            }
            nats.restart().await.context("restarting the broker")?;
        }
    };
    let outcome = tokio::select! {
        ended = &mut replica => return ended.context("the server panicked")?,
        ended = broker => ended,
        ended = mongod.process().wait() => exited_early("the database", ended),
        ended = agent => exited_early("an agent", ended),
    };
    stop.cancel();
    let _ = replica.await;
    outcome
}

fn exited_early<E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    ended: Result<std::process::ExitStatus, E>,
) -> anyhow::Result<()> {
    match ended {
        Ok(status) => bail!("{what} exited unexpectedly ({status}); its log is in the data directory"),
        Err(error) => Err(error).context(format!("waiting for {what}")),
    }
}

/// Locks the data directory: only one `dockhost dev` may use it.
fn lock(data: &Path) -> anyhow::Result<File> {
    let lock = File::options().create(true).truncate(false).write(true).read(true).open(data.join(LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => match RunningDev::read(data) {
            Some(RunningDev { pid, url, .. }) => {
                bail!("`dockhost dev` runs already (process {pid}) at {url}; stop it first")
            }
            None => bail!("`dockhost dev` is already starting with the data in {}", data.display()),
        },
    }
}

/// Removes the containers of the data directory's agents, after saying which; false if the answer is no.
async fn remove_containers(data: &Path, yes: bool, stop: &CancellationToken) -> anyhow::Result<bool> {
    let found = containers::list(data).await.context("looking for the containers of earlier runs")?;
    if found.is_empty() {
        eprintln!("no containers of earlier runs with this data are left; {REMOVE_CONTAINERS}");
        return Ok(true);
    }
    eprintln!("these containers of earlier runs, with all files in them, will be removed:\n  {}", found.join("\n  "));
    if !yes {
        if !io::stdin().is_terminal() {
            bail!("nothing was done: this can't be undone, so it needs --yes or a confirmation on a terminal");
        }
        eprint!("Remove them, and delete all data? This can't be undone. Type yes: ");
        if !confirmation::yes_is_typed(stop).await? {
            eprintln!("nothing was done");
            return Ok(false);
        }
    }
    let removed = containers::remove(data).await.context("removing the containers of earlier runs")?;
    eprintln!("removed:\n  {}", removed.join("\n  "));
    Ok(true)
}

/// Says which containers go on without DockHost.
async fn print_remaining(data: &Path) {
    match containers::list(data).await {
        Ok(left) if left.is_empty() => {}
        Ok(left) => eprintln!(
            "these containers stay, and the running ones go on running; the next start manages them again, and --reset \
             removes them:\n  {}",
            left.join("\n  ")
        ),
        Err(error) => eprintln!("could not look for containers that stay: {error:#}"),
    }
}

/// Deletes everything but the downloaded programs and the lock file.
fn reset(data: &Path) -> anyhow::Result<()> {
    for name in
        ["nats", "mongod", AGENTS_DIR, "secrets.json", ADMIN_PASSWORD_FILE, "running.json", log_limit::LIMIT_FILE]
    {
        let path = data.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
