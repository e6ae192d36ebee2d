"""Denoising, quotas, choice inside clusters and the samplers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """The samplers are imported when first asked for: the searches alone need only numpy or torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ecos_core.sampling import samplers

    return getattr(samplers, name)
