"""``ecos index``: features of a lake, and its clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.lake import write_clusters_page
from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

app = typer.Typer()


@app.command()
def index(
    lake: Annotated[str, typer.Option(help="The lake: a folder or s3://bucket/key.")],
    extractor: Annotated[
        str,
        typer.Option(
            help="efficientnet_lite0 (embedded), a torchvision classification model; all_minilm_l6_v2 for "
            "texts, table for rows of a table."
        ),
    ] = "efficientnet_lite0",
    weights: Annotated[
        str | None, typer.Option(help="A weights name (IMAGENET1K_V2) or a state_dict file.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Side of the square that the backbone sees, in px.")] = 128,
    projection: Annotated[
        int | None, typer.Option(help="PCA to so many numbers, fitted once on this lake.")
    ] = None,
    clusters: Annotated[
        str, typer.Option(help="How many clusters, or 'auto' (needs --records and --sigma or --epsilon).")
    ] = "100",
    records: Annotated[
        int | None, typer.Option(help="For auto: the client's stated order of magnitude of records.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="For auto: the noise planned (see  ecos plan --epsilon E).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the clustering and of its sample.")] = 0,
    spherical: Annotated[bool, typer.Option("--spherical", help="Centroids of norm 1.")] = False,
    recluster: Annotated[
        bool,
        typer.Option("--recluster", help="Fit new centroids instead of assigning new images to the old."),
    ] = False,
    near_duplicates: Annotated[
        bool,
        typer.Option(help="Group pictures that look the same: samplers take one of each group."),
    ] = True,
    backend: Annotated[str, typer.Option(help="k-means by: auto, faiss or torch.")] = "auto",
    engine: Annotated[str, typer.Option(help="Forward pass by: auto, torch or onnx.")] = "auto",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU where there is one.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Stored features: float16 or float32.")] = "float16",
    on: Annotated[
        str, typer.Option(help="Where shards are worked on: local, or ray (a Ray cluster, RAY_ADDRESS).")
    ] = "local",
    report: Annotated[
        Path | None,
        typer.Option(help="Write one HTML page: sizes, inertia, pictures of the clusters' nearest members."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Extract features of a lake and cluster them.

    Only what is missing is done; new images are assigned to the clusters that are there.

    Example:  ecos index --lake lake --extractor efficientnet_lite0 --image-size 128 --clusters 100
    """
    from ecos_core.clustering.auto import choose_clusters
    from ecos_core.clustering.clustering import cluster_lake
    from ecos_core.clustering.duplicates import find_duplicates
    from ecos_core.features.extraction import extract_lake
    from ecos_core.features.lake_extractor import extractor_for_lake
    from ecos_core.lake.lake import Lake

    opened = Lake.open(lake)
    snapshot = opened.snapshot()
    if clusters == "auto":
        count = choose_clusters(snapshot.rows, records, sigma)
    else:
        count = _whole_number(clusters)
        if count > snapshot.rows:
            raise InputError(
                f"--clusters {count}: more clusters than images ({snapshot.rows}); ask for fewer"
            )
    loaded = extractor_for_lake(
        opened,
        extractor,
        image_size=image_size,
        weights=weights,
        engine=engine,  # type: ignore[arg-type]
        device=device,
    )
    with progress_bar(quiet=as_json) as progress:
        features = extract_lake(
            opened,
            loaded,
            snapshot=snapshot,
            dtype=dtype,  # type: ignore[arg-type]
            projection=projection,
            engine=on,  # type: ignore[arg-type]
            progress=progress,
        )
        clustering = cluster_lake(
            opened,
            features,
            clusters=count,
            seed=seed,
            spherical=spherical,
            backend=backend,  # type: ignore[arg-type]
            recluster=recluster,
            engine=on,  # type: ignore[arg-type]
            progress=progress,
        )
        found = find_duplicates(opened, clustering, progress=progress) if near_duplicates else None
    result: dict[str, Any] = {
        "lake": lake,
        "snapshot": snapshot.id,
        "fingerprint": features.fingerprint,
        "dimension": features.dimension,
        "features": features.rows,
        "failures": features.manifest.summary["failures"],
        "clustering": clustering.id,
        "clusters": clustering.clusters,
        "parent": clustering.parent,
        **clustering.summary,
        "duplicate_groups": None if found is None else found.groups,
        "near_duplicates": None if found is None else found.superfluous,
        "report": str(report) if report else None,
    }
    if report is not None:
        write_clusters_page(lake, clustering.id, report)
    emit(result, as_json=as_json, text=_text(result))


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"--clusters {text}: give a whole number, or auto") from error


def _text(result: dict[str, Any]) -> str:
    smallest, _, median, _, largest = result["size_quantiles"]
    lines = [
        f"features    {result['features']:,} images, {result['dimension']} numbers each "
        f"({result['failures']} could not be decoded)",
        f"extractor   {result['fingerprint'][:16]}",
        f"clustering  {result['clustering']}: {result['clusters']} clusters of {smallest:,} to {largest:,} "
        f"images (median {median:,}, {result['empty_clusters']} empty)",
        f"fit         mean squared distance {result['mean_square_distance']:.4g}",
    ]
    if result["near_duplicates"] is not None:
        lines.append(
            f"copies      {result['near_duplicates']:,} near-duplicates in {result['duplicate_groups']:,} groups"
        )
    if result["parent"]:
        advice = "run with --recluster soon" if result["drift"] > 1.2 else "the clusters still fit"
        lines.append(
            f"growth      {result['new_rows']:,} new images assigned to the clusters of {result['parent']}, "
            f"drift {result['drift']:.2f} ({advice})"
        )
    lines += [f"report      {result['report']}"] if result["report"] else []
    return "\n".join(lines)
