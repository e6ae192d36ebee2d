"""Features made one record at a time in a process that has nothing else in its reach."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.features import sandbox_process
from ecos_core.features.confinement import available
from ecos_core.features.extractor import Extractor, load_extractor, table_extractor
from ecos_core.features.onnx_engine import OnnxEngine
from ecos_core.features.preprocessing import Preprocessing
from ecos_core.features.projection import Projection
from ecos_core.features.sandbox import SandboxedExtractor
from ecos_core.features.tables import fit_columns
from ecos_core.lake.decode import BadSample
from ecos_core.lake.modality import row_bytes
from tests.lake_support import picture

TEXTS = [b"A man is eating food.", b"Win money now!!! " * 40, b"hi", b"The girl carries a baby. " * 7]


def projection(width: int, dimension: int = 16) -> Projection:
    rng = np.random.default_rng(1)
    return Projection(
        rng.normal(size=width).astype(np.float32) / 99,
        rng.normal(size=(width, dimension)).astype(np.float32),
        0.5,
    )


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [picture(rng, tuple(rng.integers(30, 220, 3))) for _ in range(12)]


@pytest.fixture(scope="module")
def lite0() -> Extractor:
    return load_extractor(image_size=64, engine="onnx").with_projection(projection(1280))


def hold_independence(extractor: Extractor, records: list[bytes]) -> np.ndarray:
    """Every record's feature is the same bit for bit in any order, alone, and beside any other."""
    with SandboxedExtractor(extractor) as source:
        whole = source.extract(records)
        backwards = source.extract(records[::-1])[::-1]
        doubled = source.extract([records[0], *records, records[-1]])[1:-1]
        fewer = source.extract(records[1::2])
    with SandboxedExtractor(extractor) as other:
        alone = np.concatenate([other.extract([record]) for record in records])
    for again in (backwards, doubled, alone):
        np.testing.assert_array_equal(whole.view(np.int32), again.view(np.int32))
    np.testing.assert_array_equal(whole[1::2].view(np.int32), fewer.view(np.int32))
    return whole


def test_an_images_feature_depends_on_nothing_else(lite0: Extractor, images: list[bytes]) -> None:
    found = hold_independence(lite0, images)
    theirs = lite0.extract(images)
    cosine = (found * theirs).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.99999


