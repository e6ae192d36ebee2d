"""Mixed precision: the forward pass in 16 bits, weights, losses and everything that is judged in 32.

float16 has ten bits after the point and a small range: its gradients are scaled up so that small ones do not vanish,
and a step whose gradients overflowed is left out and the scale halved (Micikevicius et al., ICLR 2018). bfloat16 has
the range of float32 and needs none of that, but seven bits: on EfficientNet-Lite0 (64 px, 32 digits, on a CPU) its
features are 5 % off and its gradients at a cosine of 0.83 with those of float32, where float16's are 0.6 % off and at
0.997 (8 digits; bfloat16 there 0.93). On a CPU bfloat16 is only faster where the CPU computes in it (AMX,
AVX512-BF16), and float16 is ten times slower than float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ecos_core.training.config import PrecisionName, TrainConfig

# Low enough that a handful of steps is not lost in finding the scale: a selection is a few steps an epoch.
FIRST_SCALE = 2.0**10
LEAST_SCALE = 1.0


def precision_of(config: TrainConfig, device: str) -> PrecisionName:
    """The one to train in. ``auto``: float16 on a GPU, float32 on a CPU."""
    if config.precision != "auto":
        return config.precision
    return "float16" if device.startswith("cuda") else "float32"


class MixedPrecision:
    """How one training computes. Its state (the scale of float16) belongs to the checkpoint."""

    def __init__(self, name: PrecisionName, device: str) -> None:
        import torch

        self.name = name
        self._device = torch.device(device).type
        self._dtype = getattr(torch, name)
        self._scaler = torch.amp.GradScaler(self._device, init_scale=FIRST_SCALE, enabled=name == "float16")

    def forward(self) -> AbstractContextManager[Any]:
        """Compute losses in here."""
        import torch

        on = self.name != "float32"
        return torch.autocast(self._device, self._dtype if on else None, enabled=on)

    def step(self, loss: Any, optimiser: Any) -> bool:
        """Gradients and the optimiser's step. False where float16 overflowed: no weight was touched then.

        Raises OverflowError when gradients are not finite however little they are scaled.
        """
        optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        before = self._scaler.get_scale()
        self._scaler.step(optimiser)
        self._scaler.update()
        after = self._scaler.get_scale()
        if after < LEAST_SCALE:
            raise OverflowError(f"gradients overflow {self.name}")
        return bool(after >= before)

    def state(self) -> dict[str, Any]:
        """Empty but for float16."""
        return dict(self._scaler.state_dict())

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        if state:
            self._scaler.load_state_dict(state)
