"""A folder of tiny images in the layout of MVTec AD, and settings that train on it in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

TINY = {
    "steps": 12,
    "batch_size": 6,
    "views": 1,
    "input_size": 64,
    "grid_size": [4, 4],
    "levels": ["blocks.1"],
    "head_hidden": 8,
    "initial_attention": 0.2,
}


def write_tiny_folder(
    root: Path, *, n_normal: int = 6, n_each: int = 6, classes: tuple[str, ...] = ("spot",)
) -> Path:
    """Noise; on abnormal images a bright square, with its mask."""
    rng = np.random.default_rng(5)
    for part in ("train", "test"):
        _write(root / part / "good", rng, n_normal)
    for class_name in classes:
        _write(root / "test" / class_name, rng, n_each, root / "ground_truth" / class_name)
    return root


def _write(folder: Path, rng: np.random.Generator, count: int, masks: Path | None = None) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        height, width = rng.integers(40, 70, 2)
        image = rng.integers(80, 150, (height, width, 3)).astype(np.uint8)
        if masks is not None:
            masks.mkdir(parents=True, exist_ok=True)
            mask = np.zeros((height, width), np.uint8)
            y, x = rng.integers(2, 25, 2)
            mask[y : y + 14, x : x + 14] = 255
            image[mask > 0] = 250
            Image.fromarray(mask).save(masks / f"{number:02d}_mask.png")
        Image.fromarray(image).save(folder / f"{number:02d}.png")


def write_settings(path: Path, **changes: object) -> Path:
    """A file for ``--config``."""
    path.write_text(json.dumps(TINY | changes), encoding="utf-8")
    return path
