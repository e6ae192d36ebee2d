"""What is asked before a question is paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecos_core.client.requester import ClientConnection
from ecos_core.errors import InputError
from tests.client_support import make_home, serving, token_of


def test_a_question_planned_at_another_delta_is_refused_with_both_numbers(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        stated = connection.agreed(home.policy.delta)
        assert stated.epsilon_limit == home.policy.epsilon
        with pytest.raises(InputError, match=rf"at delta {home.policy.delta:g}, not 1e-06"):
            connection.agreed(1e-6)
