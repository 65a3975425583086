"""``whylite run``: on the device, explain what a source gives and stream it over a serial port."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import FrameType

from edge.arguments import RTSCTS, add_flow, between, natural, positive, processors
from edge.asked import class_of
from edge.capture import Capture, open_source
from edge.clocks import SelfTest
from edge.errors import InputError, WhyLiteError
from edge.explainer import Explainer
from edge.interpreter import RUNTIMES
from edge.latency import NANOSECONDS, clock
from edge.link.sender import Status
from edge.link.stream import LogHandler, Sent, Stream, introduction
from edge.link.thinning import AUTO
from edge.manifest import Manifest
from edge.processors import pin
from edge.run.bell import Bell
from edge.run.desk import check_when
from edge.run.loop import Run
from edge.run.recent import capacity
from edge.sources import schemes
from edge.timekeeper import account
from edge.wire.codecs import CODECS
from edge.wire.codes import FASTEST, SLOWEST, Degraded, SourceFault, Thinned, When
from edge.wire.port import DEFAULT_BAUD
from edge.wire.records import Record, Settings

_PATIENCE = 30.0  # seconds to deliver what waits when the windows have come to their end
_HURRY = 2.0  # the same when told to stop
_SLICE = 0.1  # seconds at the most between two looks at whether to stop
_HOUR = 3_600_000.0  # milliseconds
_TURN = 0.001  # seconds after which Python lets a result leave while it explains; 0.005 by default

_BOARDS = "microcontrollers, virtual ones too, are for `whylite run --board NAME`, which has a --help of its own"
_REFINE = "leave --tolerance out, or export the model with --refine"

_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run ``whylite run``; 0 success, 1 no window, or the host did not take everything, 2 wrong usage or bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    if arguments.port is None:
        parser.error(f"--port PORT is required here; {_BOARDS}")
    try:
        return _run(arguments)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(_TURN)
    if arguments.cpu_affinity:
        pin(arguments.cpu_affinity)
    explainer = Explainer.load(arguments.bundle, threads=arguments.threads, interpreter=arguments.interpreter)
    manifest, runtime = explainer.manifest, explainer.runtime
    methods = _methods(arguments.method, explainer.methods)
    if arguments.tolerance and not any(map(explainer.refines, methods)):
        raise InputError(f"{', '.join(methods)} of {arguments.bundle} take no steps until a tolerance is met", _REFINE)
    settings = _settings(arguments, manifest, methods)
    about = f"{runtime.name} {runtime.version}, {runtime.threads} thread{'s'[: runtime.threads != 1]}"
    session = introduction(manifest, methods, about)
    with (
        closing(open_source(arguments.source, manifest, repeat=arguments.loop)) as capture,
        _interruptible(capture) as bell,
        Stream(
            arguments.port, arguments.baud, session, arguments.map_encoding, rtscts=arguments.flow == RTSCTS
        ) as stream,
        _logged(stream),
    ):
        print(f"{manifest.name}: {', '.join(methods)} on {about}, to {arguments.port}", flush=True)
        if arguments.wait_host and not _host_comes(stream, bell, arguments.wait_host) and not bell.stopped:
            print(f"no host in {arguments.wait_host:g} s; starting without one", file=sys.stderr, flush=True)
        _report_clock(stream.status.timekeeper.watch.self_test())
        if not bell.stopped:
            _report_golden(explainer.check_golden(), about, manifest.runtime)
        run = Run(capture, explainer, stream, methods, settings, bell)
        if arguments.deadline_ms and not bell.stopped:
            run.learn(explainer.bundle.arrays()["x"][0])
        run.work(arguments.count)
        sent = stream.close(_HURRY if bell.stopped else _PATIENCE)
    print(*_ending(run, stream.status, sent), *account(stream.status.timekeeper.times()), sep="\n", flush=True)
    if bell.stopped:
        return 0
    if not run.tally.windows:
        shape = list(manifest.input_shape)
        print(f"the source gave no window: it ended before one of {shape} was complete", file=sys.stderr)
    if not sent.complete:
        print("the host stopped reading before the end", file=sys.stderr)
    return 0 if run.tally.windows and sent.complete else 1


def _settings(arguments: argparse.Namespace, manifest: Manifest, methods: Sequence[str]) -> Settings:
    """Return how the run begins; InputError for a class that is none, or for too much to keep."""
    settings = Settings(
        rate=arguments.rate,
        methods=tuple(range(len(methods))),
        explain=next(code for code in When if code.label == arguments.explain),
        inputs=arguments.inputs,
        deadline=arguments.deadline_ms,
        tolerance=arguments.tolerance,
        alarms=tuple(dict.fromkeys(_class(text, manifest.labels) for text in arguments.alarm or ())),
        kept=capacity(arguments.keep, manifest),
    )
    check_when(settings.explain, settings.alarms)
    return settings


def _class(text: str, labels: Sequence[str]) -> int:
    """Return the class of a label, or of an index where no label reads like it."""
    if text in labels:
        return labels.index(text)
    if text.isdecimal():
        return class_of(int(text), len(labels))
    raise InputError(
        f"the model has no class {text!r}", f"it has {', '.join(labels[:20])}{', ...' * (len(labels) > 20)}"
    )


def _host_comes(stream: Stream, bell: Bell, seconds: float) -> bool:
    """Wait for a host, in slices, so that a signal ends it."""
    until = clock() + seconds * NANOSECONDS
    while not (came := stream.wait_for_host(_SLICE)) and not bell.stopped and clock() < until:
        continue
    return came


def _report_clock(found: SelfTest) -> None:
    """Tell the host where the clock cannot be believed."""
    for fault in found.faults:
        _log.warning("the clock %s; `whylite doctor` looks closer", fault.value)


def _report_golden(different: int, here: str, there: str) -> None:
    """Tell the host whether this runtime gives the scores that the exporting one recorded."""
    if not different:
        _log.info("every golden input has the scores, bit for bit, that %s recorded", there)
        return
    inputs = "1 golden input has" if different == 1 else f"{different} golden inputs have"
    _log.warning(
        "%s other scores in %s than %s recorded; a few units in the last place are normal", inputs, here, there
    )


def _methods(asked: Sequence[str] | None, there: Sequence[str]) -> Sequence[str]:
    """Return the methods to explain with: those asked for, and by default all that the bundle has."""
    unknown = next((name for name in asked or () if name not in there), None)
    if unknown:
        raise InputError(f"the bundle has no method {unknown!r}", f"it has {', '.join(there)}")
    return tuple(dict.fromkeys(asked)) if asked else tuple(there)


@contextmanager
def _interruptible(capture: Capture) -> Iterator[Bell]:
    """Ask for the end at the first SIGINT or SIGTERM; a second one ends the process at once."""
    bell = Bell(capture.wake)

    def halt(number: int, frame: FrameType | None) -> None:
        bell.stop()
        signal.signal(number, signal.SIG_DFL)

    before = [(number, signal.signal(number, halt)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield bell
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def _logged(stream: Stream) -> Iterator[None]:
    """Send the package's log to the host and its warnings to stderr."""
    logger = logging.getLogger("edge")
    local = logging.StreamHandler()
    local.setLevel(logging.WARNING)
    remote = LogHandler(stream)
    remote.addFilter(lambda record: not hasattr(record, "local"))  # the host has it as an ERROR
    handlers = (remote, local)
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)


