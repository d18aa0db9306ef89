"""What the kubelet does while a pod runs: it probes as the manifest says, and starts again."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs

from tests.system.kube.pod import Pod

#: Seconds between two looks of the kubelet.
_TICK = 0.1
#: Seconds until a container is started again: at once, then later each time, as kubelets do.
_FIRST_PAUSE = 10.0


@attrs.define
class Probe:
    """One httpGet probe and how it goes."""

    written: Mapping[str, Any]
    port: int
    address: str
    failures: int = 0
    passed: bool = False
    _due: float = 0.0

    @property
    def threshold(self) -> int:
        return int(self.written["failureThreshold"])

    def look(self, now: float) -> bool:
        """Ask if it is time to; whether it was asked."""
        if now < self._due:
            return False
        self._due = now + self.written["periodSeconds"]
        self.passed = self._ask()
        self.failures = 0 if self.passed else self.failures + 1
        return True

    def _ask(self) -> bool:
        timeout = self.written["timeoutSeconds"]
        connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout)
        try:
            connection.request("GET", self.written["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        except http.client.HTTPException:
            return False
        finally:
            connection.close()


class Kubelet:
    """Watches one pod from its node: readiness in one thread, life in another. A context."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.restarts = 0
        self.killed = 0  # containers that the liveness probe ended
        self.ready = False
        self._pause = 0.0
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(job,), daemon=True)
            for job in (self._watch, self._see_whether_ready)
        ]
        self._again()

    def _again(self) -> None:
        """A container was started: all probes begin anew."""
        self.ready = False
        self.started, self.alive, self.serving = (
            self._probe(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        )

    def _probe(self, kind: str) -> Probe:
        written = self.pod.main[kind]
        ports = {port["name"]: port["containerPort"] for port in self.pod.main["ports"]}
        return Probe(written, ports[written["httpGet"]["port"]], self.pod.addresses[0])

    def _repeat(self, job: Callable[[], None]) -> None:
        with self.pod.machine.station.namespace.entered():
            while not self._done.wait(_TICK):
                job()

    def _watch(self) -> None:
        if not self.pod.alive:
            self._restart()
        elif not self.started.passed:
            self._start(time.monotonic())
        elif self.alive.look(time.monotonic()) and self.alive.failures >= self.alive.threshold:
            self._kill(self.alive.written["terminationGracePeriodSeconds"])

    def _start(self, now: float) -> None:
        if self.started.look(now) and self.started.failures >= self.started.threshold:
            self._kill(self.pod.spec["terminationGracePeriodSeconds"])

    def _see_whether_ready(self) -> None:
        serving = self.serving
        if self.started.passed and serving.look(time.monotonic()) and serving is self.serving:
            self.ready = serving.passed

    def _kill(self, grace: float) -> None:
        self.killed += 1
        self.pod.stop(grace)

    def _restart(self) -> None:
        self.ready = False
        if self._done.wait(self._pause):
            return
        self._pause = min(2 * self._pause, 300) if self._pause else _FIRST_PAUSE
        self.restarts += 1
        self.pod.begin()
        self._again()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
