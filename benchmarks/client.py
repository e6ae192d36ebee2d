"""The figures of the client, each with its bar: crash, race, replay, audit, timing, speed, start.

``run`` gives rows {part, name, ours, bar, ok, detail}. The client is a real one: its home on disk, its ledger, its
HTTP service on a socket. The peer of the scoring is FAISS's exact index, where it is installed.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks import client_audit, client_crash, client_start, privacy
from ecos_core.client.connecting import connect
from ecos_core.client.connection import Connection
from ecos_core.client.contributions import clean_sum
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home, init_home_from_features
from ecos_core.client.operations.operation import Sum
from ecos_core.client.operations.score import coverage, score_request
from ecos_core.client.policy import Policy
from ecos_core.client.records import PrivateFeatures
from ecos_core.client.service import create_app
from ecos_core.errors import BudgetExceeded, InputError

Row = dict[str, Any]
FINGERPRINT = "benchmark"
DIMENSION = 16
DEADLINE_S = 0.1
RESULTS = Path(__file__).parent / "results" / "client.json"


def run(quick: bool = False, parts: tuple[str, ...] = ("all",), save: bool = True) -> dict[str, Any]:
    """The rows of ``parts`` (names of ``PARTS``, or all); ``quick`` makes the counts small.

    A part's rows are kept as soon as they are there, beside those of the other parts: a run that was cut short
    goes on with ``--parts`` of what is missing. Raises InputError for a part that is not known.
    """
    names = list(PARTS) if parts == ("all",) else list(parts)
    if unknown := sorted(set(names) - set(PARTS)):
        raise InputError(f"--parts {','.join(unknown)}: choose from {', '.join(PARTS)}")
    rows = []
    for name in names:
        found = [{"part": name, **row} for row in PARTS[name](quick)]
        rows += found
        if save and not quick:
            keep(RESULTS, name, found)
    return {"rows": rows}


def keep(path: Path, part: str, rows: list[Row]) -> None:
    """Put a part's rows, with the machine they were taken on, in the place of its earlier ones."""
    from ecos_cli.bench import machine_description, save_rows

    stored = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    others = [row for row in stored if row["part"] != part]
    order = list(PARTS)
    merged = sorted([*others, *rows], key=lambda row: order.index(row["part"]))
    save_rows(path, "client", merged, machine_description())


def scoring(quick: bool) -> Iterator[Row]:
    """100,000 private features x 1,000 centroids x 128, against FAISS's exact search in float32."""
    records = 20_000 if quick else 100_000
    features, centroids = points(records, 128), points(1000, 128, seed=1)
    held = PrivateFeatures(features, [None] * records, np.arange(records))
    query = Sum(coverage, (1000,), 5.0, centroids=centroids)
    ours, busy = best_s(lambda: clean_sum(held, query, by_unit=False))
    detail = f"best of 5, {busy:.2f} s of CPU"
    try:
        import faiss

        index = faiss.IndexFlatL2(128)
        index.add(centroids)
        peer, peer_busy = best_s(lambda: index.search(features, 1))
        detail += f"; faiss IndexFlatL2 {peer:.3f} s, {peer_busy:.2f} s of CPU, ratio {ours / peer:.2f}"
    except ImportError:
        detail += "; faiss is not installed: no peer"
    yield row(f"score {records:,} x 1,000 x 128 (s)", ours, 1.0, ours < 1.0, detail)


def wire_size(quick: bool) -> Iterator[Row]:
    """Bytes of a request beyond the numbers in it."""
    centroids = points(100, 64)
    size = len(score_request(centroids, sigma=6.123456789, fingerprint="f" * 64).encode()) / centroids.nbytes
    yield row("bytes on the wire / (R x d x 4), R 100, d 64", size, 1.05, size <= 1.05)


def replays(quick: bool) -> Iterator[Row]:
    """The same request again and again, over HTTP."""
    repeats = 200 if quick else 1000
    with tempfile.TemporaryDirectory() as root:
        home = make_home(Path(root) / "home", points(500, DIMENSION))
        message = request(0, 6.12)
        with serving(home) as url, http_of(home, url) as http:
            answers = {http.post("/v1/score", content=message).content}
            spent = http.get("/v1/info").json()["epsilon_spent"]
            seconds = timed(
                lambda: answers.update(
                    http.post("/v1/score", content=message).content for _ in range(repeats)
                )
            )
            cost = http.get("/v1/info").json()["epsilon_spent"] - spent
    yield row(f"epsilon of {repeats} repeats over HTTP", cost, 0.0, cost == 0.0 and len(answers) == 1)
    yield row("repeats a second over HTTP", repeats / seconds, 200, repeats / seconds >= 200)