def _ending(run: Run, status: Status, sent: Sent) -> Iterator[str]:
    """Yield lines about what became of everything."""
    yield f"{run.tally.windows} windows, {run.tally.failed} failed"
    if run.tally.failed:
        yield f"the last that failed: {run.tally.why}"
    for title, counts in (
        ("explained", run.explaining.made),
        ("given up for the deadline", _named(Degraded.label_of, status.degraded)),
        ("source", _named(SourceFault.label_of, status.source)),
        ("sent", _named(_record, sent.frames)),
        ("thinned for the link", _named(Thinned.label_of, sent.thinned)),
        ("dropped", _named(_record, sent.dropped)),
    ):
        if counts:
            yield f"{title}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}"
    if sent.link_rate is not None:
        yield f"link: {sent.link_rate:,} bytes/s at the most"


def _named(name: Callable[[int], str], counts: Mapping[int, int]) -> dict[str, int]:
    return {name(number): count for number, count in sorted(counts.items())}


def _record(code: int) -> str:
    return Record.registry[code].__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite run",
        description=f"On the device: predict, explain, and stream over a serial port; {_BOARDS}.",
        epilog="exit codes: 0 success, 1 the host did not take everything, or the source gave no window, 2 wrong usage "
        "or bad input",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="what `whylite export` wrote (.why)")
    _add_source(parser.add_argument_group("source"))
    _add_explaining(parser.add_argument_group("explaining"))
    _add_link(parser.add_argument_group("link"))
    _add_machine(parser.add_argument_group("machine"))
    return parser


