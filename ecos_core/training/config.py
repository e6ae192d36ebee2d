"""How to train: one pydantic model, the same object in the command line, the orchestrator's form and the
tracking.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PrecisionName = Literal["float32", "bfloat16", "float16"]


class Use(StrEnum):
    """What the selection is used for (method: the three uses; the probe and fine-tuning are forms of the
    first).
    """

    LINEAR_PROBE = "linear_probe"
    FINE_TUNE = "fine_tune"
    FIXMATCH = "fixmatch"
    DISTIL = "distil"


class TrainConfig(BaseModel):
    """Hyper-parameters of one training. Those of another use are ignored and change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)

    use: Use = Field(Use.LINEAR_PROBE, title="Use", description="What to do with the selection.")
    seeds: tuple[int, ...] = Field(
        (1, 2, 3), title="Seeds", description="One training a seed; figures are averaged."
    )
    budget: int | None = Field(
        None,
        ge=1,
        title="Budget",
        description="Use only the first so many picks of the selection (its prefix).",
    )
    label_set: tuple[str, ...] = Field(
        (),
        title="Label set",
        description="The classes of the task; empty: all. Rows of others are left out of training and test.",
    )
    other_classes: Literal["leave_out", "one_class"] = Field(
        "leave_out",
        title="Other classes",
        description="Of rows beyond the label set: `leave_out`, or keep them as the class `other`.",
    )
    c: float = Field(
        0.01, gt=0, le=1e4, title="C", description="Linear probe: inverse strength of the L2 penalty."
    )

    image_size: int = Field(
        128, ge=16, le=1024, title="Image size (px)", description="Side of the training images."
    )
    epochs: int = Field(30, ge=1, le=10_000, title="Epochs", description="Passes over the labelled samples.")
    batch_size: int = Field(
        32, ge=1, le=8192, title="Batch size (images)", description="Labelled images a step."
    )
    learning_rate: float = Field(
        0.0003, gt=0, le=10, title="Learning rate", description="Peak rate of AdamW."
    )
    weight_decay: float = Field(0.0005, ge=0, le=1, title="Weight decay")
    warmup_epochs: float = Field(
        1.0, ge=0, title="Warm-up (epochs)", description="Linear rise of the learning rate."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, title="Label smoothing")
    freeze: Literal["none", "stem", "all_but_head"] = Field(
        "none", title="Freeze", description="Which part of the backbone stays as it was pretrained."
    )
    patience: int = Field(
        0,
        ge=0,
        title="Patience (epochs)",
        description="Stop after so many epochs without a better validation; 0: never.",
    )
    validation_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        title="Validation share",
        description="Part of the labelled samples kept for early stopping.",
    )
    precision: Literal["auto"] | PrecisionName = Field(
        "auto",
        title="Precision",
        description="Of the forward pass. `auto`: float16 with a scaled loss on a GPU, float32 on a CPU.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", title="Device")
    checkpoint_every: int = Field(1, ge=1, title="Checkpoint every (epochs)")

    unlabelled_ratio: int = Field(
        3,
        ge=1,
        le=16,
        title="Unlabelled ratio",
        description="FixMatch: unlabelled images for each labelled one (mu).",
    )
    threshold: float = Field(
        0.95, gt=0, le=1, title="Threshold", description="FixMatch: confidence a pseudo-label needs."
    )
    unlabelled_weight: float = Field(1.0, ge=0, title="Unlabelled weight", description="FixMatch: lambda_u.")
    ema_decay: float = Field(
        0.99,
        ge=0,
        lt=1,
        title="EMA decay",
        description="Of the averaged weights, reached gradually; 0: no average.",
    )
    unlabelled_limit: int | None = Field(
        None,
        ge=1,
        title="Unlabelled limit (images)",
        description="FixMatch: use at most so many of the lake.",
    )

    temperature: float = Field(
        4.0, gt=0, le=100, title="Temperature", description="Distillation: softening of logits."
    )
    alpha: float = Field(
        0.7,
        ge=0,
        le=1,
        title="Alpha",
        description="Distillation: weight of the soft targets against the labels.",
    )
    student: Literal["lite0_trimmed", "mobilenet_v3_small"] = Field(
        "lite0_trimmed", title="Student", description="Distillation: the small network."
    )

    @model_validator(mode="before")
    @classmethod
    def _amp_was_a_switch(cls, values: Any) -> Any:
        """Files from before ``precision`` say ``amp: true`` or ``false``."""
        if isinstance(values, dict) and isinstance(values.get("amp"), bool) and "precision" not in values:
            rest = {name: value for name, value in values.items() if name != "amp"}
            return {**rest, "precision": "auto" if values["amp"] else "float32"}
        return values

    @model_validator(mode="after")
    def _seeds_differ(self) -> TrainConfig:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: give at least one, each once")
        return self

    @model_validator(mode="after")
    def _label_set_holds(self) -> TrainConfig:
        if len(set(self.label_set)) != len(self.label_set):
            raise ValueError("label_set: name each class once")
        if self.label_set and self.use is Use.DISTIL:
            raise ValueError(
                "label_set: a teacher answers with all classes of the lake; use it with another use"
            )
        return self
