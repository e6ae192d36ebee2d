"""DomainNet's table: from a tiny tree in its layout with drawn pictures, and a clear word without the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import domainnet
from benchmarks.grid import ImageSet
from ecos_core.errors import InputError

CLASSES = ("bird", "tiger")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two domains, two classes and one that FedBN leaves out, as DomainNet lists them."""
    rng, root = np.random.default_rng(0), tmp_path / "data" / "DomainNet"
    for place, domain in enumerate(("clipart", "sketch")):
        listed = []
        for number, label in enumerate((*CLASSES, "aircraft_carrier")):
            for index in range(20):
                colour = 40 + 100 * place + 60 * number
                pixels = np.clip(rng.normal(colour, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
                file = root / domain / label / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
                listed.append(f"{domain}/{label}/{index}.png {number}")
        (root / f"{domain}_train.txt").write_text("\n".join(listed[::2]))
        (root / f"{domain}_test.txt").write_text("\n".join(listed[1::2]))
    return tmp_path / "data"


def test_the_table_is_made_from_a_tree_in_domainnet_s_layout(tree: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    told = domainnet.run(
        tree, pools=("id+ood",), clients=("clipart", "sketch"), budgets=(4, 8), samplers=("ecos", "random"),
        seeds=(1,), clusters=4, draws=1, image_size=32, epsilon=5.0, home=home, workers=1,
    )  # fmt: skip
    averages = [row for row in told["rows"] if row["client"] == "average"]
    assert [(row["sampler"], row["budget"]) for row in averages] == [
        ("ecos", 4), ("ecos", 8), ("random", 4), ("random", 8),
    ]  # fmt: skip
    (file,) = (home / "bench" / "features").glob("domainnet-*.npz")
    images = ImageSet.load(file)
    assert len(images.labels) == 80 and set(images.labels) == set(CLASSES)
    assert Path(told["report"]).name == "domainnet_32.md"


def test_without_the_data_it_says_where_it_comes_from(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        domainnet.run(home=tmp_path)
    with pytest.raises(InputError, match="no DomainNet here; put DomainNet's"):
        domainnet.run(tmp_path / "empty", home=tmp_path)
    (tree / "DomainNet" / "sketch" / "bird" / "0.png").unlink()
    with pytest.raises(InputError, match=r"sketch/bird/0.png is listed but not there"):
        domainnet.run(tree, home=tmp_path)
