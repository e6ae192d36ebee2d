"""``ecos lake``: what is in a lake, its history, what may be used, and clean-up."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecos_cli.output import JsonOption, emit, progress_bar

if TYPE_CHECKING:
    from ecos_core.lake.maintenance import LakeSummary, LogEntry

app = typer.Typer(help="History, summary and clean-up of a lake.", no_args_is_help=True)

LakeOption = Annotated[str, typer.Option("--lake", help="The lake: a folder or s3://bucket/key.")]
SnapshotOption = Annotated[
    str | None, typer.Option(help="A snapshot's id or its first 8 digits; default: newest.")
]
DistanceOption = Annotated[int, typer.Option(help="Bits of the perceptual hash that may differ, 0 to 8.")]


@app.command()
def show(lake: LakeOption, snapshot: SnapshotOption = None, as_json: JsonOption = False) -> None:
    """What is in the lake: images by domain, source, licence and class, and what was refused.

    Example:  ecos lake show --lake lake
    """
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.maintenance import summarise

    opened = Lake.open(lake)
    summary = summarise(opened, opened.snapshot(snapshot))
    emit(asdict(summary), as_json=as_json, text=_summary_text(summary))


def _summary_text(summary: LakeSummary) -> str:
    lines = [
        f"snapshot {summary.snapshot[:12]}: {summary.images:,} images in {summary.shards} shards, "
        f"{summary.bytes / 2**20:,.1f} MiB"
    ]
    for name in ("domains", "sources", "licences", "labels", "quarantined"):
        counts: dict[str, int] = getattr(summary, name)
        shown = [f"{key} {count:,}" for key, count in list(counts.items())[:12]]
        more = [f"and {len(counts) - 12} more"] if len(counts) > 12 else []
        lines.append(f"{name:<12} {', '.join(shown + more) or 'none'}")
    lines.append(f"{'allowed':<12} {', '.join(summary.licence_rule) or 'every licence'}")
    lines.append(f"{'features':<12} {', '.join(name[:12] for name in summary.features) or 'none'}")
    lines.append(f"{'clusterings':<12} {', '.join(name[:12] for name in summary.clusterings) or 'none'}")
    return "\n".join(lines)


@app.command()
def log(lake: LakeOption, as_json: JsonOption = False) -> None:
    """The history: one line a snapshot, newest first.

    Example:  ecos lake log --lake lake
    """
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.maintenance import history

    entries = history(Lake.open(lake))
    text = "\n".join(map(_log_line, entries)) or "the lake is empty"
    emit({"snapshots": [asdict(entry) for entry in entries]}, as_json=as_json, text=text)


def _log_line(entry: LogEntry) -> str:
    refused = f", {entry.refused:,} refused" if entry.refused else ""
    return (
        f"{entry.snapshot[:12]}  {entry.added_at or 'time unknown':<25}  "
        f"+{entry.added:,} = {entry.images:,} images{refused}  from {entry.address or 'unknown'}"
    )


@app.command()
def quarantine(lake: LakeOption, snapshot: SnapshotOption = None, as_json: JsonOption = False) -> None:
    """Every file that was refused, with the reason.

    Example:  ecos lake quarantine --lake lake
    """
    from ecos_core.lake.lake import Lake

    opened = Lake.open(lake)
    rows = opened.read_quarantine(opened.snapshot(snapshot))
    text = "\n".join(f"{row['reason']:<18} {row['uri']}  ({row['detail']})" for row in rows)
    emit({"quarantined": len(rows), "rows": rows}, as_json=as_json, text=text or "nothing was refused")


@app.command()
def licences(
    lake: LakeOption,
    allow: Annotated[
        list[str] | None, typer.Option(help="Allow this licence (again for more); 'unknown' is one too.")
    ] = None,
    allow_any: Annotated[bool, typer.Option("--allow-any", help="Lift the rule.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Which licences the images have, and which of them may be used.

    The rule holds for all who sample or train.

    Example:  ecos lake licences --lake lake --allow CC-BY-4.0 --allow CC0-1.0
    """
    from ecos_core.errors import InputError
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.licences import licence_filter
    from ecos_core.lake.maintenance import summarise

    opened = Lake.open(lake)
    if allow and allow_any:
        raise InputError("--allow and --allow-any exclude each other; give one of them")
    snapshot = opened.snapshot()
    if allow:
        licence_filter(opened, snapshot, allow)  # says so when nothing would be left
    if allow or allow_any:
        opened.set_licence_rule(allow or ())
    summary = summarise(opened, snapshot)
    found = licence_filter(opened, snapshot)
    refused = sum(found.refused.values()) if found else 0
    result = {
        "licences": summary.licences,
        "allowed": list(summary.licence_rule),
        "usable": summary.images - refused,
        "images": summary.images,
    }
    counts = ", ".join(f"{name} {count:,}" for name, count in summary.licences.items())
    rule = ", ".join(summary.licence_rule) or "every licence"
    text = f"licences: {counts}\nallowed: {rule}\nusable: {summary.images - refused:,} of {summary.images:,}"
    emit(result, as_json=as_json, text=text)


