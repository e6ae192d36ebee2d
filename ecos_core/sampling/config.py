"""What a sampler is told: the client's noisy scores and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecos_core.errors import InputError
from ecos_core.sampling.denoising import DenoiseMethod
from ecos_core.settings import Settings


@dataclass(frozen=True)
class Scores:
    """What the client answered: ``noisy`` int64 [R], one count a cluster, may be negative; ``sigma`` of the
    noise in counts (0: none). Raises InputError on another shape or a negative sigma.

    ``outside`` int64 [K]: the records that lie outside every cluster's radius, by the region of their nearest one, and
    ``regions`` int64 [R]: each cluster's region. None where the client was not asked for them: then ``noisy`` counts
    all records, else those inside.
    """

    noisy: npt.NDArray[np.int64]
    sigma: float
    outside: npt.NDArray[np.int64] | None = None
    regions: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "noisy", _counts(self.noisy, "one integer a cluster"))
        if not np.isfinite(self.sigma) or self.sigma < 0:
            raise InputError(f"scores: sigma {self.sigma} must be finite and not negative")
        if self.outside is None or self.regions is None:
            if self.outside is not self.regions:
                raise InputError("scores: outside counts and the clusters' regions go together")
            return
        object.__setattr__(self, "outside", _counts(self.outside, "one integer a region"))
        object.__setattr__(self, "regions", _counts(self.regions, "one region a cluster"))
        if len(self.regions) != len(self.noisy) or self.regions.max(initial=0) >= len(self.outside):
            raise InputError(
                f"scores: {len(self.regions)} regions up to {self.regions.max(initial=0)} for {len(self.noisy)} "
                f"clusters and {len(self.outside)} outside counts"
            )


def _counts(values: npt.NDArray[np.int64], what: str) -> npt.NDArray[np.int64]:
    counts = np.asarray(values)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(f"scores: {what} is needed, found {counts.dtype} of shape {counts.shape}")
    return counts.astype(np.int64)


class SamplerConfig(Settings):
    """How to choose. The defaults are those that ``docs/study.md`` supports."""

    RETIRED: ClassVar = {
        "threshold": (2.0, "the rule that it belonged to lost to empirical Bayes"),
        "weighting": ("score", "weighting by the share of the lake was no better"),
    }

    denoise: DenoiseMethod = Field(
        "empirical_bayes",
        title="Denoising rule",
        description="How the noisy scores become estimated counts; free post-processing.",
    )
    power: Annotated[float, Field(gt=0, le=8)] | Literal["auto"] = Field(
        1.0,
        title="Power",
        description="Weights are raised to it. `auto`: 1 where the lake is near the client, to 0.25 where it is far.",
    )
    diversity: Literal["facility", "k_center"] = Field(
        "facility",
        title="Choice inside a cluster",
        description="`facility`: nearest to all members (facility location); `k_center`: farthest first.",
    )
    k_center_on: Literal["cpu", "gpu"] = Field(
        "cpu",
        title="k-center runs on",
        description="`cpu`: exact; `gpu`: distances in float32, samples nearly equally far may swap places.",
    )
    drop_duplicates: bool = Field(
        True, title="Drop near-duplicates", description="Keep one sample of each duplicate group of the lake."
    )
    duplicate_radius: float = Field(
        0.0,
        ge=0,
        title="Duplicate radius (L2 in feature units)",
        description="In a cluster, samples this near to a chosen one are left out; 0: off.",
    )
    allow_fewer: bool = Field(
        False,
        title="Allow fewer than the budget",
        description="Take what there is, not fail, when the pool holds fewer than the budget.",
    )
    licence_allow: tuple[str, ...] = Field(
        (),
        title="Allowed licences",
        description="Choose among images of these licences only; the lake's own rule holds besides. Empty: all.",
    )
    target_domain: str | None = Field(
        None,
        title="Target domain",
        description="`oracle` only: the domain that the client's images come from.",
    )
    balance_by: Literal["label", "domain"] = Field(
        "label", title="Balance by", description="`balanced` only: the column whose values get equal shares."
    )

    def parameters(self) -> dict[str, Any]:
        """Plain values for a manifest or a tracker."""
        return self.model_dump(mode="json")
