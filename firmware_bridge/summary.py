"""What came of a device in numbers: session by session, and over all of them."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, field

from edge.latency import Quantiles
from edge.wire.records import Health, Record, Session, Settings, Spread
from firmware_bridge.clock import Bounds

LEAST_SPAN = 0.2  # seconds: what comes in less has lain in some buffer


@dataclass
class Account:
    """One session of a device as the host saw it. ``session`` is None until the device has introduced itself.

    ``joined`` is the number of the first frame seen when the host came later than that; ``lost_frames`` counts gaps in
    the frames' numbers, hence what left the device and did not arrive whole, or in its turn. ``stale_frames`` came
    again or too late, and were discarded. ``health`` is the last report of the device's own counters, with what it
    dropped before sending.
    """

    session: Session | None = None
    joined: int = 0
    frames: int = 0
    lost_frames: int = 0
    stale_frames: int = 0
    results: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    labelled: int = 0
    correct: int = 0
    maps: int = 0
    failed: int = 0
    health: Health | None = None
    settings: Settings | None = None
    spread: Spread | None = None

    @property
    def missing_results(self) -> int:
        """How many results between the first and the last one did not arrive, for whatever reason."""
        if self.first_sequence is None or self.last_sequence is None:
            return 0
        return max(0, self.last_sequence - self.first_sequence + 1 - self.results)

    @property
    def dropped(self) -> Counter[str]:
        """What the device dropped before sending, by the name of the record."""
        if self.health is None:
            return Counter()
        return Counter({record_name(code): count for code, count in self.health.dropped.items()})

    @property
    def ended(self) -> bool:
        """Whether the device said goodbye."""
        return self.health is not None and self.health.final


@dataclass(frozen=True)
class Totals:
    """What came of several sessions together; the names are those of ``Account``."""

    sessions: int = 0
    lost_frames: int = 0
    stale_frames: int = 0
    results: int = 0
    missing_results: int = 0
    labelled: int = 0
    correct: int = 0
    maps: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def plus(self, account: Account) -> Totals:
        """Return these with one session more."""
        return Totals(
            sessions=self.sessions + 1,
            lost_frames=self.lost_frames + account.lost_frames,
            stale_frames=self.stale_frames + account.stale_frames,
            results=self.results + account.results,
            missing_results=self.missing_results + account.missing_results,
            labelled=self.labelled + account.labelled,
            correct=self.correct + account.correct,
            maps=self.maps + account.maps,
            failed=self.failed + account.failed,
            dropped=self.dropped + account.dropped,
        )


@dataclass(frozen=True)
class Summary:
    """What came over the link from first to last byte, over all sessions: the last ``accounts`` and the ``earlier``.

    ``phases`` and ``methods`` are the distributions of what the device measured. ``bad`` counts frames that arrived
    damaged, by fault; ``skipped_bytes`` are theirs, and those of no frame, such as the rest of one that began before
    the port was open; ``lost_frames`` frames that left and never arrived; ``dropped`` records that the device did not
    send, by their name; ``missing_results`` gaps in the results for whatever reason; ``unattributed`` records
    of a session that never said what it is. ``end_to_end`` is from a window being complete to its result being here,
    ``clock_jumps`` how often the device's clock broke its bounds. ``warm_up`` and ``rejected`` windows, for which the
    device's clock was wrong, are in no distribution of phases and methods. Where it is of a recording (``recorded``),
    nobody knows what the link carried and lost: the figures of that are zero and mean nothing.
    """

    seconds: float
    accounts: tuple[Account, ...]
    phases: dict[str, Quantiles]
    methods: dict[str, Quantiles]
    frames: int
    payload_bytes: int = 0
    wire_bytes: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    skipped_bytes: int = 0
    unknown_records: int = 0
    unknown_keys: int = 0
    incomplete_maps: int = 0
    refused_maps: int = 0
    unattributed: int = 0
    reconnects: int = 0
    round_trip: int | None = None  # the shortest, in nanoseconds
    end_to_end: Bounds | None = None
    clock_jumps: int = 0
    warm_up: int = 0
    rejected: int = 0
    recorded: bool = False
    earlier: Totals = field(default_factory=Totals)

    @property
    def totals(self) -> Totals:
        """All sessions together."""
        return functools.reduce(Totals.plus, self.accounts, self.earlier)

    @property
    def windows(self) -> int:
        """How many results arrived."""
        return self.totals.results

    @property
    def maps(self) -> int:
        """How many attributions arrived whole."""
        return self.totals.maps

    @property
    def labelled(self) -> int:
        """How many results came with the true class."""
        return self.totals.labelled

    @property
    def accuracy(self) -> float | None:
        """The share of labelled results that were right; None where no true class is known."""
        return self.totals.correct / self.labelled if self.labelled else None

    @property
    def failed(self) -> int:
        """How many windows the device could not answer or explain."""
        return self.totals.failed

    @property
    def lost_frames(self) -> int:
        """How many frames left the device and did not arrive."""
        return self.totals.lost_frames

    @property
    def stale_frames(self) -> int:
        """How many frames came again, or after later ones, and were discarded."""
        return self.totals.stale_frames

    @property
    def missing_results(self) -> int:
        """How many results are missing between those that arrived."""
        return self.totals.missing_results

    @property
    def dropped(self) -> Counter[str]:
        """What the device dropped before sending, by the name of the record."""
        return self.totals.dropped

    @property
    def goodput(self) -> float | None:
        """Bytes of payload per second; None for so short a time that it says nothing of the link."""
        return self.payload_bytes / self.seconds if self.seconds >= LEAST_SPAN else None

    @property
    def costs(self) -> dict[str, float]:
        """What explaining takes, per method, as a multiple of predicting (medians).

        A method whose explanation comes out of the prediction's own pass costs 0 here; ``predict`` holds it.
        """
        predict = sum(self.phases[name].p50 for name in ("quantize", "predict") if name in self.phases)
        return {name: spread.p50 / predict for name, spread in self.methods.items()} if predict else {}


def record_name(code: int) -> str:
    """Return the name of a record by its code."""
    return Record.registry[code].__name__ if code in Record.registry else f"record {code}"
