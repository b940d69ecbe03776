"""One instance: compare the assignment with the containers, act on the difference, report. See docs/EVENTS.md."""

import asyncio

from engine import EngineDown, Failed


class Instance:
    """What is known of one instance."""

    def __init__(self, id, backend):
        self.id, self.backend, self.engine = id, backend, backend.engine
        self.assignment = None  # the last one
        self.reported = None  # the last report that was stored
        self.generation = None  # what the next two are about
        self.has_run, self.ends = False, 0
        self.wake = asyncio.Event()
        self.task = asyncio.ensure_future(self.work())

    async def work(self):
        while True:
            await self.wake.wait()
            self.wake.clear()
            try:
                report = await self.reconcile()
            except EngineDown:
                continue  # until the next look
            except Failed as failed:
                report = about(self.assignment, "instance-failed", code=failed.args[0], message=failed.args[1])
            if report and report != self.reported:
                await self.backend.store(report)
                self.reported = report

    async def reconcile(self):
        """Returns the report that is due. Only `deleted` and a higher placement remove a container."""
        wanted, found = self.assignment, [one for one in await self.engine.list() if one["instanceId"] == self.id]
        if wanted is None:  # a container that nobody mentioned
            return observed(found[0] | {"generation": 0}, found[0]) if found and self.backend.knows_all else None
        for one in found:
            if one["placement"] < wanted["placement"] + (wanted["wanted"] == "deleted"):
                await self.engine.remove(one)
        if wanted["wanted"] == "deleted":
            return about(wanted, "instance-deleted")
        if any(one["placement"] > wanted["placement"] for one in found):
            return None
        spec, own = wanted["container"], next((one for one in found if one["placement"] == wanted["placement"]), None)
        if spec.get("containerId") not in (None, own and own["id"]):
            if not await self.stands(wanted):
                return None
            raise Failed("container_gone", "the container with the files of the instance does not exist")
        if own is None:
            return await self.create(wanted)
        if wanted["wanted"] == "stopped":
            if own["running"]:
                await self.engine.stop(own)
            return observed(wanted, own | {"running": False})
        if self.generation != (wanted["placement"], wanted["generation"]):
            self.generation = (wanted["placement"], wanted["generation"])
            self.has_run, self.ends = spec.get("hasRun", False), 0
        self.engine.authorize(own, spec)
        if not own["running"]:
            has_ended, self.has_run = self.has_run, False
            self.ends += has_ended
            if self.ends > (0 if spec.get("restart") == "never" else 3):
                raise Failed(own["end"]["cause"], "the container ended, and is not started again")
            if has_ended:  # the next turn starts it
                return observed(wanted, own, ended=own["end"])
            await self.engine.start(own)
        self.has_run = True
        return observed(wanted, own | {"running": True}, hostKeys=await self.engine.host_keys(own))

    async def create(self, wanted):
        async with self.backend.creating:  # two at once would choose the same ports
            others = await self.engine.list()
            if len(others) >= self.backend.max:
                return about(wanted, "instance-refused", code="no_capacity", message=f"it has {len(others)} containers")
            if not await self.stands(wanted):
                return None
            used = {one["ports"]["ssh"] for one in others}
            port = next(port for port in range(self.backend.first_port, 65000, 3) if port not in used)
            await self.engine.create(wanted, port, wanted["container"].get("image", self.backend.image))
        return await self.reconcile()

    async def stands(self, wanted):
        """Whether the assignment is current. An obsolete one is forgotten; what is wanted now follows."""
        stands = await self.backend.stands(wanted)
        if not stands and self.assignment is wanted:
            self.assignment = None
        return stands


def about(assignment, kind, **members):
    return {name: assignment[name] for name in ("instanceId", "userId", "placement", "generation")} | {"type": kind} | members


def observed(assignment, container, **members):
    is_new = assignment["generation"] and "containerId" not in assignment["container"]
    phase = "running" if container["running"] else "stopped"
    return about(assignment, "instance-created" if is_new else "instance-status", phase=phase,
                 containerId=container["id"], ports=container["ports"], **members)