def _add_source(group: argparse._ArgumentGroup) -> None:
    sources = ", ".join(f"{scheme}:..." for scheme in schemes())
    group.add_argument("--source", required=True, metavar="SPEC", help=f"where windows come from: {sources}")
    group.add_argument(
        "--rate",
        type=between(SLOWEST, FASTEST),
        metavar="HZ",
        help=f"windows per second, {SLOWEST:g} to {FASTEST:,g}; what the link cannot take is dropped and counted "
        "(default: as they come, or as fast as the link)",
    )
    group.add_argument("--count", type=natural, metavar="N", help="stop after N windows")
    group.add_argument("--loop", action="store_true", help="begin again when the source ends")


def _add_explaining(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--method", action="append", metavar="NAME", help="explain with this method; repeat for more (default: all)"
    )
    group.add_argument(
        "--explain",
        choices=[code.label for code in When],
        default=When.ALWAYS.label,
        help="which answers: all, those that are not the one before, those of the classes of --alarm, or only those "
        "that the host asks about (default: %(default)s)",
    )
    group.add_argument("--alarm", action="append", metavar="CLASS", help="label or index; repeat for more")
    group.add_argument(
        "--deadline-ms",
        type=between(0.001, _HOUR),
        metavar="MS",
        help="time for one window from when it is complete, its explanations included, at most an hour; they give up "
        "steps, or go to a cheaper method, or are left out",
    )
    group.add_argument(
        "--tolerance",
        type=between(1e-6, 1.0),
        metavar="PART",
        help="take steps of Integrated Gradients until no more than this part of the logit's change, 1e-6 to 1, is "
        "unexplained",
    )
    group.add_argument(
        "--keep",
        type=natural,
        metavar="N",
        help="past windows that the host can still ask about (default: 64, or as many as take 32 MiB)",
    )
    group.add_argument("--inputs", action="store_true", help="send every window that is explained, too")


def _add_link(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--port", help="required: serial port, pty, socket://HOST:PORT, loop://")
    group.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="of a serial port (default: %(default)s)")
    add_flow(group)
    group.add_argument("--wait-host", type=positive, metavar="SECONDS", help="start when a monitor is there")
    group.add_argument(
        "--map-encoding",
        choices=(AUTO, *CODECS),
        default=AUTO,
        help="how maps travel (default: auto, int8 where the link has time for it and coarser where not)",
    )


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threads", type=natural, default=1, help="of the interpreter, at most four for each processor (default: 1)"
    )
    group.add_argument(
        "--cpu-affinity", type=processors, metavar="LIST", help="processors to keep to, such as 0,2-3 (default: all)"
    )
    group.add_argument(
        "--interpreter",
        choices=("auto", *RUNTIMES),
        default="auto",
        help="which TFLite to use (default: the first of them that is installed)",
    )
