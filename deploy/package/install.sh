#!/bin/sh
# Installs what was built: install.sh server|agent PROGRAMS DESTDIR PREFIX [SYSCONFDIR]
# PROGRAMS has the built programs. DESTDIR is put before all paths, and is empty unless a package is made. Settings that exist
# are not replaced.
set -eu

part=$1 programs=$2 root=$3 prefix=$4 sysconf=${5:-/etc}
here=$(cd "$(dirname "$0")/../.." && pwd)
share=$root$prefix/share

put() { # put MODE FILE TARGET
    install -D -m "$1" "$2" "$3"
}

settings() { # settings NAME
    target=$root$sysconf/dockhost/$1
    [ -e "$target" ] || put 0600 "$here/deploy/package/$1" "$target"
}

unit() { # unit NAME
    target=$root$prefix/lib/systemd/system/$1
    put 0644 "$here/deploy/systemd/$1" "$target"
    sed -i "s|/usr/bin/|$prefix/bin/|; s|/etc/dockhost/|$sysconf/dockhost/|" "$target"
}

case $part in
server)
    put 0755 "$programs/dockhost" "$root$prefix/bin/dockhost"
    "$programs/dockhost" man "$share/man/man1"
    for shell in bash zsh fish; do
        case $shell in
        bash) file=bash-completion/completions/dockhost ;;
        zsh) file=zsh/site-functions/_dockhost ;;
        fish) file=fish/vendor_completions.d/dockhost.fish ;;
        esac
        mkdir -p "$share/$(dirname "$file")"
        "$programs/dockhost" completions "$shell" > "$share/$file"
    done
    for name in dockhost.service dockhost-backup.service dockhost-backup.timer; do unit "$name"; done
    settings server.env
    put 0644 "$here/deploy/package/server.env" "$share/dockhost/server.env"
    for name in nats.conf nats-cluster.conf haproxy.cfg deploy/haproxy-tls.cfg deploy/Caddyfile deploy/prometheus-alerts.yml \
        deploy/grafana-dashboard.json; do
        put 0644 "$here/$name" "$share/dockhost/$(basename "$name")"
    done
    for name in README.md CHANGELOG.md docs/API.md docs/OPERATIONS.md docs/BACKUP.md docs/EVENTS.md docs/SECURITY.md; do
        put 0644 "$here/$name" "$share/doc/dockhost/$(basename "$name")"
    done
    put 0644 "$here/.env.example" "$share/doc/dockhost/env.example"
    ;;
agent)
    put 0755 "$programs/dockhost-agent" "$root$prefix/bin/dockhost-agent"
    unit dockhost-agent.service
    put 0644 "$here/deploy/package/agent.env" "$share/dockhost/agent.env"
    settings agent.env
    ;;
*)
    echo "install.sh: the part is server or agent" >&2
    exit 2
    ;;
esac
