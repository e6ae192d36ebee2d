from benchmarks.extraction import Case, _case_rows


def test_a_case_runs_its_peers_on_the_same_images(tmp_path):
    rows = _case_rows(tmp_path, Case("efficientnet_lite0", 32, 32, 32), repeats=1)
    assert [row["peer"] for row in rows] == [
        "ONNX Runtime, ready tensors",
        "decode, forward",
        "ImageFolder + DataLoader, torch",
        "torch",
        "torch, channels_last",
    ]
    assert all(row["ratio"] > 0 for row in rows)
    assert 0 < rows[0]["ceiling"] < 1
    assert rows[3]["least_cosine"] > 0.999
