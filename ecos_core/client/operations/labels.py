"""The private labels as numbers of a public list of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecos_core.client.operations.histogram import ABSTAIN, Integers
from ecos_core.client.records import PrivateFeatures
from ecos_core.errors import InputError


def label_numbers(held: PrivateFeatures, classes: Sequence[str]) -> Integers:
    """int64 [n], each record's place in ``classes``; ABSTAIN for one with another label or none. Private.

    Raises InputError when a class is listed twice; whether the list fits the data is never told.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    if len(numbers) != len(classes):
        raise InputError("classes: one of them is listed twice")
    return np.array([numbers.get(label or "", ABSTAIN) for label in held.labels], np.int64).reshape(-1)
