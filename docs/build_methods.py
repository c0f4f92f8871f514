"""Generate the table of methods in README.md and its thumbnails from the registry and from runs on drawn faces.

``python docs/build_methods.py`` asks every explainer once (drawn faces, default network, into ``outputs/``), writes
``docs/methods/<name>.png`` and the table between the two markers of README.md. ``--table`` writes the table alone, in a
moment. ``tests/docs/test_methods.py`` fails where the table does not match the registry.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
THUMBNAILS = ROOT / "docs" / "methods"
GALLERY = ROOT / "docs" / "gallery.png"
BEGIN, END = "<!-- methods: written by docs/build_methods.py -->", "<!-- end of methods -->"
HEIGHT = 96  # pixels of a thumbnail
SHOWN_CLASS = "happy"
CLIP = 98.0  # percentile of a map's magnitudes that is drawn as the strongest: single pixels cannot be seen this small
BASE = ["dataset=synthetic", "faces=per_class:1", "visualizer.dpi=60"]
TRANSFORMER = [
    "model=timm",
    "model.architecture=vit_tiny_patch16_224",
    "model.arguments={patch_size:8,depth:6,embed_dim:96}",
    "trainer.epochs=2",
]
OVERRIDES: dict[str, list[str]] = {  # what shows a method at its best in a thumbnail; everything else is its default
    "saliency": ["layer=conv7"],
    "smoothgrad": ["layer=input"],
    "filters": ["layer=conv7", "explainer.filters=8"],
    "feature_maps": ["layer=conv3", "explainer.filters=8"],
    "top_faces": ["layer=conv7", "explainer.filters=1"],
    "gradcam": ["layer=last_conv"],
    # Drawn faces are told apart too well by a network that was trained on them.
    "confused": ["model.weights=fer2013", "explainer.faces=10", "explainer.examples=8"],
    "attention_gradient": TRANSFORMER,
    "attention_rollout": TRANSFORMER,
}
FAMILIES = ["gradient", "cam", "relevance", "perturbation", "attention", "baselines"]
FAMILIES += ["activations", "activation maximization", "concepts", "diagnostics"]
Picture = NDArray[np.uint8]  # [H,W,3]


def table() -> str:
    """Return the table of methods in Markdown, one row per explainer, by family."""
    rows = sorted(map(method_row, explainer_names()), key=lambda row: (family_order(row[1]), row[2].strip("`")))
    lines = ["| | method | family | what it shows | paper | at | of |", "| --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join((row[0], row[2], row[1], *row[3:]))} |" for row in rows)])


def family_order(family: str) -> tuple[int, str]:
    """Return a sort key: methods of one image first, then those of the network; families not listed last."""
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family


def explainer_names() -> list[str]:
    """Return the names of fervis's own explainers; variants of another one are left out."""
    from fervis.core.registry import PACKAGE_FOLDER, names

    own = {path.stem for path in (PACKAGE_FOLDER / "explainers").rglob("*.py")}
    return [name for name in names("explainer") if name in own]


def method_row(name: str) -> tuple[str, ...]:
    """Return thumbnail, family, name, summary, paper, where it looks and what it explains, each as Markdown."""
    from fervis.core.registry import option_files, option_summary, plugin_class

    explainer: Any = plugin_class("explainer", name)
    family = explainer.__module__.split(".")[-2].replace("_", " ")
    summary, paper = split_paper(option_summary(option_files("explainer")[name]))
    link = re.search(r"arXiv:(\d{4}\.\d{4,5})", sys.modules[explainer.__module__].__doc__ or "")
    if paper and link:
        paper = f"[{paper}](https://arxiv.org/abs/{link[1]})"
    picture = f'<img src="docs/methods/{name}.png" height="{HEIGHT // 2}" alt="{name}">'
    return picture, family, f"`{name}`", summary, paper or "-", *where_and_what(explainer)


def split_paper(summary: str) -> tuple[str, str]:
    """Return a summary without the paper that stands in parentheses at its end, and the paper.

    >>> split_paper("Absolute gradient (Simonyan et al. 2013)")
    ('Absolute gradient', 'Simonyan et al. 2013')
    """
    match = re.fullmatch(r"(.*?) *\(([^()]* \d{4})\)", summary)
    text, paper = (match[1], match[2]) if match else (summary, "")
    return text[:1].upper() + text[1:], paper