@app.command("near-duplicates")
def near_duplicates(lake: LakeOption, distance: DistanceOption = 4, as_json: JsonOption = False) -> None:
    """Groups of pictures that look the same, across the whole lake; kept in the lake for sampling.

    Example:  ecos lake near-duplicates --lake lake
    """
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.near_duplicates import near_duplicates as find

    with progress_bar(quiet=as_json) as progress:
        found = find(Lake.open(lake), distance=distance, progress=progress)
    result = {"groups": found.groups, "superfluous": found.superfluous, "group_of": found.group_of}
    text = f"{found.groups:,} groups; {found.superfluous:,} images could go"
    emit(result, as_json=as_json, text=text)


@app.command()
def leaks(
    lake: LakeOption,
    test: Annotated[str, typer.Option(help="Folder of test images.")],
    distance: DistanceOption = 4,
    as_json: JsonOption = False,
) -> None:
    """Lake images that are, or nearly are, a test image: an accuracy measured on those says little.

    Example:  ecos lake leaks --lake lake --test test/
    """
    from collections import Counter

    from ecos_core.lake.lake import Lake
    from ecos_core.lake.near_duplicates import find_leaks
    from ecos_core.storage.folders import in_words

    left_out: Counter[str] = Counter()
    with progress_bar(quiet=as_json) as progress:
        found = find_leaks(
            Lake.open(lake), Path(test), distance=distance, progress=progress, left_out=left_out
        )
    lines = [
        f"{leak.test_image}  {leak.sample_id[:12]}  "
        f"{'the same file' if leak.exact else f'{leak.distance} bits apart'}"
        for leak in found
    ]
    affected = len({leak.test_image for leak in found})
    lines.append(f"{affected:,} test images are or nearly are in the lake")
    lines += [f"left out: {in_words(left_out)}"] if left_out else []
    result = {
        "test_images": affected,
        "leaks": [asdict(leak) for leak in found],
        "left_out": dict(sorted(left_out.items())),
    }
    emit(result, as_json=as_json, text="\n".join(lines))


@app.command()
def clusters(
    lake: LakeOption,
    clustering: Annotated[str | None, typer.Option(help="A clustering's id; default: the newest.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write one HTML page with pictures of each cluster's nearest members.")
    ] = None,
    most: Annotated[int, typer.Option(help="Clusters to show, the largest first.", min=1)] = 100,
    as_json: JsonOption = False,
) -> None:
    """How good a clustering is: size and inertia of every cluster, with a look at its nearest members.

    Example:  ecos lake clusters --lake lake --report clusters.html
    """
    from ecos_core.clustering.clustering import Clustering
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.quality import cluster_quality

    opened = Clustering.open(Lake.open(lake), clustering)
    found = cluster_quality(opened)
    if report is not None:
        write_clusters_page(lake, opened.id, report, most=most)
    lines = [f"clustering {opened.id}: {opened.rows:,} images in {opened.clusters:,} clusters"]
    lines.append(f"{'cluster':>8} {'images':>10} {'inertia':>12} {'mean square':>12} {'farthest':>10}")
    lines += [
        f"{row.cluster:>8} {row.images:>10,} {row.inertia:>12.4g} {row.mean_square_distance:>12.4g} "
        f"{row.largest_distance:>10.4g}"
        for row in found[:most]
    ]
    lines += [f"and {len(found) - most:,} more (--most)"] if len(found) > most else []
    lines += [f"report {report}"] if report else []
    result = {
        "clustering": opened.id,
        **opened.summary,
        "inertia": sum(row.inertia for row in found),
        "clusters": [asdict(row) for row in found],
        "report": str(report) if report else None,
    }
    emit(result, as_json=as_json, text="\n".join(lines))


def write_clusters_page(lake: str, clustering: str, page: Path, *, most: int = 100) -> None:
    """One HTML page: the lake, the clusters' sizes and inertia, and pictures of the ``most`` largest."""
    from ecos_core.reporting.report import render_report
    from ecos_core.stages.quality import clustering_report
    from ecos_core.storage import Location

    Location.of(page).write_bytes(render_report(clustering_report(lake, clustering, most=most)).encode())


@app.command()
def verify(lake: LakeOption, snapshot: SnapshotOption = None, as_json: JsonOption = False) -> None:
    """Read every shard again and compare it with its digest.

    Example:  ecos lake verify --lake lake
    """
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.maintenance import verify as check

    opened = Lake.open(lake)
    with progress_bar(quiet=as_json) as progress:
        checked = check(opened, opened.snapshot(snapshot), progress)
    emit({"shards": checked, "intact": True}, as_json=as_json, text=f"{checked} shards are intact")


@app.command()
def gc(
    lake: LakeOption,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what nothing refers to. Snapshots of the history and all clusterings stay.

    Example:  ecos lake gc --lake lake
    """
    from ecos_core.errors import InputError
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.maintenance import find_garbage, remove_garbage

    opened = Lake.open(lake)
    garbage = find_garbage(opened)
    size = sum(item.bytes for item in garbage)
    text = f"{len(garbage)} files, {size / 2**20:,.1f} MiB"
    if garbage and not yes:
        if as_json:
            raise InputError(f"{lake}: {text} could be removed; add --yes to remove them")
        for item in garbage[:20]:
            typer.echo(f"{item.location}  ({item.reason})", err=True)
        if not typer.confirm(f"Remove {text}?", err=True):
            emit({}, as_json=False, text="nothing was removed")
            return
    removed = remove_garbage(opened) if garbage else []
    freed = sum(item.bytes for item in removed)
    result = {"removed": len(removed), "bytes": freed}
    emit(result, as_json=as_json, text=f"removed {len(removed)} files, {freed / 2**20:,.1f} MiB")
