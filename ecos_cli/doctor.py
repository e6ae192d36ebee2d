"""``ecos doctor``: what is here, what was chosen and why, what is missing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit

app = typer.Typer()


@app.command()
def doctor(
    lake: Annotated[str | None, typer.Option(help="Look at this lake too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which versions, device and backend are used here and why, and what is missing.

    Exit code 0: all that an installed extra needs is there. 1: a package is there but does not load.

    Example:  ecos doctor --json
    """
    from ecos_cli.health import inspect_machine

    report = inspect_machine(lake)
    emit(report, as_json=as_json, text=_text(report))
    if report["broken"]:
        raise typer.Exit(1)


def _text(report: dict[str, Any]) -> str:
    machine = report["machine"]
    memory = f", {machine['memory_gb']:.0f} GB memory" if machine["memory_gb"] else ""
    lines = [
        f"ecos {report['ecos']}, Python {machine['python']}, {machine['system']}",
        f"{machine['cores']} cores{memory}, GPU: {machine['gpu'] or 'none seen'}",
        "",
    ]
    for extra, packages in report["packages"].items():
        lines.append(f"[{extra}]")
        for name, found in packages.items():
            lines.append(f"  {name:<36}{found['version'] or '-':<14}{found['problem'] or ''}".rstrip())
    lines += ["", "chosen:"]
    for role, choice in report["choices"].items():
        lines.append(f"  {role:<16}{choice['chosen'] or 'nothing'}: {choice['reason']}")
    if report["lake"]:
        lines += ["", *(f"  {name:<16}{value}" for name, value in report["lake"].items())]
    lines += ["", *(f"missing [{extra}]: {command}" for extra, command in report["install"].items())]
    return "\n".join(lines).rstrip()