def test_every_image_format_is_decoded_inside_as_outside() -> None:
    rng = np.random.default_rng(3)
    pixels = Image.fromarray(rng.integers(0, 255, (48, 56, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(rng.integers(0, 65535, (40, 40), dtype=np.uint16))
    ways = [
        (pixels, "JPEG", {"exif": turned}), (pixels.convert("CMYK"), "JPEG", {}), (pixels, "PNG", {"exif": turned}),
        (pixels.convert("P"), "PNG", {"transparency": 3}), (deep, "PNG", {}), (pixels, "WEBP", {}),
        (pixels.convert("RGBA"), "WEBP", {"lossless": True}), (pixels, "GIF", {}), (pixels, "BMP", {}),
        (pixels, "TIFF", {"compression": "tiff_lzw"}), (pixels, "TIFF", {"compression": "jpeg"}), (deep, "TIFF", {}),
        (pixels, "PPM", {}), (pixels, "TGA", {}), (pixels, "ICO", {}), (pixels, "JPEG2000", {}), (pixels, "AVIF", {}),
    ]  # fmt: skip
    records = []
    for image, kind, options in ways:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        records.append(buffer.getvalue())
    extractor = load_extractor(image_size=32, engine="onnx")
    with SandboxedExtractor(extractor) as source:
        inside = source.extract(records)
    np.testing.assert_allclose(inside, extractor.extract(records), atol=1e-5)


def test_a_texts_feature_depends_on_nothing_else() -> None:
    pytest.importorskip("tokenizers")
    extractor = load_extractor("all_minilm_l6_v2", engine="onnx").with_projection(projection(384))
    hold_independence(extractor, TEXTS)


def test_a_rows_feature_depends_on_nothing_else() -> None:
    rows = [
        row_bytes({"age": str(age), "town": town}) for age, town in zip(range(9), "abcabcxyz", strict=True)
    ]
    extractor = table_extractor(fit_columns(lambda: rows))
    hold_independence(extractor.with_projection(projection(extractor.dimension, 4)), rows)


def batch_maximum(side: int) -> bytes:
    """A graph whose features are the largest mean colour of its whole batch, for every record of it."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMax", ["mean"], ["most"], axes=[0], keepdims=1),
        helper.make_node("Shape", ["mean"], ["size"]),
        helper.make_node("Expand", ["most", "size"], ["features"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "crafted", [pixels], [features])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def crafted(name: str = "resnet18") -> Extractor:
    content, preprocessing = batch_maximum(32), Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
    return Extractor(name, "0" * 64, preprocessing, False, None, OnnxEngine(content), lambda: content)


def test_a_maximum_over_the_batch_reaches_no_other_record(images: list[bytes]) -> None:
    """Such a graph moved every record's feature by one record; alone in its batch, it has no other to reach."""
    extractor = crafted()
    in_a_batch = extractor.extract(images)
    assert len(np.unique(in_a_batch, axis=0)) == 1, "the crafted graph must do what it was crafted for"
    assert len(np.unique(hold_independence(extractor, images), axis=0)) == len(images)


def test_a_bad_record_costs_itself_only(lite0: Extractor, images: list[bytes]) -> None:
    with SandboxedExtractor(lite0) as source:
        before = source.extract(images[:1])
        with pytest.raises(BadSample) as caught:
            source.extract([b"<html>no picture</html>"])
        assert caught.value.reason == "not_an_image"
        np.testing.assert_array_equal(source.extract(images[:1]), before)


def test_a_crash_and_a_hang_cost_their_record_only(lite0: Extractor, images: list[bytes]) -> None:
    with SandboxedExtractor(lite0, record_seconds=20) as source:
        before = source.extract(images[:1])
        assert source._process is not None
        source._process.kill()
        with pytest.raises(BadSample, match="crashed"):
            source.extract(images[:1])
        np.testing.assert_array_equal(source.extract(images[:1]), before)
        os.kill(source._process.pid, 19)  # SIGSTOP: it no longer answers
        source._seconds = 0.2
        with pytest.raises(BadSample, match="too_slow"):
            source.extract(images[:1])
        source._seconds = 20
        np.testing.assert_array_equal(source.extract(images[:1]), before)


def test_a_graph_that_gives_something_else_does_not_start(lite0: Extractor) -> None:
    class Other:
        name, device, parallel, dimension = "onnx", "cpu", True, 7

        def run(self, pixels: np.ndarray) -> np.ndarray:
            raise AssertionError

    wrong = dataclasses.replace(lite0, engine=Other(), projection=None)
    with pytest.raises(InputError, match="does not give the 7 numbers"):
        SandboxedExtractor(wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's layers")
@pytest.mark.parametrize("without", ["", "_landlock", "_seccomp"])
def test_no_file_socket_or_process_is_in_reach(without: str, tmp_path) -> None:
    """Each of the two layers alone keeps files and processes away; together, sockets too."""
    assert all(available().values())
    (tmp_path / "secret").write_text("secret")
    script = textwrap.dedent(f"""
        import os, socket, sys, threading
        sys.path.insert(0, {str(Path.cwd())!r})
        from ecos_core.features import confinement
        if {without!r}:
            setattr(confinement, {without!r}, lambda: False)
        held = confinement.confine(1 << 32)
        def refused(do):
            try:
                do()
            except OSError:
                return True
            return False
        refusals = [
            refused(lambda: open({str(tmp_path / "secret")!r})),
            refused(lambda: os.listdir("/")),
            refused(lambda: open({str(tmp_path / "written")!r}, "w")),
            refused(lambda: os.posix_spawn("/bin/true", ["true"], {{}})),
            refused(lambda: os.kill(os.getppid(), 0)),
            refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
        ]
        thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
        print(held, refusals)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("True") == 6, done.stdout
    assert len(eval(done.stdout[: done.stdout.index("]") + 1])) == (2 if without else 3)


def test_the_process_says_what_confines_it(lite0: Extractor) -> None:
    with SandboxedExtractor(lite0) as source:
        assert sorted(source.confined) == sorted(name for name, there in available().items() if there)


def test_finish_is_the_same_for_a_row_wherever_it_lies_in_memory() -> None:
    feature, fixed = np.random.default_rng(0).normal(size=384).astype(np.float32), projection(384)
    room = np.empty(500, np.float32)
    found = []
    for offset in range(17):
        room[offset : offset + 384] = feature
        found.append(sandbox_process.finish(room[offset : offset + 384], True, fixed).tobytes())
    assert len(set(found)) == 1
