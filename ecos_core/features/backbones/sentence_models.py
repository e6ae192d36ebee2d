"""Text encoders of sentence-transformers, ``sentence-transformers/NAME``; the feature is the sentence embedding.

Weights are a folder as ``save`` writes it, with ``modules.json`` and a fast tokeniser (``tokenizer.json``).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import Backbone, Wanted, files_digest, weights_files
from ecos_core.features.texts import TOKENISER_NAME, TextPreprocessing

PREFIX = "sentence-transformers/"
NAMES = "sentence-transformers/NAME with --weights FOLDER for texts"
HINT = "give --weights a folder with modules.json, tokenizer.json and the weights"
MOST_TOKENS = 512


def find(wanted: Wanted) -> Backbone | None:
    """None for a name without the prefix. Raises InputError."""
    if not wanted.name.startswith(PREFIX):
        return None
    folder = wanted.path(HINT)
    try:
        modules = json.loads((folder / "modules.json").read_text("utf-8"))
        inside = [folder / module["path"] for module in modules]
        tokeniser = (inside[0] / TOKENISER_NAME).read_bytes()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{folder}: no folder of sentence-transformers; {HINT}") from error
    preprocessing = TextPreprocessing.of(tokeniser, _tokens(inside[0]))
    if preprocessing.padding_of_tokeniser() not in (0, None):
        raise InputError(
            f"{folder}: its tokeniser pads with another number than 0, which is not supported yet"
        )
    files = [file for part in dict.fromkeys(inside) if part.is_dir() for file in _weights(part)]
    return Backbone(wanted.name, files_digest(files), preprocessing, lambda _: _module(folder))


def _weights(part: Path) -> list[Path]:
    try:
        return weights_files(part)
    except InputError:  # pooling has no weights
        return []


def _tokens(part: Path) -> int:
    for name in ("sentence_bert_config.json", "tokenizer_config.json"):
        if (part / name).is_file():
            record = json.loads((part / name).read_text("utf-8"))
            found = record.get("max_seq_length") or record.get("model_max_length")
            if found:
                return min(int(found), MOST_TOKENS)
    return MOST_TOKENS


@functools.lru_cache(maxsize=1)
def _module(folder: Path) -> Any:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError("sentence-transformers", "backbones") from error

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=True,
                model_kwargs={"attn_implementation": "eager"},
            )

        def forward(self, tokens: Any) -> Any:
            features = {"input_ids": tokens, "attention_mask": (tokens != 0).long()}
            for part in self.model:
                features = part(features)
            return features["sentence_embedding"]

    try:
        return Encoder().eval()
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{folder}: sentence-transformers cannot load it ({reason})") from error
