#!/bin/sh
# Command of the test image: generates the host key once and runs dropbear in the foreground (see ../README.md).
set -eu

key=/etc/dropbear/dropbear_ed25519_host_key
mkdir -p /etc/dropbear /etc/dockhost
[ -s "$key" ] || dropbearkey -t ed25519 -f "$key" > /dev/null
dropbearkey -y -f "$key" | grep '^ssh-' > /etc/dockhost/host_keys.pub

# Dropbear reads one file. Without the directory the agent uploads that file.
if [ -d /etc/dockhost/keys ] && [ ! -e /root/.ssh/authorized_keys ]; then
  ln -s /etc/dockhost/keys/authorized_keys /root/.ssh/authorized_keys
fi

# -F: foreground, -E: log to stderr, -s: no passwords.
exec dropbear -F -E -s -r "$key" -p 22
