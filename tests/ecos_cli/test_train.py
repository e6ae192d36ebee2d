"""``ecos train`` refuses bad input in one line, before it reads a lake. Training itself is tested in the core."""

import sys

import pytest

from ecos_cli.main import main

REQUIRED = ["--selection", "picks", "--lake", "lake", "--out", "model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--use", "magic"], "linear_probe"),
        (["--set", "epochs"], "FIELD=VALUE"),
        (["--set", "epochs=0"], "epochs: Input should be greater than or equal to 1"),
        (["--set", "sped=3"], "there is no such setting"),
        (["--set", "training.epoch=3"], "did you mean 'training.epochs'?"),
        (["--use", "fine_tun"], "did you mean 'fine_tune'?"),
        (["--set", "seeds=[1, 1]"], "each once"),
        (["--seeds", "one"], "separated by commas"),
        (["--seeds", "1,1"], "each once"),
        (["--config", "absent.yaml"], "no such file"),
        ([], "no lake here"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(options, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ecos", "train", *REQUIRED, *options])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