def where_and_what(explainer: Any) -> tuple[str, str]:
    """Return where a method looks (``layer=``) and what it explains (``target=``), in words."""
    where = [word for word in ("pixels", "layers") if word in explainer.takes]
    what = [word for word in ("classes", "filters") if word in explainer.takes]
    return ", ".join(where) or "-", ", ".join(what) or ("network" if explainer.scope == "network" else "images")


def write_table() -> None:
    """Write the table between the markers of README.md."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


def write_thumbnail(name: str, overrides: Sequence[str]) -> None:
    """Ask one method and write its thumbnail."""
    import fervis
    from fervis.core.registry import plugin_class

    folder = fervis.ask([f"explainer={name}", *BASE, *OVERRIDES.get(name, []), *overrides])
    explainer: Any = plugin_class("explainer", name)
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    draw = {
        "heatmaps": draw_heat_map,
        "filter_images": draw_images,
        "feature_maps": draw_outputs,
        "top_faces": draw_top_faces,
        "confusion": draw_confusion,
        "confused": draw_contrasts,
        "progress": draw_progress,
        "concept_scores": draw_concepts,
        "nearest": draw_nearest,
        "clusters": draw_clusters,
    }[explainer.result.kind]
    save(draw(arrays), THUMBNAILS / f"{name}.png")


def write_gallery(overrides: Sequence[str]) -> None:
    """Draw the maps of every method for the same faces, and write them with few enough colours for a page."""
    from PIL import Image

    import fervis

    folder = fervis.ask(["experiment=gallery", "dataset=synthetic", *overrides])
    with Image.open(folder / "figures" / "gallery.png") as picture:
        picture.convert("RGB").quantize(256).save(GALLERY, optimize=True)


def draw_heat_map(arrays: dict[str, Any]) -> Picture:
    """Draw the face and, right of it, the map over it."""
    from fervis.core.registry import build_plugin

    style = build_plugin("visualizer", "heatmap")
    faces = synthetic_faces()
    entry = int(np.flatnonzero(arrays["labels"] == faces.classes.index(SHOWN_CLASS))[0])
    row = int(np.flatnonzero(faces.rows.numpy() == arrays["rows"][entry])[0])
    face = colored(faces.images[row, 0].numpy() / 255, "gray")
    values = arrays["maps"][entry]
    signed = values.min() < 0
    strength = (values / (np.percentile(np.abs(values), CLIP) or 1.0)).clip(-1, 1)
    heat = colored(strength / 2 + 0.5 if signed else strength, style.diverging if signed else style.colormap)
    opacity = style.opacity * np.abs(strength)[..., None]
    return beside([face, (face * (1 - opacity) + heat * opacity).astype(np.uint8)])


def draw_images(arrays: dict[str, Any]) -> Picture:
    """Draw the first eight climbed images in two rows."""
    return montage([colored(image[0], "gray") for image in arrays["images"][:8]])


def draw_outputs(arrays: dict[str, Any]) -> Picture:
    """Draw eight outputs of one face, each from 0 to its own largest value."""
    entry = int(np.flatnonzero(arrays["labels"] == synthetic_faces().classes.index(SHOWN_CLASS))[0])
    outputs = arrays[f"outputs_{entry}"][:8]
    return montage([colored(output.clip(0) / (output.max() if output.max() > 0 else 1), "gray") for output in outputs])


def draw_top_faces(arrays: dict[str, Any]) -> Picture:
    """Draw the eight faces that excite the first filter most."""
    faces = synthetic_faces()
    position = {int(row): number for number, row in enumerate(faces.rows)}
    chosen = [position[int(row)] for row in arrays["top_rows"][0][:8]]
    return montage([colored(faces.images[number, 0].numpy() / 255, "gray") for number in chosen])


def draw_confusion(arrays: dict[str, Any]) -> Picture:
    """Draw the matrix, normalized by true class."""
    counts = arrays["counts"][0].astype(float)
    shares = counts / counts.sum(1, keepdims=True)
    enlarged = np.kron(1 - shares, np.ones((HEIGHT // len(counts),) * 2))  # squares stay sharp
    return beside([colored(enlarged, "gray")])


def draw_contrasts(arrays: dict[str, Any]) -> Picture:
    """Draw the contrast maps of the confused faces on which the region with most effect has most."""
    confused = arrays["groups"] == arrays["groups"][0]
    entry = int(np.nanargmax(np.where(confused, np.abs(arrays["beyond"]), np.nan)))
    maps = arrays["maps"][entry][arrays["example_rows"][entry] >= 0][:8]
    return montage([colored(values / (2 * np.abs(values).max() or 1) + 0.5, "cividis") for values in maps])


def draw_concepts(arrays: dict[str, Any]) -> Picture:
    """Draw the scores as a matrix, concepts down and classes across."""
    return beside([colored(np.kron(arrays["means"], np.ones((8, 16))), "cividis")])


def draw_nearest(arrays: dict[str, Any]) -> Picture:
    """Draw the first face and its neighbours."""
    faces = synthetic_faces()
    position = {int(row): number for number, row in enumerate(faces.rows)}
    chosen = [position[int(row)] for row in (arrays["rows"][0], *arrays["nearest_rows"][0][:7])]
    return montage([colored(faces.images[number, 0].numpy() / 255, "gray") for number in chosen])


def draw_clusters(arrays: dict[str, Any]) -> Picture:
    """Draw the mean maps of the first eight clusters."""
    maps = arrays["mean_maps"][:8]
    return montage([colored(values / (2 * np.abs(values).max() or 1) + 0.5, "cividis") for values in maps])


def draw_progress(arrays: dict[str, Any]) -> Picture:
    """Draw the layers' CKA over the epochs."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=HEIGHT)
    axes = figure.add_axes((0.03, 0.05, 0.94, 0.9))
    lines = arrays["cka"]
    for number, line in enumerate(lines):
        axes.plot(arrays["epochs"], line, color=colormaps["viridis"](number / max(1, len(lines) - 1)), linewidth=1)
    axes.set_xticks([])
    axes.set_yticks([])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def synthetic_faces() -> Any:
    """Return all drawn faces of the runs, from their cache."""
    from fervis.core.registry import build_plugin

    return build_plugin("dataset", "synthetic").load(Path("outputs/cache"))


