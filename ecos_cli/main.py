"""Entry point. Subcommands live in modules of their own and are imported only when they are used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

# name: (module, what `ecos --help` says). The module has `app`, a typer.Typer.
COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": ("ecos_cli.doctor", "Versions, device and backend chosen and why, what is missing."),
    "demo": ("ecos_cli.demo", "The whole job on embedded images, with a table, a report and two web pages."),
    "ingest": ("ecos_cli.ingest", "Bring images into a lake."),
    "index": ("ecos_cli.index", "Extract features of a lake and cluster them."),
    "lake": ("ecos_cli.lake", "History, summary and clean-up of a lake."),
    "client": ("ecos_cli.client", "What runs at the data owner: init, serve, work, ledger, verify."),
    "plan": ("ecos_cli.plan", "The noise that an epsilon asks for, or the epsilon of a noise."),
    "sample": ("ecos_cli.sample", "Ask a client for scores and choose a budgeted, diverse subset."),
    "show": ("ecos_cli.show", "A page with every picture that was chosen, and why."),
    "train": ("ecos_cli.train", "Train on a selection and evaluate."),
    "handoff": ("ecos_cli.handoff", "Give a selection to labellers and take the labels back."),
    "run": ("ecos_cli.run", "The whole outsourcing from one YAML file, as a Prefect flow."),
    "deploy": ("ecos_cli.deploy", "Register the deployments on a Prefect server."),
    "bench": ("ecos_cli.bench", "Benchmarks: accuracy tables and speed against peers."),
}


COMPLETION = ("install_completion", "show_completion")


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and help without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from ecos_core.settings import near

            ctx.fail(f"no such command '{args[0]}'{near(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: Any = typer.main.get_command(module.app)
        command.name = cmd_name
        return plain(command)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, COMMANDS)) + 2
        lines = [
            "Usage: ecos COMMAND [OPTIONS]",
            "",
            "Outsource training without uploading data: find the small part of an open image",
            "lake that stands in for a client's private images.",
            "",
            "Commands:",
            *(f"  {name:<{width}}{summary}" for name, (_, summary) in COMMANDS.items()),
            "",
            "Options:",
            "  --version             Print the version.",
            "  --install-completion  Complete commands and options in this shell; --show-completion prints how.",
            "  --help                Print this page; `ecos COMMAND --help` prints a command's, with an example.",
        ]
        typer.echo("\n".join(lines))


def plain(command: Any) -> Any:
    """A command whose help is plain text, a line an option; completion is installed at the top alone."""
    command.rich_markup_mode = None
    command.params = [one for one in command.params if one.name not in COMPLETION]
    for inner in getattr(command, "commands", {}).values():
        plain(inner)
    return command


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from ecos_core import __version__

        typer.echo(f"ecos {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; the exit code is 0 (done), 1 (failed) or 2 (your input is wrong)."""
    from ecos_cli.output import report_errors

    with report_errors():
        sys.exit(app(standalone_mode=False) or 0)


if __name__ == "__main__":
    main()
