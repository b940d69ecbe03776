#!/bin/sh
# Installs what was built: install.sh server|agent PROGRAMS DESTDIR PREFIX
# PROGRAMS has the built programs. DESTDIR is put before all paths, and is empty unless a package is made. Settings that exist
# are not replaced.
set -eu
# Others must be able to read what is installed, whoever builds it; settings have a mode of their own.
umask 022

part=$1 programs=$2 root=$3 prefix=$4
here=$(cd "$(dirname "$0")/../.." && pwd)
share=$root$prefix/share

put() { # put MODE FILE TARGET
    install -D -m "$1" "$2" "$3"
}

adapted() { # adapted MODE FILE TARGET: what FILE says below /usr is below the prefix
    put "$1" "$2" "$3"
    sed -i "s|/usr/bin/|$prefix/bin/|g; s|/usr/share/|$prefix/share/|g" "$3"
}

settings() { # settings NAME
    adapted 0644 "$here/deploy/package/$1" "$share/dockhost/$1"
    [ -e "$root/etc/dockhost/$1" ] || put 0600 "$share/dockhost/$1" "$root/etc/dockhost/$1"
}

unit() { # unit NAME
    adapted 0644 "$here/deploy/systemd/$1" "$root$prefix/lib/systemd/system/$1"
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
    settings agent.env
    put 0644 "$here/.env.example" "$share/doc/dockhost-agent/env.example"
    ;;
*)
    echo "install.sh: the part is server or agent" >&2
    exit 2
    ;;
esac
