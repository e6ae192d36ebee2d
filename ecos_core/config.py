"""What a person may set, once: the same objects are the YAML file, the Prefect form and MLflow's parameters.

Paths may be local folders or storage URLs. Nothing private is ever a field: a token is named by its file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from ecos_core.clustering.backends import BackendName
from ecos_core.errors import InputError
from ecos_core.features.feature_set import DType
from ecos_core.features.preprocessing import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from ecos_core.features.ray_tasks import Workplace
from ecos_core.privacy.events import Adjacency
from ecos_core.privacy.planner import PAPER_GAMMA
from ecos_core.sampling.config import SamplerConfig
from ecos_core.sampling.samplers import SAMPLERS
from ecos_core.settings import Settings, near, nested_model
from ecos_core.storage.text import read_text
from ecos_core.training.config import TrainConfig, Use

ModelT = TypeVar("ModelT", bound=BaseModel)
if TYPE_CHECKING:
    SamplerName = str
else:  # the registry's names: a new sampler is in every form and file as soon as it is registered
    SamplerName = Literal[tuple(SAMPLERS)]

ENGINE_HELP = (
    "`ray`: extraction, assignment and the choice in clusters run as tasks on a Ray cluster (`RAY_ADDRESS`)."
)


class ImageSource(Settings):
    """A place with images (or texts, or rows of a table), and what is known of all of them."""

    path: str = Field(title="Images", description="A folder or storage URL with images.", min_length=1)
    layout: str = Field(
        "auto",
        title="Layout",
        description="As `ecos ingest --layout`; `text`: a tree of texts, `rows`: a CSV whose rows are samples.",
    )
    domain: str | None = Field(
        None, title="Domain", description="Overrides the domain read from the folders."
    )
    source: str | None = Field(None, title="Source", description="Where the images come from.")
    licence: str | None = Field(None, title="Licence", description="Under which licence, as an SPDX name.")
    attribution: str | None = Field(None, title="Attribution", description="Whom to name, for all of them.")
    split: str | None = Field(
        None, title="Split", description="Of a data set that has several: `train`, `test`, ..."
    )
    by_reference: bool = Field(
        False, title="By reference", description="Keep addresses, not bytes: the images stay where they are."
    )


class ExtractorConfig(Settings):
    """The public backbone that turns a sample into a feature."""

    name: str = Field(
        "efficientnet_lite0",
        title="Backbone",
        description="For images; `all_minilm_l6_v2` for texts, `table` for rows of a table.",
        min_length=1,
    )
    image_size: int = Field(128, title="Image size (px)", ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)
    weights: str | None = Field(
        None, title="Weights", description="A torchvision weights name or a local file."
    )
    projection: int | None = Field(
        None,
        title="Projection (dimensions)",
        description="PCA fitted on the lake; empty for none.",
        ge=2,
        le=4096,
    )
    dtype: DType = Field("float16", title="Stored as", description="Features in 16 or 32 bits a number.")
    runtime: Literal["auto", "torch", "onnx"] = Field(
        "auto", title="Runtime", description="What computes the forward pass; `auto`: by device and modality."
    )
    device: str | None = Field(
        None, title="Device", description="`cpu`, `cuda`, `cuda:1`; empty: a GPU where there is one."
    )


class ClientConfig(Settings):
    """The data owner's service and the file with this requester's token."""

    name: str = Field("client", title="Name", description="What tables call this client.", min_length=1)
    url: str = Field(
        title="Client address",
        description="http(s)://host:port, or the address of a mailbox (file:///…, s3://bucket/…).",
        pattern=r"^[a-z][a-z0-9+.-]*://\S+$",
    )
    public_key: str | None = Field(
        None,
        title="Client's key",
        description="Its signing key in hex, where it is known.",
        pattern="^[0-9a-f]{64}$",
    )
    token_file: str = Field(
        title="Token file",
        description="On the worker's machine, mode 600; its content never leaves.",
        min_length=1,
    )
    certificate_authority: str | None = Field(
        None, title="CA file", description="For a private TLS certificate."
    )
    certificate: str | None = Field(
        None,
        title="Our certificate",
        description="PEM file on the worker's machine, where the client asks for one (mutual TLS).",
    )
    certificate_key: str | None = Field(
        None, title="Our certificate's key", description="PEM file on the worker's machine."
    )
    allow_clear_text: bool = Field(
        False, title="Allow clear text", description="Send the token over plain http beyond this machine."
    )
    timeout_s: float = Field(60, title="Time-out (s)", gt=0, le=3600)


class PrivacyConfig(Settings):
    """What one release may cost. Epsilon or sigma, not both."""

    RETIRED: ClassVar = {
        "rounds": (1, "one histogram of scores was better"),
        "moments": (None, "one histogram of scores was better"),
    }

    epsilon: float | None = Field(0.58, title="Epsilon of a release", gt=0, le=50)
    sigma: float | None = Field(None, title="Sigma (instead of epsilon)", gt=0, le=1e9)
    delta: float = Field(1e-5, title="Delta", gt=0, lt=0.5)
    adjacency: Adjacency = Field(Adjacency.ADD_REMOVE, title="Adjacency")
    gamma: float = Field(1.0, title="Subsampling rate", gt=0, le=1)
    approve_above: float | None = Field(
        None,
        title="Ask a person above (epsilon)",
        description="The flow pauses for approval when the release costs more; empty: never.",
        ge=0,
    )

    @model_validator(mode="before")
    @classmethod
    def _sigma_alone(cls, content: Any) -> Any:
        """Who gives sigma need not say that epsilon is none."""
        if isinstance(content, dict) and content.get("sigma") is not None and "epsilon" not in content:
            return {**content, "epsilon": None}
        return content

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.epsilon is None) == (self.sigma is None):
            raise ValueError("give epsilon or sigma, exactly one of them")
        return self


class IndexConfig(Settings):
    """Bring images in, extract their features, cluster them."""

    lake: str = Field(title="Lake", description="The lake's folder or URL.", min_length=1)
    sources: list[ImageSource] = Field(
        default_factory=list, title="Sources", description="What to ingest first; may be empty."
    )
    extractor: ExtractorConfig = Field(default_factory=lambda: ExtractorConfig(), title="Extractor")
    clusters: int | Literal["auto"] = Field(
        "auto",
        title="Clusters (R)",
        description="How many. `auto`: by the client's records and the planned noise; 100 where neither is known.",
    )
    client: ClientConfig | None = Field(
        None, title="Client", description="For `auto`: asked what it states of itself, which is free."
    )
    privacy: PrivacyConfig | None = Field(
        None, title="Privacy", description="For `auto`: what a release is to cost; empty: the usual."
    )
    records: int | None = Field(
        None,
        title="Client's records",
        description="For `auto`, where the client cannot be asked: the order of magnitude that it states.",
        ge=1,
    )
    sigma: float | None = Field(
        None, title="Planned sigma", description="For `auto`: the noise to come, instead of Privacy.", ge=0
    )
    spherical: bool = Field(False, title="Spherical", description="Centroids of norm 1.")
    backend: BackendName = Field(
        "auto", title="k-means by", description="`faiss` or `torch`; `auto`: what is fastest here."
    )
    recluster: bool = Field(
        False, title="Re-cluster", description="Fit new centroids; otherwise new images join the latest ones."
    )
    near_duplicates: bool = Field(
        True,
        title="Find near-duplicates",
        description="Group pictures that look the same; samplers take one of each group.",
    )
    seed: int = Field(0, title="Seed", ge=0)
    engine: Workplace = Field("local", title="Engine", description=ENGINE_HELP)

    @model_validator(mode="after")
    def _clusters_are_positive(self) -> Self:
        if self.clusters != "auto" and not 1 <= self.clusters <= 1_000_000:
            raise ValueError("clusters must be `auto` or between 1 and 1,000,000")
        return self


class TrackingConfig(Settings):
    """Where MLflow logs."""

    uri: str | None = Field(None, title="MLflow tracking URI", description="Empty: $MLFLOW_TRACKING_URI.")
    experiment: str = Field("ecos", title="Experiment", description="One a client.", min_length=1)


def _check_place(sampling: SamplerConfig, engine: Workplace) -> None:
    if engine == "ray" and sampling.k_center_on == "gpu":
        raise ValueError("k_center_on gpu needs engine local: tasks on Ray are given no GPU")


class SampleConfig(Settings):
    """Ask a client for scores and choose a subset of the lake."""

    lake: str = Field(title="Lake", min_length=1)
    client: ClientConfig | None = Field(
        None, title="Client", description="Not needed by random and k_center."
    )
    out: str = Field(title="Selection folder", min_length=1)
    budget: int = Field(1000, title="Budget (images)", gt=0)
    sampler: SamplerName = Field("ecos", title="Sampler")
    sampling: SamplerConfig = Field(default_factory=lambda: SamplerConfig(), title="Sampling details")
    privacy: PrivacyConfig = Field(default_factory=lambda: PrivacyConfig(), title="Privacy")
    clustering: str | None = Field(None, title="Clustering", description="Empty: the lake's latest.")
    continue_from: str | None = Field(
        None,
        title="Continue from",
        description="An earlier selection: its images count towards the budget and are not chosen again.",
    )
    seed: int = Field(0, title="Seed", ge=0)
    engine: Workplace = Field("local", title="Engine", description=ENGINE_HELP)
    tracking: TrackingConfig = Field(default_factory=lambda: TrackingConfig(), title="Tracking")

    @model_validator(mode="after")
    def _a_gpu_is_not_on_ray(self) -> Self:
        _check_place(self.sampling, self.engine)
        return self


class TrainingRun(Settings):
    """Train on a selection and evaluate."""

    lake: str = Field(title="Lake", min_length=1)
    selection: str = Field(title="Selection folder", min_length=1)
    out: str = Field(title="Model folder", min_length=1)
    labels: str | None = Field(None, title="Labels folder", description="Empty: the lake's own labels.")
    test: str | None = Field(None, title="Test images", description="A public folder `class/file`.")
    client: ClientConfig | None = Field(
        None, title="Client", description="To evaluate on the client's own data; empty: not asked."
    )
    evaluation: PrivacyConfig | None = Field(
        None, title="Evaluation at the client", description="What it may cost. A linear probe only."
    )
    training: TrainConfig = Field(default_factory=lambda: TrainConfig(), title="Training")
    tracking: TrackingConfig = Field(default_factory=lambda: TrackingConfig(), title="Tracking")

    @model_validator(mode="after")
    def _whom_to_ask(self) -> Self:
        if (self.client is None) != (self.evaluation is None):
            raise ValueError("give client and evaluation, both or neither")
        return self


class HandOutConfig(Settings):
    """What labellers are given."""

    lake: str = Field(title="Lake", min_length=1)
    selection: str = Field(title="Selection folder", min_length=1)
    out: str = Field(
        title="Hand-off folder",
        description="What the labellers get; `{selection}` in it is the selection's name: one folder for each.",
        min_length=1,
    )
    label_set: list[str] = Field(
        default_factory=list, title="Label set", description="Empty: the classes of the lake's own labels."
    )
    instructions: str = Field("", title="Instructions", description="Shown to the labellers.")
    format: Literal["label-studio", "coco", "cvat", "csv", "parquet", "image-folder"] = Field(
        "label-studio", title="Format"
    )
    annotators: list[str] = Field(
        default_factory=list, title="Annotators", description="Empty: one batch for all."
    )
    preannotations: str | None = Field(
        None,
        title="First answers",
        description="A CSV or Parquet of guesses, or a folder of `ecos handoff suggest`.",
    )
    overlap: float = Field(
        0.0, title="Overlap", description="Share labelled by several, for agreement.", ge=0, le=1
    )
    raters: int = Field(2, title="Raters", description="How many annotators get a shared image.", ge=2)
    image_url: str | None = Field(
        None, title="Image address", description="Where Label Studio loads images from, if not locally."
    )


class HandOffConfig(HandOutConfig):
    """Give a selection to labellers and wait for their labels."""

    labels: str = Field(
        title="Labels folder", description="Where `ecos handoff import` puts them.", min_length=1
    )
    wait_days: float = Field(30, title="Wait at most (days)", gt=0, le=365)
    then_train: TrainingRun | None = Field(
        None, title="Then train", description="Starts train-downstream/on-labels when the labels are back."
    )


ASKING = frozenset({"ecos", "proximity", "dsir"})  # samplers that work from an answer to the planned question


def default_samplers() -> list[SamplerName]:
    """ECOS and the two baselines that cost no privacy."""
    return ["ecos", "random", "k_center"]


class OutsourceConfig(Settings):
    """The whole job: index, score, sample with each sampler, train on each selection, compare."""

    index: IndexConfig = Field(title="Lake and index")
    client: ClientConfig = Field(title="Client")
    out: str = Field(title="Output folder", min_length=1)
    test: str | None = Field(None, title="Test images", description="A public folder `class/file`.")
    budgets: list[int] = Field(default_factory=lambda: [300], title="Budgets (images)", min_length=1)
    samplers: list[SamplerName] = Field(default_factory=default_samplers, title="Samplers", min_length=1)
    seeds: list[int] = Field(default_factory=lambda: [1, 2, 3], title="Seeds", min_length=1)
    sampling: SamplerConfig = Field(default_factory=lambda: SamplerConfig(), title="Sampling details")
    privacy: PrivacyConfig = Field(default_factory=lambda: PrivacyConfig(), title="Privacy")
    training: TrainConfig = Field(default_factory=lambda: TrainConfig(), title="Training")
    uses: list[Use] = Field(
        default_factory=list,
        title="Uses",
        description="What to do with every selection, to compare; empty: the one use of Training.",
    )
    tracking: TrackingConfig = Field(default_factory=lambda: TrackingConfig(), title="Tracking")

    @property
    def compared_uses(self) -> tuple[Use, ...]:
        """The uses of every selection, in the order given."""
        return tuple(self.uses) or (self.training.use,)

    @model_validator(mode="after")
    def _is_one_comparison(self) -> Self:
        if min(self.budgets) <= 0:
            raise ValueError("every budget must be at least 1")
        for name in ("budgets", "seeds", "uses"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} must not repeat")
        if (
            "ecos_paper" in self.samplers
            and self.privacy.gamma != PAPER_GAMMA
            and set(self.samplers) & ASKING
        ):
            raise ValueError(
                f"ecos_paper asks with gamma {PAPER_GAMMA:g}, the others with {self.privacy.gamma:g}, and a client "
                f"allows one: compare it in a run of its own, at a client whose policy says gamma: {PAPER_GAMMA:g}"
            )
        _check_place(self.sampling, self.index.engine)
        return self


def load_config(path: Path, model: type[ModelT]) -> ModelT:
    """Read a YAML file. Raises InputError, one line, naming the first wrong field."""
    return validated(read_yaml(path), model, str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The names and values of a YAML file; an empty one has none. Raises InputError, one line."""
    try:
        content: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise InputError(f"{path}: names and values are needed, such as  seed: 3")
    return content or {}


def validated(content: Any, model: type[ModelT], where: str) -> ModelT:
    """Check ``content`` against ``model``. Raises InputError, one line, naming the first wrong field."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {first_mistake(error, model)}") from error


def first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    """The first of pydantic's complaints, in one line, with the name that was meant where one is spelled alike."""
    first = error.errors()[0]
    place, inside = _place(model, first["loc"])
    field = ".".join(place) or "the whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"there is no such setting{near(place[-1], inside.model_fields)}"
    elif first["type"] in ("literal_error", "enum") and isinstance(first["input"], str):
        choices = re.findall(r"'([^']*)'", str(first.get("ctx", {}).get("expected", "")))
        message += f", not '{first['input']}'{near(first['input'], choices)}"
    return f"{field}: {message}{more}"


def _place(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel]]:
    """(names of fields and places in lists, the model that holds the last), pydantic's names of types left out."""
    place: list[str] = []
    inside: type[BaseModel] | None = model
    for number, part in enumerate(loc, start=1):
        known = inside is not None and part in inside.model_fields
        if isinstance(part, int) or known or inside is not None:
            place.append(str(part))
        if number < len(loc) and known and inside is not None:
            inside = nested_model(inside, str(part), in_lists=True)
            model = inside or model
    return place, model