def race(quick: bool) -> Iterator[Row]:
    """Sixteen requesters at once for what is left for a few."""
    with tempfile.TemporaryDirectory() as root:
        home = make_home(Path(root) / "home", points(500, DIMENSION), epsilon=1.0)
        allowed = home.open_ledger().answers_left(7.0, data_version=home.identity.data_version)
        tokens = [home.tokens.add(f"requester-{number}") for number in range(16)]
        outcomes: list[bool] = []
        barrier = threading.Barrier(16)

        def ask(url: str, number: int) -> None:
            with connect(url, tokens[number]) as connection:
                barrier.wait()
                outcomes.append(_answered(connection, number))

        with serving(home) as url:
            threads = [threading.Thread(target=ask, args=(url, number)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    answered = sum(outcomes)
    ok = answered == allowed and len(outcomes) == 16
    yield row("answered of 16 requesters over HTTP for the last epsilon", answered, allowed, ok)


def _answered(connection: Connection, number: int) -> bool:
    try:
        connection.score(points(4, DIMENSION, seed=number), sigma=7.0, fingerprint=FINGERPRINT)
    except BudgetExceeded:
        return False
    return True


def crashes(quick: bool) -> Iterator[Row]:
    """Kill -9 of the service at every write boundary of a request."""
    kills = 20 if quick else 200
    with tempfile.TemporaryDirectory() as root:
        home = make_home(Path(root) / "home", points(500, DIMENSION))
        boundary, outcomes = 0, []
        while len(outcomes) < kills:
            message = request(len(outcomes), 50.0)
            outcomes.append(client_crash.crash_at(home.path, message, token_of(home), boundary))
            boundary = 0 if outcomes[-1].finished else boundary + 1
    faults = sum(bool(outcome.faults) for outcome in outcomes)
    boundaries = max(outcome.boundary for outcome in outcomes)
    name = f"broken promises in {kills} kills of the service at {boundaries} boundaries"
    yield row(name, faults, 0, faults == 0)


def timing(quick: bool) -> Iterator[Row]:
    """Response times on neighbouring data: the same deadline, told apart by Kolmogorov and Smirnov or not."""
    calls = 25 if quick else 500
    with tempfile.TemporaryDirectory() as root:
        features = points(5000, DIMENSION)
        engines = [
            Engine(make_home(Path(root) / str(number), table, answer_after_seconds=DEADLINE_S))
            for number, table in enumerate((features, features[1:]))
        ]
        taken: list[list[float]] = [[], []]
        for seed in range(calls):
            message = request(seed, 50.0)
            for number in (0, 1) if seed % 2 else (1, 0):
                began = time.perf_counter()
                engines[number].answer(message, "first")
                taken[number].append(time.perf_counter() - began)
    p = float(stats.ks_2samp(*taken).pvalue)
    yield row(f"timing on neighbouring data, {2 * calls} calls: KS p", p, 0.01, p > 0.01)


def make_home(path: Path, features: NDArray[np.float32], **rules: Any) -> Home:
    """A client of ready features with a generous budget and no deadline, unless ``rules`` says otherwise."""
    values = {
        "epsilon": 1000.0,
        "delta": 1e-5,
        "answer_after_seconds": 0.0,
        "requests_per_minute": 1_000_000,
        **rules,
    }
    return init_home_from_features(
        path, Policy.model_validate(values), features=features, fingerprint=FINGERPRINT
    )


def token_of(home: Home) -> str:
    return (home.path / "token").read_text().strip()


def points(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Points on the unit sphere, float32 [count, dimension]."""
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def request(seed: int, sigma: float) -> bytes:
    return score_request(points(4, DIMENSION, seed), sigma=sigma, fingerprint=FINGERPRINT).encode()


@contextmanager
def serving(home: Home) -> Iterator[str]:
    """The HTTP service of ``home`` in a thread; yields its address."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(create_app(Engine(home)), port=0, log_level="error", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def http_of(home: Home, url: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {token_of(home)}"}, trust_env=False)


def best_s(work: Callable[[], Any], repeats: int = 5) -> tuple[float, float]:
    """Least wall seconds, since other programs only ever add, and least CPU seconds over all threads."""
    walls, busy = [], []
    for _ in range(repeats):
        began = time.process_time()
        walls.append(timed(work))
        busy.append(time.process_time() - began)
    return min(walls), min(busy)


timed, row = privacy.timed, privacy.row

PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "scoring": scoring,
    "wire": wire_size,
    "replays": replays,
    "start": client_start.startup,
    "race": race,
    "crashes": crashes,
    "timing": timing,
    "audit": client_audit.through_the_client,
    "accounting": privacy.accounting,
    "ledger-speed": privacy.ledger_speed,
    "ledger-crashes": privacy.ledger_crashes,
    "ledger-races": privacy.ledger_races,
    "sampler-audit": privacy.audits,
}
