"""What is asked before a question is paid for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ecos_core.config import PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.stages.scoring import stated


def test_a_question_planned_at_another_delta_is_refused_with_both_numbers() -> None:
    connection = SimpleNamespace(info=lambda: SimpleNamespace(delta=1e-6, epsilon_limit=1.0))
    with pytest.raises(InputError, match=r"delta 1e-05, .* delta 1e-06"):
        stated(connection, PrivacyConfig(epsilon=0.5, delta=1e-5))
    assert stated(connection, PrivacyConfig(epsilon=0.5, delta=1e-6)).epsilon_limit == 1.0
