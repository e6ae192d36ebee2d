"""The discrete Gaussian, sampled in whole numbers only, from the operating system's randomness.

Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", NeurIPS 2020, algorithms 1 to 3.
Every comparison is between integers of any size, so each draw follows the law exactly; a coin of probability
a / b takes as many random words as it needs to be decided. There is no seed and no state beyond unused random
words. About 15 microseconds a draw.

It is ours because the client has to install in 400 MB and the library that has this sampler, OpenDP, takes 263
of them. One sampler runs everywhere; the tests hold it against the closed-form law and against OpenDP's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

_WORD_BITS = 64
_WORDS_AT_ONCE = 512


def draw_discrete_gaussian(count: int, sigma: float) -> list[int]:
    """``count`` independent draws, P(x) proportional to exp(-x^2 / (2 sigma^2)); ``sigma`` is taken
    exactly.
    """
    variance = Fraction(sigma) ** 2
    scale = int(sigma) + 1
    words = _random_words()
    return [_gaussian(words, variance.numerator, variance.denominator, scale) for _ in range(count)]


def _random_words() -> Iterator[int]:
    """Uniform integers of 64 bits, for ever; each is used once. Fetched by the kilobyte: a system call a word
    would be most of the time."""
    while True:
        block = os.urandom(_WORDS_AT_ONCE * _WORD_BITS // 8)
        yield from memoryview(block).cast("Q")


def _gaussian(words: Iterator[int], numerator: int, denominator: int, scale: int) -> int:
    """Algorithm 3: a discrete Laplace draw y, kept with probability exp(-(|y| - v / t)^2 / (2 v)), for a
    variance v = numerator / denominator and t = scale."""
    below = 2 * numerator * denominator * scale * scale
    while True:
        y = _laplace(words, scale)
        gap = abs(y) * scale * denominator - numerator
        if _bernoulli_exp(words, gap * gap, below):
            return y


def _laplace(words: Iterator[int], scale: int) -> int:
    """Algorithm 2 for a whole scale t: P(y) proportional to exp(-|y| / t)."""
    while True:
        rest = _uniform(words, scale)
        if not _bernoulli_exp(words, rest, scale):
            continue
        wholes = 0
        while _bernoulli_exp(words, 1, 1):
            wholes += 1
        size = rest + scale * wholes
        negative = next(words) & 1
        if negative and size == 0:
            continue
        return -size if negative else size


def _bernoulli_exp(words: Iterator[int], numerator: int, denominator: int) -> bool:
    """Algorithm 1: True with probability exp(-numerator / denominator), for a ratio of at least 0."""
    while numerator > denominator:
        if not _bernoulli_exp_at_most_one(words, 1, 1):
            return False
        numerator -= denominator
    return _bernoulli_exp_at_most_one(words, numerator, denominator)


def _bernoulli_exp_at_most_one(words: Iterator[int], numerator: int, denominator: int) -> bool:
    k = 1
    while _bernoulli(words, numerator, denominator * k):
        k += 1
    return k % 2 == 1


def _bernoulli(words: Iterator[int], numerator: int, denominator: int) -> bool:
    """True with probability numerator / denominator, in 0..1: a uniform number's binary digits are compared
    with the ratio's, 64 at a time, until they differ."""
    while True:
        if numerator >= denominator:
            return True
        digits, numerator = divmod(numerator << _WORD_BITS, denominator)
        word = next(words)
        if word != digits:
            return word < digits


def _uniform(words: Iterator[int], end: int) -> int:
    """A whole number from 0 to ``end`` - 1, for an ``end`` up to 2^64: masked words, those too large thrown
    away."""
    mask = (1 << (end - 1).bit_length()) - 1
    while True:
        found = next(words) & mask
        if found < end:
            return found
