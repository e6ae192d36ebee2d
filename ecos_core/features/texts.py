"""From a text to the tokens that an encoder reads; the tokeniser's file travels with the extractor.

Tokens past ``max_tokens`` are cut off: what a mail, a note or a report is about stands at its beginning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from ecos_core.errors import IntegrityError, MissingDependencyError
from ecos_core.lake.modality import TEXT, Modality, read_text
from ecos_core.storage import sha256_hex

TOKENISER_NAME = "tokenizer.json"
MAX_TOKENS = 128
PADDING = 0
# No text of so many characters a token is shorter than the cut; what follows need not be tokenised.
_CHARACTERS_A_TOKEN = 40


class TextPreprocessing(BaseModel):
    """What is done to a text; a part of the fingerprint. Make one with ``of`` or ``read``."""

    model_config = ConfigDict(frozen=True)
    modality: ClassVar[Modality] = TEXT

    max_tokens: int = Field(MAX_TOKENS, ge=8, le=512)
    tokeniser_sha256: str
    kind: Literal["text"] = Field("text", serialization_alias="modality", validation_alias="modality")
    _tokeniser: bytes = PrivateAttr(b"")

    @classmethod
    def of(cls, tokeniser: bytes, max_tokens: int = MAX_TOKENS) -> TextPreprocessing:
        """``tokeniser``: a ``tokenizer.json`` of the tokenizers library."""
        made = cls(max_tokens=max_tokens, tokeniser_sha256=sha256_hex(tokeniser))
        made._tokeniser = tokeniser
        return made

    @classmethod
    def read(cls, record: dict[str, Any], read: Callable[[str], bytes]) -> TextPreprocessing:
        """The saved one. Raises IntegrityError when the tokeniser beside it is another."""
        made = cls.of(read(TOKENISER_NAME), int(record["max_tokens"]))
        if made.tokeniser_sha256 != record["tokeniser_sha256"]:
            raise IntegrityError(TOKENISER_NAME, record["tokeniser_sha256"], made.tokeniser_sha256)
        return made

    def describe(self) -> dict[str, Any]:
        """Everything that the fingerprint depends on, as JSON."""
        return self.model_dump(mode="json", by_alias=True)

    def files(self) -> dict[str, bytes]:
        """What is kept beside the description: name -> bytes."""
        return {TOKENISER_NAME: self._tokeniser}

    def prepare(self, data: bytes) -> NDArray[np.int64]:
        """Token numbers int64 [max_tokens], padded with 0. Raises ``lake.decode.BadSample``."""
        text = read_text(data)[: self.max_tokens * _CHARACTERS_A_TOKEN]
        numbers = load_tokeniser(self._tokeniser, self.max_tokens).encode(text).ids
        padded = np.full(self.max_tokens, PADDING, np.int64)
        padded[: len(numbers)] = numbers
        return padded

    def padding_of_tokeniser(self) -> int | None:
        """The number of the tokeniser's ``[PAD]``; None when it has none. The network takes 0 for padding."""
        found: int | None = load_tokeniser(self._tokeniser, self.max_tokens).token_to_id("[PAD]")
        return found

    def example(self) -> NDArray[np.int64]:
        """A prepared text of full length, to try a network on."""
        return np.ones(self.max_tokens, np.int64)


@functools.lru_cache(maxsize=4)
def load_tokeniser(content: bytes, max_tokens: int) -> Any:
    """A tokeniser that cuts at ``max_tokens`` and pads nothing. Raises MissingDependencyError."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingDependencyError("tokenizers", "text") from error
    tokeniser = Tokenizer.from_buffer(content)
    tokeniser.enable_truncation(max_tokens)
    tokeniser.no_padding()
    return tokeniser
