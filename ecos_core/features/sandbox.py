"""An extractor in a process of its own, one record at a time: how a data owner's features are made.

What comes from outside, a graph and the owner's own files with whatever made them, is decoded and run where there is
no file, no network, no other process, and bounded memory and time (``confinement`` says which of these the system
has; ``ecos doctor`` shows it, and a missing one is logged). A record that crashes the process, or takes too long, is
set aside by itself: the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ecos_core
from ecos_core.errors import InputError
from ecos_core.features import confinement
from ecos_core.features.agreement import is_program
from ecos_core.features.extractor import Extractor
from ecos_core.lake.decode import BadSample

log = logging.getLogger(__name__)

START_SECONDS = 300.0
RECORD_SECONDS = 60.0
_ENTRY = (
    "import sys; sys.path[:0] = sys.argv[1:]; from ecos_core.features.sandbox_process import main; main()"
)
# One thread: the sums of a network are then made in one order.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


class SandboxedExtractor:
    """A ``FeatureSource``: ``extract`` gives features float32 [n, dimension] of records' bytes.

    Each record is computed by itself, so its feature is the same bit for bit whatever stands before or after it. Use
    as a context manager, or ``close`` it. Raises InputError when the extractor cannot be started; ``extract`` raises
    ``lake.decode.BadSample`` for a record without a feature, its ``reason`` one that can be counted: those of
    decoding, ``not_finite``, ``crashed`` or ``too_slow``. Give it one record at a time to know whose fault it was.
    """

    def __init__(self, extractor: Extractor, *, record_seconds: float = RECORD_SECONDS) -> None:
        self.fingerprint = extractor.fingerprint
        self.dimension = extractor.dimension
        self._frames = extractor.to_frames()
        self._seconds = record_seconds
        self._folder = tempfile.TemporaryDirectory(prefix="ecos-empty-")
        self._process: subprocess.Popen[bytes] | None = None
        self.confined: list[str] = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SandboxedExtractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its empty folder."""
        self._stop()
        self._folder.cleanup()

    def extract(self, records: Sequence[bytes]) -> NDArray[np.float32]:
        """Float32 [n, dimension]. Raises ``lake.decode.BadSample``."""
        features = np.empty((len(records), self.dimension), np.float32)
        for row, record in enumerate(records):
            features[row] = self._one(record)
        return features

    def _one(self, record: bytes) -> NDArray[np.float32]:
        if self._process is None:
            self._start()
        try:
            self._send(record, self._seconds)
            kind, content = self._receive(self._seconds)
        except TimeoutError:
            self._stop()
            raise BadSample("too_slow", f"more than {self._seconds:g} s") from None
        except (EOFError, OSError):
            self._stop()
            raise BadSample("crashed", "the process that decodes and computes ended") from None
        if kind == b"F" and len(content) == 4 * self.dimension:
            return np.frombuffer(content, np.float32)
        reason, detail = _reason(content)
        raise BadSample(reason, detail)

    def _start(self) -> None:
        root = str(Path(ecos_core.__file__).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _ENTRY, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env=_ENVIRONMENT,
            bufsize=0,
        )
        os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
        try:
            for frame in self._frames:
                self._send(frame, START_SECONDS)
            kind, content = self._receive(START_SECONDS)
        except (TimeoutError, EOFError, OSError) as error:
            self._stop()
            raise InputError(
                "the extractor's process does not start here (is there enough memory for its graph?)"
            ) from error
        if kind != b"R":
            self._stop()
            raise InputError(content.decode(errors="replace")[:300])
        self._ready(json.loads(content))

    def _ready(self, said: dict[str, Any]) -> None:
        if not self.confined:
            missing = sorted(set(confinement.available()) - set(said["confined"]))
            log.info(
                "private features are made in a process confined by %s", ", ".join(said["confined"]) or "-"
            )
            if missing:
                log.warning("this system confines that process without %s", ", ".join(missing))
        self.confined = list(said["confined"])

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _send(self, content: bytes, seconds: float) -> None:
        """One frame. Raises TimeoutError when the process does not take it in time."""
        assert self._process is not None and self._process.stdin is not None
        until, pipe = time.monotonic() + seconds, self._process.stdin.fileno()
        for part in (len(content).to_bytes(8, "little"), content):
            left = memoryview(part)
            while left:
                _, ready, _ = select.select([], [pipe], [], max(0.0, until - time.monotonic()))
                if not ready:
                    raise TimeoutError
                left = left[os.write(pipe, left) :]

    def _receive(self, seconds: float) -> tuple[bytes, bytes]:
        until = time.monotonic() + seconds
        length = int.from_bytes(self._exactly(8, until), "little")
        # A process that something took over can say no more than a feature or a reason.
        if not 1 <= length <= 4 * self.dimension + 65_536:
            raise EOFError
        answer = self._exactly(length, until)
        return answer[:1], answer[1:]

    def _exactly(self, count: int, until: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        stream, parts = self._process.stdout, bytearray()
        while len(parts) < count:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError
            found = os.read(stream.fileno(), count - len(parts))
            if not found:
                raise EOFError
            parts += found
        return bytes(parts)


def feature_source(extractor: Any) -> contextlib.AbstractContextManager[Any]:
    """What private features are made with: the extractor in its sandbox, or a caller's own source as it is."""
    return SandboxedExtractor(extractor) if is_program(extractor) else contextlib.nullcontext(extractor)


def _reason(content: bytes) -> tuple[str, str]:
    try:
        reason, detail = json.loads(content)
    except ValueError:
        return "crashed", "an answer that cannot be read"
    return str(reason)[:40], str(detail)[:200]
