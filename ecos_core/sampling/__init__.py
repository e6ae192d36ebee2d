"""Denoising, quotas, choice inside clusters and the samplers."""

from ecos_core.sampling.samplers import (
    NEED_SCORES,
    SAMPLERS,
    ArrayPool,
    Members,
    Pool,
    Sampler,
    SamplerConfig,
    Scores,
    Selection,
    sampler_named,
)

__all__ = [
    "NEED_SCORES",
    "SAMPLERS",
    "ArrayPool",
    "Members",
    "Pool",
    "Sampler",
    "SamplerConfig",
    "Scores",
    "Selection",
    "sampler_named",
]
