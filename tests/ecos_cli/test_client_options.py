"""Every way to a client takes the same options, and every one of them heeds a pinned key and a certificate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from ecos_cli.client_options import ClientOptions, asks_client
from ecos_cli.main import COMMANDS
from ecos_cli.settings import settings
from ecos_core.client.connecting import connect
from ecos_core.client.serve import Tls
from ecos_core.config import ClientConfig, PrivacyConfig, SampleConfig, validated
from ecos_core.errors import EcosError, InputError, IntegrityError
from ecos_core.stages.scoring import connect as connect_as_set
from tests.certificates import Authority
from tests.client_support import FINGERPRINT, make_home, serving, some_centroids, token_of
from tests.tiny_support import ServedClient, ecos

pytestmark = pytest.mark.integration
OPTIONS = {
    "--client", "--token-file", "--public-key", "--authority", "--client-cert", "--client-key", "--allow-clear-text",
    "--timeout",
}  # fmt: skip
WRONG_KEY = "ab" * 32


def commands() -> dict[str, set[str]]:
    """Every command of the command line, and its options."""
    import importlib

    found = {}

    def walk(name: str, command: Any) -> None:
        for below, one in getattr(command, "commands", {}).items():
            walk(f"{name} {below}", one)
        found[name] = {option for parameter in command.params for option in parameter.opts}

    for name, (module, _) in COMMANDS.items():
        walk(name, typer.main.get_command(importlib.import_module(module).app))
    return found


def test_every_command_that_asks_a_client_takes_all_the_options() -> None:
    asking = {
        name: options
        for name, options in commands().items()
        if "--token-file" in options and "--client" in options
    }
    asking.pop("deploy")  # registers settings; the forms have the rest
    assert {"sample", "index", "handoff suggest"} <= set(asking)
    for name, options in asking.items():
        assert options >= OPTIONS, name


def test_the_options_are_the_settings_of_the_form() -> None:
    found: list[Any] = []

    @asks_client
    def command(client: ClientOptions, out: Annotated[str, typer.Option()]) -> None:
        fields = {path.removeprefix("client."): value for path, value in client.items()}
        found.append(settings(ClientConfig, "test", fields))

    from typer.testing import CliRunner

    made = typer.Typer()
    made.command()(command)
    given = [
        "--out", "x", "--client", "https://h:1", "--token-file", "t", "--public-key", WRONG_KEY, "--authority", "a",
        "--client-cert", "c", "--client-key", "k", "--timeout", "7",
    ]  # fmt: skip
    assert CliRunner().invoke(made, given, catch_exceptions=False).exit_code == 0
    (config,) = found
    assert config.model_dump() == {
        "name": "client", "url": "https://h:1", "public_key": WRONG_KEY, "token_file": "t", "timeout_s": 7,
        "certificate_authority": "a", "certificate": "c", "certificate_key": "k", "allow_clear_text": False,
    }  # fmt: skip
    assert set(ClientConfig.model_fields) == set(config.model_dump())


def by_command(client: ServedClient, lake: Path, selection: Path) -> list[list[str]]:
    shared = ["--lake", str(lake), "--client", client.url, "--token-file", str(client.token_file)]
    return [
        ["sample", *shared, "--budget", "20", "--epsilon", "0.07"],
        ["handoff", "suggest", str(selection), *shared, "--labels", "a,b", "--epsilon", "0.07"],
    ]


def test_a_wrong_key_is_refused_by_every_command_and_nothing_is_spent(
    tiny_lake: Path, client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = tmp_path / "selection"
    made = [
        "sample",
        "--lake",
        str(tiny_lake),
        "--sampler",
        "random",
        "--budget",
        "20",
        "--out",
        str(selection),
    ]
    assert ecos(capsys, *made).code == 0
    before = client.spent
    for number, line in enumerate(by_command(client, tiny_lake, selection)):
        ended = ecos(capsys, *line, "--out", str(tmp_path / f"out-{number}"), "--public-key", WRONG_KEY)
        assert ended.code == 1
        assert "signing key" in ended.line and "another client" in ended.line
    assert client.spent == before


def test_a_wrong_key_in_the_settings_is_refused_by_every_stage(
    tiny_lake: Path, client: ServedClient, tmp_path: Path
) -> None:
    from ecos_core.clustering.clustering import Clustering
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.scoring import quote, request_scores
    from ecos_core.storage import Location

    config = ClientConfig(url=client.url, token_file=str(client.token_file), public_key=WRONG_KEY)
    before = client.spent
    lake = Lake.open(str(tiny_lake))
    stages: list[Callable[[], Any]] = [
        lambda: request_scores(
            lake, Clustering.open(lake), config, PrivacyConfig(epsilon=0.07), Location.of(tmp_path)
        ),
        lambda: quote(config, PrivacyConfig(epsilon=0.07)),
    ]
    for stage in stages:
        with pytest.raises(IntegrityError, match="signing key"):
            stage()
    assert client.spent == before


def test_both_transports_refuse_another_key_whatever_is_asked(tmp_path: Path) -> None:
    from ecos_core.client.engine import Engine
    from ecos_core.client.mailbox import MailboxWorker

    home = make_home(tmp_path / "home")
    place = str(tmp_path / "mailbox")
    with connect(place, token_of(home), timeout_s=0) as connection, pytest.raises(EcosError, match="in time"):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    MailboxWorker(Engine(home), place).work_once()
    with serving(home) as url:
        for where in (url, place):
            with connect(where, token_of(home), public_key=WRONG_KEY, timeout_s=5) as connection:
                with pytest.raises(IntegrityError, match="signing key"):
                    connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
                if where is url:
                    with pytest.raises(IntegrityError, match="signing key"):
                        connection.info()


def test_certificates_of_the_settings_reach_the_client(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    authority = Authority(tmp_path / "ours", "our authority")
    certificate, key = authority.issue("first")
    settings: dict[str, Any] = {
        "token_file": str(home.path / "token"),
        "certificate_authority": str(authority.file),
    }
    with serving(home, tls=Tls(*authority.issue("client"), clients=authority.file)) as url:
        shown = ClientConfig(url=url, certificate=str(certificate), certificate_key=str(key), **settings)
        with connect_as_set(shown) as connection:
            assert connection.info().requester == "first"
        with connect_as_set(ClientConfig(url=url, **settings)) as connection, pytest.raises(EcosError):
            connection.info()
        half = ClientConfig(url=url, certificate=str(certificate), **settings)
        with pytest.raises(InputError, match="both"):
            connect_as_set(half)


@pytest.mark.parametrize("url", ["http://hospital:8731", "http://10.0.0.7:8731", "http://[2001:db8::1]:8731"])
def test_a_token_goes_over_no_network_in_clear_text_unless_asked(tmp_path: Path, url: str) -> None:
    token = tmp_path / "token"
    token.write_text("ecos_token")
    settings = {"lake": "l", "out": "o", "client": {"url": url, "token_file": str(token)}}
    config = validated(settings, SampleConfig, "test").client
    assert config is not None
    with pytest.raises(InputError, match="over plain http"):
        connect_as_set(config)
    connect_as_set(config.model_copy(update={"allow_clear_text": True})).close()
    for loopback in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9:1"):
        connect(loopback, "ecos_token").close()


def test_certificates_mean_nothing_without_tls(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", str(tmp_path)):
        with pytest.raises(InputError, match="https"):
            connect(url, "ecos_token", authority=tmp_path / "ca.pem")
