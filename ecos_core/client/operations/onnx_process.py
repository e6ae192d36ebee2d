"""The process a stranger's model runs in. Stands alone: it is started by its file name, isolated, with no
environment.

``python -I onnx_process.py CLASSES SECONDS MEMORY``; on standard input the model's length (8 bytes,
little-endian), the model, and the features as .npy; on standard output the seconds taken (float64) and int64
predictions.
"""

from __future__ import annotations

import io
import resource
import sys
import time

import numpy as np

FAILED = -2  # this record's answer: no class; it counts as wrong


def main(classes: int, seconds: int, memory: int) -> None:
    """Predict record by record: float32 [1, d] in, the largest of C scores out."""
    import onnxruntime

    given = sys.stdin.buffer.read()
    length = int.from_bytes(given[:8], "little")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(given[8 : 8 + length], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    features = np.load(io.BytesIO(given[8 + length :]), allow_pickle=False)
    found = np.full(len(features), FAILED, np.int64)
    record = np.empty((1, features.shape[1]), np.float32)  # one buffer: the same alignment for every record
    began = time.perf_counter()
    for number, feature in enumerate(features):
        record[0] = feature
        found[number] = predict(session, name, record, classes)
    took = np.float64(time.perf_counter() - began)
    sys.stdout.buffer.write(took.tobytes() + found.tobytes())


def predict(session: object, name: str, record: np.ndarray, classes: int) -> int:
    """The class of one record. Whatever goes wrong with it stays with it: it must not change another's
    answer.
    """
    try:
        scores = np.asarray(session.run(None, {name: record})[0])  # type: ignore[attr-defined]
        if scores.shape != (1, classes) or not np.isfinite(scores).all():
            return FAILED
        return int(np.argmax(scores[0]))
    except Exception:
        return FAILED


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
