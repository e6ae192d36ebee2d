"""The look of every figure: one palette, safe for colour-blind readers, following the page's theme.

The colours are Okabe and Ito's ("Color Universal Design", 2008). ``svg`` names each of them as a CSS
variable, so that an inline figure takes the page's own shade of it; ``png`` keeps them as they are, on white.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1b1f24"
MUTED = "#6b7280"
GRID = "#d9dde3"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PINK = "#cc79a7"
GOLD = "#e69f00"
SKY = "#56b4e9"
PLAIN_GREYS = ("#a9b0ba", "#7d8693")  # of a raster inside a figure: they must do on white and on black

CSS_NAMES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PINK: "--pink",
    GOLD: "--gold",
    SKY: "--sky",
}

SAMPLER_COLOURS = {
    "ecos": BLUE,
    "ecos_paper": SKY,
    "ecos_noise_free": GREEN,
    "random": MUTED,
    "k_center": ORANGE,
    "proximity": GOLD,
    "dsir": PINK,
    "oracle": GREEN,
}
SAMPLER_MARKERS = {
    "ecos": "o",
    "ecos_paper": "v",
    "ecos_noise_free": "D",
    "random": "s",
    "k_center": "^",
    "proximity": "P",
}
SAMPLER_NAMES = {
    "ecos": "ECOS",
    "ecos_paper": "ECOS, paper mode",
    "ecos_noise_free": "ECOS, no noise",
    "random": "random",
    "k_center": "k-center",
    "proximity": "proximity",
    "dsir": "DSIR",
    "oracle": "oracle",
}
USE_NAMES = {
    "linear_probe": "linear probe",
    "fine_tune": "fine-tuning",
    "fixmatch": "FixMatch",
    "distil": "distillation",
}
WIDTH_IN, HEIGHT_IN = 4.4, 3.1


def pages() -> Any:
    """Jinja's environment of the pages' templates: what is put in is escaped, what is missing is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("ecos_core.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sampler_name(sampler: str) -> str:
    """The name a reader knows a sampler by."""
    return SAMPLER_NAMES.get(sampler, sampler.replace("_", " "))


def use_name(use: str) -> str:
    """The name a reader knows a use by."""
    return USE_NAMES.get(use, use.replace("_", " "))


def sampler_colour(sampler: str) -> str:
    """The colour of a sampler, the same in every figure."""
    return SAMPLER_COLOURS.get(sampler, PINK)


def sampler_marker(sampler: str) -> str:
    """The marker of a sampler, the same in every figure."""
    return SAMPLER_MARKERS.get(sampler, "X")


def new_figure(height_in: float = HEIGHT_IN) -> tuple[Figure, Any]:
    """An empty figure with one pair of axes, made without pyplot, which would keep it alive."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes


def png(figure: Figure, dots_per_inch: int = 160) -> bytes:
    """The figure as a PNG on white, for MLflow and Prefect."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element to stand in a page: text stays text, colours become CSS variables.

    ``name`` keeps the element ids of several figures on one page apart. The same figure gives the same text.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in CSS_NAMES.items():
        text = text.replace(colour, f"var({variable})")
    return text
