"""Run one node in this process: SIGTERM and SIGINT drain it, SIGHUP re-reads its settings."""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure as Reason

from nodecache.config import Loaded, Settings
from nodecache.events import Event, SettingWarning, Stopped, Stopping, TracesFailed
from nodecache.failures import EXIT_UNUSABLE, ConfigError, DataFolderError
from nodecache.listing import Crew
from nodecache.logs import LogSwitch, LogWriter, Sampler, UnexpectedObserver, level_of
from nodecache.metrics import Metrics
from nodecache.service.node import Node
from nodecache.service.process import collect_from_here, on_signal, prepare
from nodecache.service.surroundings import Surroundings

if TYPE_CHECKING:
    from nodecache.tracing import Tracing

#: Exit code for a defect.
EXIT_BROKEN = 1


def _form(setting: str, stream: TextIO) -> str:
    """``json`` or ``console``; auto is console on a terminal."""
    if setting != "auto":
        return setting
    return "console" if stream.isatty() else "json"


class _Run:
    """The life of the process. ``status`` is its exit code."""

    def __init__(
        self,
        reactor: Any,
        loaded: Loaded,
        read_again: Callable[[], Loaded],
        environ: Mapping[str, str],
        stream: TextIO,
        listing: Crew | None,
    ) -> None:
        self.status = 0
        self._listing = listing
        self._starting: Deferred[None] | None = None
        self._reactor = reactor
        self._loaded = loaded
        self._read_again = read_again
        self._environ = environ
        self._metrics = Metrics(loaded.settings.telemetry.images)
        settings = loaded.settings
        self._log = LogWriter(
            stream,
            _form(settings.log_format, stream),
            level=level_of(settings.log_level),
            sampler=Sampler(settings.limits.log_rate, settings.limits.log_burst),
        )
        self._switch = LogSwitch(self._log, reactor, self.observe)
        self._tracing: Tracing | None = None
        self._node: Node | None = None
        self._ending = False

    def observe(self, event: Event) -> None:
        """Every event goes to the metrics and to the log, and to who follows traces."""
        self._metrics.observe(event)
        self._log.observe(event)
        if self._tracing is not None:
            self._tracing.observe(event)

    def go(self) -> int:
        globalLogBeginner.beginLoggingTo(
            [UnexpectedObserver(self.observe)], redirectStandardIO=False, discardBuffer=True
        )
        self._reactor.callWhenRunning(self._begin)
        on_signal(signal.SIGTERM, self._reactor, lambda: self._end("SIGTERM"))
        on_signal(signal.SIGINT, self._reactor, lambda: self._end("SIGINT"))
        on_signal(signal.SIGHUP, self._reactor, self._reload)
        self._reactor.run(installSignalHandlers=False)
        if self._tracing is not None:
            self._tracing.close()
        return self.status

    def _begin(self) -> None:
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    async def _start(self) -> None:
        self._warn(self._loaded)
        self._tracing = self._trace(self._loaded.settings)
        around = Surroundings(
            self._reactor,
            time.time,
            self.observe,
            self._metrics,
            self._environ,
            self._switch,
            self._listing,
        )
        self._node = await Node.start(around, self._loaded.settings)
        collect_from_here()
        if self._ending:  # a signal came, and it was too late to give up
            await self._stop("a signal during the start")

    def _trace(self, settings: Settings) -> Tracing | None:
        """Raises ConfigError."""
        url = settings.telemetry.traces
        if url is None:
            return None
        # Where nobody wants spans, nothing is loaded that makes them.
        from nodecache.tracing import start_tracing  # noqa: PLC0415

        def complain(reason: str) -> None:
            self._reactor.callFromThread(self.observe, TracesFailed(reason=reason))

        return start_tracing(url, settings.node_id or "", settings.timeouts, time.time, complain)

    def _warn(self, loaded: Loaded) -> None:
        for message in loaded.warnings:
            self.observe(SettingWarning(message=message))

    def _failed(self, reason: Reason) -> None:
        if self._ending and reason.check(CancelledError):
            self.observe(Stopping(reason="a signal during the start", bodies=0))
            self.observe(Stopped(aborted=0, seconds=0.0))
        elif reason.check(ConfigError, DataFolderError):
            sys.stderr.write(f"nodecache: {reason.getErrorMessage()}\n")
            self.status = EXIT_UNUSABLE
        else:
            sys.stderr.write(reason.getTraceback())
            self.status = EXIT_BROKEN
        self._reactor.stop()

    def _end(self, name: str) -> None:
        if self._ending:  # whoever asks twice does not want to wait
            if self._node is not None:
                self._node.hurry()
            return
        self._ending = True
        if self._node is not None:
            Deferred.fromCoroutine(self._stop(name)).addErrback(self._failed)
        elif self._starting is not None:
            # The folder is scanned.
            if self._listing is not None:
                self._listing.kill()
            self._starting.cancel()

    async def _stop(self, name: str) -> None:
        assert self._node is not None
        await self._node.stop(name)
        self._reactor.stop()

    def _reload(self) -> None:
        if self._node is None or self._ending:
            return
        try:
            loaded = self._read_again()
        except ConfigError as error:
            self.observe(SettingWarning(message=f"not re-read, the old settings stay: {error}"))
            return
        self._warn(loaded)
        self._switch.settings_say(level_of(loaded.settings.log_level))
        self._node.reload(loaded.settings)


def run(
    loaded: Loaded,
    read_again: Callable[[], Loaded],
    environ: Mapping[str, str],
    stream: TextIO,
    listing: Crew | None = None,
) -> int:
    """Run a node until it is told to stop; the exit code.

    ``read_again`` reads the settings anew (SIGHUP); events go to ``stream``;
    ``listing`` lists the blobs of the data folder already.
    """
    prepare()
    # A core dump would hold the secrets that are in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # Twisted's own is the wall clock: one that is set back would stop every timer
    # for as long, and one that jumps ahead would time out all that is under way.
    installed.seconds = time.monotonic  # type: ignore[method-assign]  # on purpose
    return _Run(installed, loaded, read_again, environ, stream, listing).go()
