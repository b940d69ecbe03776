#!/usr/bin/env python3
"""A complete DockHost backend: all that docs/EVENTS.md asks of one. This file talks to the broker, instance.py decides
what to do for an instance, engine.py has the containers.

    pip install nats-py==2.16.0
    export NATS_URL=nats://10.0.0.2:4222 DOCKHOST_API_KEY=… ADDRESS=192.168.1.20
    python3 backend.py docker          # or podman, or simulated, which runs nothing

Other settings: MAX_CONTAINERS (5), IMAGE, FIRST_PORT (20000), STATE_DIR (./backend-state).
"""

import asyncio, base64, hashlib, json, os, random, signal, sys, uuid
from datetime import datetime, timezone

import nats
from nats.errors import Error as NatsError, TimeoutError as NatsTimeout

from engine import Engine, EngineDown, Simulated
from instance import Instance

VERSION = "example-1"
RUN = str(uuid.uuid4())  # tells this process from another one with the same key
BATCH = 256
IDLE_HEARTBEAT = 2  # seconds


async def pauses():
    """Turns of a loop, with a growing pause after each."""
    pause = 0.1
    while True:
        yield
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, 10)


class Backend:
    def __init__(self, runtime):
        claims = os.environ["DOCKHOST_API_KEY"].split(".")[1]
        self.id = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
        self.own_max = self.max = int(os.environ.get("MAX_CONTAINERS", "5"))
        self.image, self.first_port = os.environ.get("IMAGE", "dockhost/instance:latest"), int(os.environ.get("FIRST_PORT", "20000"))
        self.state = os.environ.get("STATE_DIR", "backend-state")
        os.makedirs(self.state, exist_ok=True)
        self.runtime = runtime
        self.engine = (Simulated if runtime == "simulated" else Engine)(runtime, self.id, self.state)
        self.instances, self.creating = {}, asyncio.Lock()
        self.nc, self.reports_created_at, self.knows_all = None, 0, False
        self.welcomed = asyncio.Event()  # a hello was accepted: no other agent acts for this backend

    def key(self):
        """The key that the server sent last, if an administrator rotated it; else that of the environment."""
        path = os.path.join(self.state, "key")
        return open(path).read() if os.path.exists(path) else os.environ["DOCKHOST_API_KEY"]

    # The connection. The broker closes it after some minutes, so a new one is nothing special.

    async def run(self):
        servers = os.environ["NATS_URL"].split(",")
        while True:
            async for _ in pauses():
                try:
                    closed = asyncio.Event()
                    async def on_closed():
                        closed.set()
                    self.nc = await nats.connect(
                        servers, token=self.key(), inbox_prefix=f"_INBOX.{self.id}", allow_reconnect=False,
                        connect_timeout=5, closed_cb=on_closed)
                    break
                except (NatsError, OSError) as error:
                    print("not connected:", error, file=sys.stderr)
            tasks = [asyncio.ensure_future(task) for task in (self.pull(), self.beat(), closed.wait())]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            print("disconnected:", [str(one) for one in outcomes if isinstance(one, NatsError)], file=sys.stderr)
            await self.nc.close()
            servers = servers[1:] + servers[:1]  # a node that is cut off from the others keeps connections

    async def request(self, kind, body, timeout=5):
        body = json.dumps(body | {"agentRun": RUN}).encode()
        message = await self.nc.request(f"dockhost.{kind}.{self.id}", body, timeout)
        return (message.headers or {}).get("Nats-Service-Error-Code"), json.loads(message.data or "{}")

    async def hello(self):
        async for _ in pauses():
            digest = hashlib.sha256(self.key().encode()).hexdigest()
            refusal, welcome = await self.request("hello", {"agentVersion": VERSION, "keyDigest": digest})
            if refusal is None:
                if "apiKey" in welcome:
                    with open(os.open(os.path.join(self.state, "key"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                        file.write(welcome["apiKey"])
                self.max = min(self.own_max, welcome["maxContainers"])
                self.check_reports(welcome)
                self.welcomed.set()
                return welcome
            self.welcomed.clear()
            print("the hello was refused:", refusal, file=sys.stderr)  # 409: another agent has this key

    def check_reports(self, answer):
        """Reports on everything again if the stream of reports was made again."""
        created_at = answer.get("reportsCreatedAt", 0)
        if created_at > self.reports_created_at:
            for instance in self.instances.values() if self.reports_created_at else ():
                instance.reported = None
                instance.wake.set()
            self.reports_created_at = created_at

    async def beat(self, **members):
        failures = 0
        while failures < 3:
            await self.welcomed.wait()
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body = {"address": os.environ["ADDRESS"], "maxContainers": self.own_max, "runtime": self.runtime,
                    "agentVersion": VERSION, "load": os.getloadavg()[0] / os.cpu_count(), "memory": 0.0, "at": now}
            try:
                body |= {"containers": len(await self.engine.list()), "engine": {"state": "ready"}}
            except EngineDown as down:
                body |= {"containers": 0, "engine": {"state": "down", "reason": str(down)}}
            try:
                self.check_reports((await self.request("heartbeat", body | members))[1])
                failures = 0
            except NatsError:
                failures += 1
            if members:
                return
            await asyncio.sleep(5)

    async def pull(self):
        inbox = self.nc.new_inbox()
        messages = await self.nc.subscribe(inbox)
        request = {"batch": BATCH, "expires": 30 * 10**9, "idle_heartbeat": IDLE_HEARTBEAT * 10**9}
        while True:
            welcome, received, left = await self.hello(), 0, 0
            while True:
                if left == 0:
                    subject = f"$JS.API.CONSUMER.MSG.NEXT.{welcome['stream']}.{welcome['consumer']}"
                    await self.nc.publish(subject, json.dumps(request).encode(), reply=inbox)
                    left = BATCH
                try:
                    message = await messages.next_msg(timeout=2.5 * IDLE_HEARTBEAT)
                except NatsTimeout:
                    break
                status = (message.headers or {}).get("Status")
                if status is None:
                    received, left = received + 1, left - 1
                    self.assign(json.loads(message.data))
                elif status in ("404", "408"):
                    left = 0
                elif status != "100":
                    break
                self.knows_all |= status == "100" or received >= welcome["assignments"]

    def assign(self, new):
        instance = self.instance(new["instanceId"])
        keys = lambda one: (one.get("container") or {}).get("authorizedKeys", {}).get("version", 0)
        order = lambda one: (one["placement"], one["generation"], keys(one))
        if instance.assignment is None or order(new) >= order(instance.assignment):
            instance.assignment = new
            instance.wake.set()

    def instance(self, id):
        if id not in self.instances:
            self.instances[id] = Instance(id, self)
        return self.instances[id]

    async def watch(self):
        """Looks for what happened to containers behind our back."""
        while True:
            try:
                ids = {one["instanceId"] for one in await self.engine.list()}
                for id in ids | set(self.instances):
                    self.instance(id).wake.set()
            except EngineDown as down:
                print("the engine does not answer:", down, file=sys.stderr)
            await asyncio.sleep(2)

    # Requests that are repeated until they are answered.

    async def stands(self, wanted):
        async for _ in pauses():
            try:
                question = {name: wanted[name] for name in ("instanceId", "placement", "generation")}
                refusal, answer = await self.request("confirm", question, timeout=1)
                if refusal is None:
                    return answer["stands"]
            except NatsError:
                pass

    async def store(self, report):
        """Returns when the report is stored. By the id, the broker stores it once."""
        headers = {"Nats-Msg-Id": str(uuid.uuid4()), "Dockhost-Agent-Run": RUN}
        async for _ in pauses():
            try:
                answer = await self.nc.request(f"dockhost.report.{self.id}", json.dumps(report).encode(), 2, headers=headers)
                if "error" not in json.loads(answer.data):
                    return
            except NatsError:
                pass


async def main():
    backend, stop = Backend(sys.argv[1] if len(sys.argv) > 1 else "docker"), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    tasks = [asyncio.ensure_future(task) for task in (backend.run(), backend.watch(), stop.wait())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    if backend.welcomed.is_set():
        await backend.beat(leaving=True)


asyncio.run(main())
