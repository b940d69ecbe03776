# Two images, `--target server` and `--target agent`, from one build, with and without BuildKit. `dockhost --version` names the
# commit if it is given: --build-arg DOCKHOST_COMMIT=$(git describe --always --dirty).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
ARG DOCKHOST_COMMIT
RUN cargo build --locked --release -p dockhost -p dockhost-agent --bins --features dockhost/otlp,dockhost-agent/otlp \
 && install -D -t /out target/release/dockhost target/release/dockhost-agent

# The agent runs as root, which access to the engine implies anyway. It uses `iptables` to block private networks.
FROM debian:12-slim AS agent
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates iptables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/dockhost-agent /usr/local/bin/
ENTRYPOINT ["dockhost-agent"]

FROM debian:12-slim AS server
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 dockhost \
 && useradd --no-log-init --no-create-home --uid 10001 --gid 10001 --shell /usr/sbin/nologin dockhost
COPY --from=build /out/dockhost /usr/local/bin/
# By its number: Kubernetes can't tell from a name that it is not root.
USER 10001:10001
EXPOSE 3001
ENTRYPOINT ["dockhost"]
CMD ["serve"]
