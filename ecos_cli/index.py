"""``ecos index``: features of a lake, and its clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.client_options import ClientOptions, asks_client
from ecos_cli.lake import write_clusters_page
from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_cli.settings import ConfigOption, SetOption, settings
from ecos_core.errors import InputError

app = typer.Typer()


FLAGS = {"lake": "--lake", "client.url": "--client", "client.token_file": "--token-file"}


@app.command()
@asks_client
def index(
    client: ClientOptions,
    lake: Annotated[str | None, typer.Option(help="The lake: a folder or s3://bucket/key.")] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="efficientnet_lite0 (embedded, the default), a torchvision classification model; all_minilm_l6_v2 "
            "for texts, table for rows of a table."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A weights name (IMAGENET1K_V2) or a state_dict file.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square that the backbone sees, in px (default 128).")
    ] = None,
    projection: Annotated[
        int | None, typer.Option(help="PCA to so many numbers, fitted once on this lake.")
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(
            help="How many clusters, or auto (the default): by the records that --client states (or --records) and "
            "the noise of --epsilon (or --sigma); 100 where no client is known."
        ),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="For auto: what a release will cost (default 0.58).")
    ] = None,
    records: Annotated[
        int | None,
        typer.Option(help="For auto, instead of --client: its stated order of magnitude of records."),
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="For auto, instead of --epsilon: the noise planned (ecos plan).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the clustering and of its sample (default 0).")
    ] = None,
    spherical: Annotated[bool, typer.Option("--spherical", help="Centroids of norm 1.")] = False,
    recluster: Annotated[
        bool,
        typer.Option("--recluster", help="Fit new centroids instead of assigning new images to the old."),
    ] = False,
    near_duplicates: Annotated[
        bool | None,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Group pictures that look the same: samplers take one of each group (the default).",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="k-means by: auto (the default), faiss or torch.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Forward pass by: auto (the default), torch or onnx.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU where there is one.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Stored features: float16 (the default) or float32.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Where shards are worked on: local, or ray (a Ray cluster, RAY_ADDRESS)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write one HTML page: sizes, inertia, pictures of the clusters' nearest members."),
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Extract features of a lake and cluster them.

    Only what is missing is done; new images are assigned to the clusters that are there.

    Example:  ecos index --lake lake --client http://127.0.0.1:8731 --token-file token --epsilon 0.58
    """
    from ecos_core.config import IndexConfig

    options = {
        "lake": lake,
        "extractor.name": extractor,
        "extractor.weights": weights,
        "extractor.image_size": image_size,
        "extractor.projection": projection,
        "extractor.runtime": runtime,
        "extractor.device": device,
        "extractor.dtype": dtype,
        "clusters": clusters if clusters in (None, "auto") else _whole_number(str(clusters)),
        "records": records,
        "sigma": sigma,
        "privacy.epsilon": epsilon,
        "seed": seed,
        "spherical": spherical or None,
        "recluster": recluster or None,
        "near_duplicates": near_duplicates,
        "backend": backend,
        "engine": engine,
        **(client if client["client.url"] or config else {}),
    }
    asked = settings(IndexConfig, "index", options, config=config, sets=sets, flags=FLAGS)
    with progress_bar(quiet=as_json) as progress:
        result = run(asked, progress)
    if report is not None:
        write_clusters_page(asked.lake, result["clustering"], report)
    result["report"] = str(report) if report else None
    emit(result, as_json=as_json, text=_text(result))


def run(config: Any, progress: Any) -> dict[str, Any]:
    """Ingest what the settings name, extract, cluster; what came of it, as JSON."""
    from ecos_core.stages import indexing

    for source in config.sources:
        indexing.ingest_source(config.lake, source, progress=progress)
    indexing.check_clusters(config)
    features = indexing.extract(config, progress=progress)
    clustered = indexing.cluster(config, features, progress=progress)
    clustering = clustered.clustering
    found = None
    if config.near_duplicates:
        found = indexing.mark_duplicates(config.lake, clustering, progress=progress)
    return {
        "lake": config.lake,
        "snapshot": features.snapshot_id,
        "fingerprint": features.fingerprint,
        "dimension": features.dimension,
        "features": features.rows,
        "failures": features.manifest.summary["failures"],
        "clustering": clustering.id,
        "clusters": clustering.clusters,
        "clusters_why": clustered.reason,
        "parent": clustering.parent,
        **clustering.summary,
        "duplicate_groups": None if found is None else found.groups,
        "near_duplicates": None if found is None else found.superfluous,
    }


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
        f"number      {result['clusters_why']}",
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
