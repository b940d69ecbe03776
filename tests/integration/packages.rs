//! What `make install` and the Debian packages install, with the programs of this build.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::harness::{program, run, run_script};
use crate::structure::root;

/// Installs a part below a folder, as a package does.
async fn install(part: &str, root: &Path, prefix: &str) {
    let programs = program("dockhost");
    let script = format!(
        "umask 077; {} {part} {} {} {prefix}",
        self::root().join("deploy/package/install.sh").display(),
        programs.parent().unwrap().display(),
        root.display(),
    );
    let output = run_script(root, &script, &[], "").await;
    assert_eq!(output.code, 0, "{output:?}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[tokio::test]
async fn install_puts_programs_pages_units_and_settings_below_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["server", "agent"] {
        install(part, folder.path(), "/opt/dockhost").await;
    }
    let at = |path: &str| -> PathBuf { folder.path().join(path) };
    for name in ["dockhost", "dockhost-agent"] {
        assert_eq!(mode(&at(&format!("opt/dockhost/bin/{name}"))), 0o755);
    }
    for path in [
        "man/man1/dockhost.1",
        "man/man1/dockhost-export.1",
        "bash-completion/completions/dockhost",
        "zsh/site-functions/_dockhost",
        "fish/vendor_completions.d/dockhost.fish",
        "dockhost/nats.conf",
        "doc/dockhost/env.example",
        "doc/dockhost/CHANGELOG.md",
    ] {
        assert!(std::fs::metadata(at("opt/dockhost/share").join(path)).unwrap().len() > 100, "{path}");
    }
    for unit in ["dockhost.service", "dockhost-agent.service", "dockhost-backup.service"] {
        let text = std::fs::read_to_string(at("opt/dockhost/lib/systemd/system").join(unit)).unwrap();
        assert!(text.contains("\nExecStart=/opt/dockhost/bin/dockhost") && !text.contains("/usr/bin"), "{text}");
    }
    for (part, file) in [("dockhost", "server.env"), ("dockhost-agent", "agent.env")] {
        let text = std::fs::read_to_string(at("etc/dockhost").join(file)).unwrap();
        let explained = format!("opt/dockhost/share/doc/{part}/env.example");
        assert!(text.contains(&format!(" /{explained}")) && !text.contains("/usr/"), "{text}");
        assert!(at(&explained).exists(), "{explained}");
        assert_eq!(std::fs::read_to_string(at("opt/dockhost/share/dockhost").join(file)).unwrap(), text);
    }
    // Whatever the umask of whoever installs it.
    assert_eq!(mode(&at("opt/dockhost/share/bash-completion/completions/dockhost")), 0o644);

    // Settings have secrets, and an installed file is not replaced by the next version.
    let settings = at("etc/dockhost/server.env");
    assert_eq!(mode(&settings), 0o600);
    std::fs::write(&settings, "NATS_URL=nats://10.0.0.3:4222\n").unwrap();
    install("server", folder.path(), "/opt/dockhost").await;
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "NATS_URL=nats://10.0.0.3:4222\n");
}

#[tokio::test]
async fn programs_tell_their_version() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--version"], &[]).await;
    // With the commit if it was named or the build is optimised, as the build script decides.
    let expected = format!("dockhost {}\n", dockhost_environment::VERSION);
    assert_eq!((output.code, &output.out), (0, &expected), "{output:?}");
    assert!(expected.starts_with(concat!("dockhost ", env!("CARGO_PKG_VERSION"))), "{expected}");
    let agent = run_script(folder.path(), &format!("{} --version", program("dockhost-agent").display()), &[], "").await;
    assert_eq!(agent.out, expected.replace("dockhost ", "dockhost-agent "));
}

/// It runs as root on other people's machines. What the package does with its units is generated in the place of the mark.
#[tokio::test]
async fn package_script_is_valid_shell_with_a_place_for_the_units() {
    let folder = root().join("deploy/package/debian");
    let output = run_script(&folder, "sh -n dockhost.postinst", &[], "").await;
    assert_eq!(output.code, 0, "{output:?}");
    let script = std::fs::read_to_string(folder.join("dockhost.postinst")).unwrap();
    assert!(script.starts_with("#!/bin/sh\nset -e\n") && script.ends_with("\n#DEBHELPER#\n"), "{script}");
}
