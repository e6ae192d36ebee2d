import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ecos_core.errors import InputError
from ecos_core.features.backbones import efficientnet_lite
from ecos_core.features.checkpoint import read_checkpoint


@pytest.mark.parametrize("archive", [True, False])
def test_reads_what_torch_wrote(tmp_path: Path, archive: bool) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = collections.OrderedDict(
        whole=base,
        slanted=base.T[1:4, ::2],
        scalar=torch.tensor(7),
        halves=torch.ones(3, dtype=torch.float16),
    )
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    found = read_checkpoint(tmp_path / "w.pth")
    assert set(found) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].shape == tuple(tensor.shape)


def test_reads_the_embedded_weights_as_torch_does() -> None:
    path = efficientnet_lite.weights_file(efficientnet_lite.VARIANTS[efficientnet_lite.LITE0])
    expected = torch.load(path, weights_only=True)
    found = read_checkpoint(path)
    assert set(found) == set(expected)
    assert all(np.array_equal(found[name], tensor.numpy()) for name, tensor in expected.items())


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch attacked",)


def test_never_runs_what_a_checkpoint_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": _Attack()}, "zip.pth")
    Path("stream.pth").write_bytes(pickle.dumps(_Attack()))
    for name in ("zip.pth", "stream.pth"):
        with pytest.raises(InputError, match="more than tensors"):
            read_checkpoint(Path(name))
    assert not Path("attacked").exists()


def test_a_file_cut_short_or_absent_is_an_input_error(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1000)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "w.pth").read_bytes()
    for kept in (10, 200, len(whole) - 100):
        (tmp_path / "cut.pth").write_bytes(whole[:kept])
        with pytest.raises(InputError):
            read_checkpoint(tmp_path / "cut.pth")
    with pytest.raises(InputError, match="no such weights file"):
        read_checkpoint(tmp_path / "absent.pth")