def colored(values: NDArray[Any], name: str) -> Picture:
    """Return [H,W] values in [0, 1] as colours of a matplotlib colour map."""
    from matplotlib import colormaps

    return (colormaps[name](np.clip(values, 0, 1))[..., :3] * 255).astype(np.uint8)


def resized(picture: Picture, height: int) -> Picture:
    """Return a picture at another height, its form kept."""
    from PIL import Image

    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def beside(pictures: Sequence[Picture], height: int = HEIGHT) -> Picture:
    """Return pictures side by side at one height."""
    return np.concatenate([resized(picture, height) for picture in pictures], 1)


def montage(pictures: Sequence[Picture]) -> Picture:
    """Return up to eight pictures in two rows."""
    half = (len(pictures) + 1) // 2
    rows = [pictures[:half], pictures[half:] or pictures[:half]]
    width = half * HEIGHT // 2
    tiles = np.full((HEIGHT, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        line = beside(row, HEIGHT // 2)
        tiles[number * HEIGHT // 2 : (number + 1) * HEIGHT // 2, : line.shape[1]] = line
    return tiles


def save(picture: Picture, path: Path) -> None:
    """Write a PNG of 128 colours, so that a thumbnail has some kilobytes."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).quantize(128).save(path, optimize=True)


def main() -> None:
    """Write the table and, unless ``--table`` is given, the thumbnails."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--table", action="store_true", help="write the table alone")
    arguments.add_argument("--only", nargs="*", help="names of the methods whose thumbnails are written")
    arguments.add_argument("overrides", nargs="*", help="further overrides of the runs, such as trainer.epochs=2")
    options = arguments.parse_args()
    if not options.table:
        for name in options.only or explainer_names():
            write_thumbnail(name, options.overrides)
        if not options.only:
            write_gallery(options.overrides)
    write_table()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
