"""``whylite run``: on the device, explain what a source gives and stream it over a serial port."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from types import FrameType

from edge import loop
from edge.arguments import natural, positive
from edge.capture import open_source
from edge.clocks import SelfTest
from edge.errors import InputError, WhyLiteError
from edge.explainer import Explainer
from edge.interpreter import RUNTIMES
from edge.sources import schemes
from edge.stream import LogHandler, Sent, Stream, introduction
from edge.timekeeper import account
from edge.wire.codecs import CODECS
from edge.wire.port import DEFAULT_BAUD
from edge.wire.records import Record

_PATIENCE = 30.0  # seconds to deliver what waits when the windows have come to their end
_HURRY = 2.0  # the same when told to stop
_TURN = 0.001  # seconds after which Python lets a result leave while it explains; 0.005 by default

_REFINE = "leave --tolerance out, or export the model with --refine"

_log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run ``whylite run``; 0 success, 1 the host did not take everything, 2 wrong usage or bad input."""
    arguments = _parser().parse_args(argv[1:])
    try:
        return _run(arguments)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    sys.setswitchinterval(_TURN)
    explainer = Explainer.load(arguments.bundle, threads=arguments.threads, interpreter=arguments.interpreter)
    manifest, runtime = explainer.manifest, explainer.runtime
    methods = _methods(arguments.method, explainer.methods)
    if arguments.tolerance and not any(map(explainer.refines, methods)):
        raise InputError(f"{', '.join(methods)} of {arguments.bundle} take no steps until a tolerance is met", _REFINE)
    about = f"{runtime.name} {runtime.version}, {runtime.threads} thread{'s'[: runtime.threads != 1]}"
    session = introduction(manifest, methods, about)
    with (
        closing(open_source(arguments.source, manifest, repeat=arguments.loop)) as source,
        _interruptible() as stop,
        Stream(arguments.port, arguments.baud, session, arguments.map_encoding) as stream,
        _logged(stream),
    ):
        print(f"{manifest.name}: {', '.join(methods)} on {about}, to {arguments.port}", flush=True)
        if arguments.wait_host and not stream.wait_for_host(arguments.wait_host):
            print(f"no host in {arguments.wait_host:g} s; starting without one", file=sys.stderr, flush=True)
        _report_clock(stream.status.timekeeper.watch.self_test())
        _report_golden(explainer.check_golden(), about, manifest.runtime)
        windows = loop.taken(source, stream, stop)
        if arguments.rate:
            windows = loop.paced(windows, arguments.rate, stop)
        elif not source.live:
            windows = loop.as_taken(windows, stream, stop)
        windows = islice(windows, arguments.count)
        tally = loop.run(windows, explainer, stream, methods, arguments.deadline_ms, arguments.tolerance)
        sent = stream.close(_HURRY if stop.wait() else _PATIENCE)
    print(_ending(tally, sent), *account(stream.status.timekeeper.times()), sep="\n", flush=True)
    if sent.complete or stop.wait():
        return 0
    print("the host stopped reading before the end", file=sys.stderr)
    return 1


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
def _interruptible() -> Iterator[loop.Stop]:
    """Ask for the end at the first SIGINT or SIGTERM; a second one ends the process at once."""
    stop = loop.Stop()

    def halt(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = [(number, signal.signal(number, halt)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield stop
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def _logged(stream: Stream) -> Iterator[None]:
    """Send the package's log to the host and its warnings to stderr."""
    logger = logging.getLogger("edge")
    local = logging.StreamHandler()
    local.setLevel(logging.WARNING)
    handlers = (LogHandler(stream), local)
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)


def _ending(tally: loop.Tally, sent: Sent) -> str:
    frames = ", ".join(f"{count} {Record.registry[code].__name__}" for code, count in sorted(sent.frames.items()))
    dropped = ", ".join(f"{count} {Record.registry[code].__name__}" for code, count in sorted(sent.dropped.items()))
    return f"{tally.windows} windows, {tally.failed} failed; sent {frames or 'nothing'}; dropped {dropped or 'nothing'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite run",
        description="On the device: predict, explain, and stream over a serial port.",
        epilog="exit codes: 0 success, 1 the host did not take everything, 2 wrong usage or bad input",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="what `whylite export` wrote (.why)")
    sources = ", ".join(f"{scheme}:..." for scheme in schemes())
    parser.add_argument("--source", required=True, metavar="SPEC", help=f"where windows come from: {sources}")
    parser.add_argument("--port", required=True, help="serial port, pty, socket://HOST:PORT, loop://")
    parser.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="of a serial port (default: %(default)s)")
    parser.add_argument(
        "--method", action="append", metavar="NAME", help="explain with this method; repeat for more (default: all)"
    )
    parser.add_argument(
        "--rate",
        type=positive,
        metavar="HZ",
        help="windows per second; what the link cannot take is dropped and counted (default: as fast as the link)",
    )
    parser.add_argument("--count", type=natural, metavar="N", help="stop after N windows")
    parser.add_argument("--loop", action="store_true", help="begin again when the source ends")
    parser.add_argument(
        "--deadline-ms", type=positive, metavar="MS", help="time for one window, its explanations included"
    )
    parser.add_argument(
        "--tolerance",
        type=positive,
        metavar="PART",
        help="take steps of Integrated Gradients until no more than this part of the logit's change is unexplained",
    )
    parser.add_argument("--wait-host", type=positive, metavar="SECONDS", help="start when a monitor is there")
    parser.add_argument("--map-encoding", choices=tuple(CODECS), default="int8", help="how maps travel (default: int8)")
    parser.add_argument("--threads", type=natural, default=1, help="of the interpreter (default: 1)")
    parser.add_argument(
        "--interpreter",
        choices=("auto", *RUNTIMES),
        default="auto",
        help="which TFLite to use (default: the first of them that is installed)",
    )
    return parser
