"""What every command shares: one JSON object or a readable text on standard output, errors in one line, progress bars.

Only results go to standard output; everything else goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from ecos_core.errors import BudgetExceeded, EcosError, InputError, PolicyError
from ecos_core.progress import Progress, ProgressSink, silent

EXIT_FAILED = 1
# typer brings a click of its own: this is its class of whatever a command line may be wrong in.
UsageMistake: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
EXIT_INPUT = 2

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]


def emit(result: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Print the result, for a machine or for a person."""
    if as_json:
        print(json.dumps(finite(result), indent=None, default=str))
    else:
        print(text)


def finite(value: Any) -> Any:
    """Replace NaN and infinity by None, all the way down: JSON has neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def warn(message: str) -> None:
    """One line on standard error."""
    print(message, file=sys.stderr)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn expected errors into one line and an exit code; a traceback is a bug."""
    try:
        yield
    except (InputError, PolicyError, BudgetExceeded) as error:
        warn(f"ecos: {error}")
        sys.exit(EXIT_INPUT)
    except EcosError as error:
        warn(f"ecos: {error}")
        sys.exit(EXIT_FAILED)
    except typer.Abort:
        warn("ecos: aborted")
        sys.exit(EXIT_FAILED)
    except UsageMistake as error:
        _tell_mistake(error)
        sys.exit(EXIT_INPUT)
    except KeyboardInterrupt:
        warn("ecos: interrupted; finished parts are kept, run the same command again to go on")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        sys.exit(EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        warn(f"ecos: {where}{error.strerror or error}; put it right and run the same command again")
        sys.exit(EXIT_FAILED)


def _tell_mistake(error: Any) -> None:
    """A mistyped command line, in one line; a command without arguments that needs some prints its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    context = getattr(error, "ctx", None)
    command = "ecos" if context is None else context.command_path
    warn(f"ecos: {' '.join(error.format_message().split())}  ({command} --help)")


@contextlib.contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[ProgressSink]:
    """A sink that draws one bar a stage on standard error: rate, time left, failures.

    On something that is not a terminal a plain line is printed every few seconds instead.
    """
    if quiet:
        yield silent
        return
    if not sys.stderr.isatty():
        yield _PlainProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bars = RichProgress(
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=Console(stderr=True),
    )
    known: dict[str, Any] = {}
    with bars:

        def draw(report: Progress, /) -> None:
            if report.stage not in known:
                known[report.stage] = bars.add_task(report.stage, total=report.total, rate="", failed="")
            task = known[report.stage]
            speed = bars.tasks[task].speed
            bars.update(
                task,
                completed=report.done,
                total=report.total,
                rate=f"{speed:,.0f} {report.unit}/s" if speed and speed >= 1 else "",
                failed=f"{report.failures} set aside" if report.failures else "",
            )

        yield draw


class _PlainProgress:
    """Lines for logs and pipes: at the start, every five seconds, and at the end of a stage."""

    interval_s = 5.0

    def __init__(self) -> None:
        self._shown: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def __call__(self, report: Progress, /) -> None:
        now = time.monotonic()
        began = self._began.setdefault(report.stage, now)
        ended = report.total is not None and report.done >= report.total
        if now - self._shown.get(report.stage, -self.interval_s) < self.interval_s and not ended:
            return
        self._shown[report.stage] = math.inf if ended else now
        total = f" of {report.total:,}" if report.total is not None else ""
        speed = report.done / (now - began) if now > began else 0.0
        rate = f", {speed:,.0f}/s" if speed >= 1 else ""
        failed = f", {report.failures} set aside" if report.failures else ""
        warn(f"{report.stage}: {report.done:,}{total} {report.unit}{rate}{failed}")
