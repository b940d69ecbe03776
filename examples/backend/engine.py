"""Containers, for backend.py: by the command line of Docker or Podman, or simulated in a file."""

import asyncio, base64, hashlib, io, json, os, tarfile, uuid

CAPABILITIES = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETGID SETUID SYS_CHROOT"


class Failed(Exception):
    """A step that failed: the code and the sentence of the report."""


class EngineDown(Exception):
    """The engine does not answer, so nothing is known of the containers."""


class Engine:
    """Containers of Docker or Podman. Each is a dict: `id`, `instanceId`, `userId`, `placement`, `ports`, `running`."""

    def __init__(self, program, backend, state):
        self.program, self.backend, self.keys = program, backend, os.path.join(os.path.abspath(state), "keys")

    async def call(self, *arguments):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(self.program, *arguments, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        if process.returncode:
            raise Failed("runtime_error", " ".join(err.decode(errors="replace").split())[:200])
        return out

    async def list(self):
        try:
            ids = (await self.call("ps", "-aq", "--no-trunc", "--filter", f"label=dockhost.backend={self.backend}")).decode()
            found = json.loads(await self.call("inspect", *ids.split())) if ids else []
        except Failed as failed:
            raise EngineDown(failed.args[1])
        return [{**json.loads(one["Config"]["Labels"]["dockhost.container"]), "id": one["Id"],
                 "running": one["State"]["Running"], "end": end_of(one["State"])} for one in found]

    async def create(self, assignment, port, image):
        spec, limits = assignment["container"], assignment["container"]["limits"]
        ports = {"ssh": port, "http": port + 1, "https": port + 2}
        labels = {name: assignment[name] for name in ("instanceId", "userId", "placement")} | {"ports": ports}
        self.authorize(labels, spec)
        options = [f"--publish={ports[name]}:{inside}" for name, inside in (("ssh", 22), ("http", 80), ("https", 443))]
        options += [f"--cap-add={name}" for name in CAPABILITIES.split()]
        return (await self.call(
            "create", f"--hostname={spec['hostname']}", f"--label=dockhost.backend={self.backend}",
            f"--label=dockhost.container={json.dumps(labels)}", f"--memory={limits['memoryMib']}m",
            f"--memory-swap={limits['memoryMib']}m", f"--cpus={limits['cpuMillis'] / 1000}",
            f"--pids-limit={limits['pids']}", "--cap-drop=ALL", "--security-opt=no-new-privileges",
            f"--volume={self.directory(labels)}:/etc/dockhost/keys:ro", *options, image)).decode().strip()

    def directory(self, container):
        return os.path.join(self.keys, f"{container['instanceId']}-{container['placement']}")

    def authorize(self, container, spec):
        """Replaces the file from which the container reads the keys at each login, unless this version was written."""
        keys = spec.get("authorizedKeys") or {"version": 0, "keys": [spec["sshPublicKey"]]}
        path, first = os.path.join(self.directory(container), "authorized_keys"), f"# version {keys['version']}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not (os.path.exists(path) and open(path).readline().strip() == first):
            with open(path + ".new", "w") as file:
                file.write("\n".join([first, *keys["keys"], ""]))
            os.replace(path + ".new", path)

    async def start(self, container):
        await self.call("start", container["id"])
        for _ in range(100):  # 10 s
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", container["ports"]["ssh"])
                banner = await asyncio.wait_for(reader.read(4), 1)
                writer.close()
                if banner == b"SSH-":
                    return
            except (OSError, asyncio.TimeoutError):
                pass
            await asyncio.sleep(0.1)
        raise Failed("runtime_error", "the SSH server of the container does not answer")

    async def stop(self, container):
        await self.call("stop", "--time=10", container["id"])

    async def remove(self, container):
        await self.call("rm", "--force", "--volumes", container["id"])

    async def host_keys(self, container):
        try:
            tar = tarfile.open(fileobj=io.BytesIO(await self.call("cp", f"{container['id']}:/etc/dockhost/host_keys.pub", "-")))
        except Failed:
            return []
        lines = tar.extractfile("host_keys.pub").read().decode().splitlines()
        digests = [hashlib.sha256(base64.b64decode(line.split()[1])).digest() for line in lines]
        return ["SHA256:" + base64.b64encode(digest).decode().rstrip("=") for digest in digests]


def end_of(state):
    """Why a container ended, as `ended` of a report."""
    if state["OOMKilled"]:
        return {"cause": "out_of_memory"}
    code = state["ExitCode"]
    return {"cause": "killed", "signal": code - 128} if 128 < code < 160 else {"cause": "exited", "exitCode": code}


class Simulated(Engine):
    """Containers that only exist in a file."""

    def __init__(self, program, backend, state):
        super().__init__(program, backend, state)
        self.file = os.path.join(state, "containers.json")

    async def list(self):
        return json.load(open(self.file)) if os.path.exists(self.file) else []

    async def save(self, container, exists=True):
        rest = [one for one in await self.list() if one["id"] != container["id"]]
        with open(self.file + ".new", "w") as file:
            json.dump(rest + [container] * exists, file)
        os.replace(self.file + ".new", self.file)

    async def create(self, assignment, port, image):
        container = {key: assignment[key] for key in ("instanceId", "userId", "placement")}
        container |= {"id": uuid.uuid4().hex, "running": False, "ports": {"ssh": port, "http": port + 1, "https": port + 2}}
        self.authorize(container, assignment["container"])
        await self.save(container)
        return container["id"]

    async def start(self, container):
        await self.save({**container, "running": True})

    async def stop(self, container):
        await self.save({**container, "running": False})

    async def remove(self, container):
        await self.save(container, exists=False)

    async def host_keys(self, container):
        return []
