"""What the host asks of a run: other settings, a past window, or why it was answered so."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge.asked import explained_class
from edge.errors import EdgeError, InputError
from edge.link.stream import Stream
from edge.manifest import Manifest
from edge.run.budget import Clock
from edge.run.explaining import Explaining
from edge.run.recent import Answered, Recent
from edge.wire.codes import FASTEST, SLOWEST, When
from edge.wire.records import Input, Map, Request, Settings

PATIENCE = 2e9  # nanoseconds that a request waits for room in the deadline; then it is made all the same
_WAITING = 16  # requests

_log = logging.getLogger(__name__)


@dataclass
class Job:
    """A window to be explained on request, by the ``methods`` that are left of those asked for."""

    number: int
    request: Request
    window: Answered
    methods: deque[str]
    since: int


class Desk:
    """Takes what the host asks, one whole request at a time: a part that cannot be done refuses all of it.

    Settings apply at once, that is from the next window on. Explanations wait in line for ``work``.
    """

    def __init__(
        self,
        stream: Stream,
        manifest: Manifest,
        methods: Sequence[str],
        settings: Settings,
        recent: Recent,
        explaining: Explaining,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._stream = stream
        self._manifest = manifest
        self._methods = methods
        self._recent = recent
        self._explaining = explaining
        self._clock = clock
        self._jobs: deque[Job] = deque()
        stream.settings(settings)

    @property
    def methods(self) -> list[str]:
        """The methods in use."""
        return [self._methods[place] for place in self.settings.methods]

    def settle(self) -> None:
        """Take in all that the host has asked since."""
        while (asked := self._stream.take_request()) is not None:
            try:
                self._take(*asked)
            except InputError as error:
                self._refuse(*asked, error)

    def work(self, room: float | None) -> bool:
        """Make one of the explanations asked for, and return whether that was done.

        ``room`` is the milliseconds there are; with less than it is known to take, a request waits for up to two
        seconds and is then given a window's time. None is all the time there is.
        """
        if not self._jobs:
            return False
        job = self._jobs[0]
        method = job.methods[0]
        if not self._explaining.costs.fits(method, room):
            if self._clock() - job.since < PATIENCE:
                return False
            room = self.settings.deadline
        try:
            explanation = self._explaining.explain(
                job.window.x, job.window.prediction, method, job.request.class_index, deadline_ms=room
            )
            self._stream.explanation(job.window.sequence, explanation)
        except EdgeError as error:
            self._jobs.popleft()
            self._refuse(job.number, job.request, error)
            return True
        job.methods.popleft()
        if not job.methods:
            self._jobs.popleft()
            self._stream.acknowledge(job.number, job.request)
        return True

    def close(self) -> None:
        """Refuse what waits: the run is over."""
        waiting = [(job.number, job.request) for job in self._jobs]
        while (asked := self._stream.take_request()) is not None:
            waiting.append(asked)
        for number, request in waiting:
            self._refuse(number, request, InputError("the run is ending", "ask again in the next one"))
        self._jobs.clear()

    def _take(self, number: int, request: Request) -> None:
        """Do a request or put it in line; InputError, with nothing of it done, where it cannot be."""
        settings = self._changed(request)
        window = self._recent.find(request.sequence) if request.what in {Map.code, Input.code} else None
        methods = self._asked(request) if request.what == Map.code else []
        if settings != self.settings:
            self.settings = settings
            self._stream.settings(settings)
        if window is not None and (request.what == Input.code or settings.inputs):
            self._stream.input(window.sequence, window.x)
        if window is not None and methods:
            self._jobs.append(Job(number, request, window, deque(methods), self._clock()))
        else:
            self._stream.acknowledge(number, request)

    def _asked(self, request: Request) -> list[str]:
        """Return the methods that a request wants an explanation by."""
        if len(self._jobs) >= _WAITING:
            raise InputError(f"{_WAITING} explanations wait already", "ask again later")
        if request.class_index is not None:
            explained_class(request.class_index, self._manifest)
        if request.method is not None:
            return self._named((request.method,))
        if not self.methods:
            raise InputError("no method is in use", f"name one of {', '.join(self._methods) or 'another session'}")
        return self.methods

    def _changed(self, request: Request) -> Settings:
        """Return the settings as a request wants them."""
        settings = self.settings
        if request.rate is not None:
            if request.rate and not SLOWEST <= request.rate <= FASTEST:
                raise InputError(
                    f"{request.rate} windows per second are no rate",
                    f"ask for {SLOWEST:g} to {FASTEST:,g}, or 0 for none",
                )
            settings = replace(settings, rate=request.rate or None)
        if request.methods is not None:
            self._named(request.methods)
            settings = replace(settings, methods=tuple(dict.fromkeys(request.methods)))
        if request.explain is not None:
            check_when(request.explain, settings.alarms)
            settings = replace(settings, explain=request.explain)
        return settings if request.inputs is None else replace(settings, inputs=request.inputs)

    def _named(self, places: Iterable[int]) -> list[str]:
        unknown = next((place for place in places if place >= len(self._methods)), None)
        if unknown is not None:
            there = ", ".join(f"{place} {name}" for place, name in enumerate(self._methods))
            raise InputError(f"the session has no method {unknown}", f"it has {there or 'none'}")
        return [self._methods[place] for place in places]

    def _refuse(self, number: int, request: Request, error: EdgeError) -> None:
        self._stream.acknowledge(number, request, error)
        if not request.acknowledge:
            _log.warning("a request was refused: %s", error.cause)


def check_when(when: int, alarms: Sequence[int]) -> None:
    """Raise InputError for what is no rule of which answers to explain, or one without the classes it needs."""
    if when not in set(When):
        there = ", ".join(f"{code.value} {code.label}" for code in When)
        raise InputError(f"there is no rule {when} of what to explain", f"there are {there}")
    if when == When.ON_ALARM and not alarms:
        raise InputError("on-alarm explains the answers that are an alarm, and no class is", "name one with --alarm")
