"""Where the time goes: one table, every time as a ratio to a reference of the same run.

    python -m benchmarks.speed [--full] [--repeats 15] [--out benchmarks/results/speed.csv]

Uses the hazelnut photographs where they are available, else rendered seeds. Medians of several
repeats after a warm-up. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import label, regionprops
from torch.utils.flop_counter import FlopCounterMode

from attnlib.boxes import map_to_boxes, upsample
from attnlib.config import Config, build_model
from attnlib.datasets import Dataset, Sample, load_dataset, rendered_seeds
from attnlib.detect_files import detect_files, find_images
from attnlib.download import is_available
from attnlib.experiment import train_run
from attnlib.export import ExportError, export_run
from attnlib.features import (
    CachedFeatures,
    FeatureSet,
    LiveFeatures,
    extract_features,
    load_images,
    to_float,
)
from attnlib.fusion import FusedBackbone
from attnlib.headlab import HeadLab
from attnlib.images import read_scaled
from attnlib.inference import InferenceDevice
from attnlib.model import AttentionNet
from attnlib.runs import Run
from attnlib.runtimes import RuntimeName, RuntimeUnavailable
from attnlib.seeds import render_seed
from attnlib.splits import Split, make_split
from attnlib.training import TrainingDevice, train_step_by_image
from attnlib.training_data import TrainingData, prepare
from benchmarks.table import Table, median_seconds

ROOT = Path(__file__).resolve().parent.parent
RUNTIMES: tuple[RuntimeName, ...] = ("torch", "onnxruntime", "openvino")
PEERS = "ATTNLIB_PEERS_PYTHON"


@dataclass(frozen=True)
class Settings:
    """What a run of the benchmark is made of."""

    repeats: int
    config: Config
    folder: Path


# --------------------------------------------------------------------------------------- roofline


def matmul_peak(repeats: int, side: int = 1536) -> float:
    """Multiply-adds a second of a large float32 matrix product, on the threads PyTorch uses."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    seconds = median_seconds(lambda: torch.mm(a, b), repeats=max(3, repeats), warm_up=3)
    return side**3 / seconds


def multiply_adds(call: Callable[[], object]) -> float:
    """Multiply-adds of a call, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 2


# --------------------------------------------------------------------------------------- sections


def images(table: Table, s: Settings) -> None:
    """Rendering, decoding and scaling, for one image."""
    side = s.config.input_size
    seconds = median_seconds(lambda: render_seed("hole", seed=3, size=side), repeats=s.repeats)
    table.add(f"render a seed, {side} px", seconds, unit="image", repeats=s.repeats)
    for path in pictures(s.folder):
        case = f"decode + resize, {path.stem} px {path.suffix[1:].upper()}"
        seconds = median_seconds(partial(read_scaled, path, side), repeats=s.repeats)
        table.add(case, seconds, unit="image", repeats=s.repeats)


def pictures(folder: Path) -> list[Path]:
    """Rendered seeds as files, 240 and 512 pixels, JPEG and PNG."""
    found = []
    for side in (240, 512):
        picture = Image.fromarray(render_seed("hole", seed=3, size=side).image)
        for suffix in ("jpg", "png"):
            found.append(folder / f"{side}.{suffix}")
            picture.save(found[-1])
    return found


def training(table: Table, s: Settings, dataset: Dataset, split: Split) -> Run:
    """Features, training step, whole training, training again, slider; returns a trained run."""
    views, train = s.config.views, split.train
    note = f"{dataset.name}, {len(train)} images, {views} views"
    net = build_model(s.config, split.classes)
    seconds = median_seconds(lambda: build_model(s.config, split.classes), repeats=3)
    table.add("build the model with its weights", seconds)
    stack = load_images(train, s.config.input_size)
    table.add(
        "decode + resize all training images",
        median_seconds(lambda: load_images(train, s.config.input_size), repeats=3),
        note=note,
    )

    def by_image() -> None:
        with torch.inference_mode():
            for picture in stack:
                for _ in range(views):
                    net.backbone.raw_features(to_float(picture[None]))

    few = min(3, s.repeats)
    table.add("raw backbone, image by image, all views", median_seconds(by_image, repeats=few))
    seconds = median_seconds(
        lambda: extract_features(net.backbone, train, views=views), repeats=few
    )
    table.add(
        "features from files, all views",
        seconds,
        reference="raw backbone, image by image, all views",
        note=note,
    )
    _steps(table, s, split)
    whole = median_seconds(lambda: train_run(dataset, split, s.config), repeats=few, warm_up=0)
    table.add(
        "whole training, from files to model",
        whole,
        reference="features from files, all views",
        note=f"{s.config.steps} steps; goal 5 s",
    )
    cache = s.folder / "cache"
    run = train_run(dataset, split, s.config, cache_dir=cache)
    again = median_seconds(
        lambda: train_run(dataset, split, s.config, cache_dir=cache), repeats=few
    )
    table.add(
        "second training on the same images",
        again,
        reference="whole training, from files to model",
        note="goal 2 s",
    )
    lab = HeadLab(dataset, s.config)
    weights = iter(np.linspace(1, 50, 100).tolist())
    seconds = median_seconds(lambda: lab.retrain(next(weights)), repeats=5)
    table.add("W_normal slider move", seconds, note=f"{lab.config.steps} steps; goal 1 s")
    return run


def _steps(table: Table, s: Settings, split: Split) -> None:
    """One step of the literal flowchart, of whole minibatches, and on stored features."""
    net = build_model(s.config, split.classes)
    data = prepare(net, split.train, split.val, s.config)
    device = TrainingDevice(net, data, s.config, device="cpu")
    device.net.train()
    minibatch = device.acquire()
    items = [
        (int(i), None if kind else 0)
        for kind, some in ((True, minibatch.normal), (False, minibatch.abnormal))
        for i in data.rows(some, normal=kind)
    ]
    loaded = to_float(load_images([split.train[i] for i, _ in items], s.config.input_size))
    literal = "training step, flowchart image by image"
    pairs = [(image, target) for image, (_, target) in zip(loaded, items, strict=True)]
    seconds = median_seconds(
        lambda: train_step_by_image(net, pairs, device.optimizer, reduction="mean"),
        repeats=min(5, s.repeats),
    )
    table.add(literal, seconds, note=f"{len(items)} images")
    rows = np.array([i for i, _ in items]) * s.config.views
    live = LiveFeatures(load_images(split.train, s.config.input_size), net.backbone, s.config.views)
    with torch.no_grad():
        seconds = median_seconds(lambda: live(rows), repeats=min(3, s.repeats))
    table.add("F of a minibatch from decoded images", seconds, reference=literal)
    case = "training step on stored features"
    work = multiply_adds(device.train_step)
    seconds = median_seconds(device.train_step, repeats=max(20, s.repeats), warm_up=5)
    table.add(
        case,
        seconds,
        reference=literal,
        share_of_peak=work / seconds / matmul_peak(s.repeats),
        repeats=max(20, s.repeats),
        note=f"{work / 1e6:.0f} million multiply-adds",
    )


def growth_in_batch_and_grid(table: Table, s: Settings) -> None:
    """One training step on random features: only the head's work."""
    for grid, batch in ((15, 8), (15, 32), (15, 128), (30, 32)):
        config = s.config.replace(grid_size=(grid, grid), batch_size=batch, views=1, steps=10_000)
        net = build_model(config, ("hole",))
        rng = np.random.default_rng(0)
        values = rng.standard_normal((256, 1, grid, grid, net.backbone.channels), dtype=np.float32)
        labels = np.array([-1, 0] * 128, np.int64)
        source = CachedFeatures(FeatureSet(values, on_disk=False), net.backbone)
        names = tuple(map(str, range(256)))
        data = TrainingData(source, labels, names, 1, None, labels[:0], "random")
        device = TrainingDevice(net, data, config, device="cpu")
        seconds = median_seconds(device.train_step, repeats=s.repeats, warm_up=3)
        first = "training step, grid 15, batch 8"
        case = f"training step, grid {grid}, batch {batch}"
        table.add(case, seconds, reference=first if case != first else "", note="random features")


def inference(table: Table, s: Settings, run: Run, samples: Sequence[Sample]) -> None:
    """Each runtime: the raw backbone, the model, whole inference, a folder of images."""
    folder = run.save(s.folder / "run")
    for name in ("onnx", "openvino"):
        with suppress(ExportError):
            export_run(folder, name)
    batch = load_images(samples[:16], s.config.input_size).permute(0, 2, 3, 1).contiguous().numpy()
    batch = np.concatenate([batch] * (16 // len(batch) + 1))[:16]
    work = multiply_adds(lambda: run.net(torch.zeros(1, 3, *batch.shape[1:3])))
    peak = matmul_peak(s.repeats)
    for name in RUNTIMES:
        try:
            device = InferenceDevice.load(folder, device="cpu", runtime=name)
        except RuntimeUnavailable as error:
            print(f"  {name}: left out ({error})")
            continue
        table.title(f"Inference, {name}")
        raw = raw_backbone(name, run.net, s.folder)
        for n in (1, 16):
            some = batch[:n]
            planes = np.ascontiguousarray(some.transpose(0, 3, 1, 2))
            seconds = median_seconds(partial(raw, planes), repeats=s.repeats) / n
            bare = f"raw backbone, {name}, batch {n}"
            table.add(bare, seconds, unit="image", repeats=s.repeats)
            seconds = median_seconds(partial(device.maps_and_logits, some), repeats=s.repeats)
            table.add(
                f"model, {name}, batch {n}",
                seconds / n,
                unit="image",
                reference=bare,
                repeats=s.repeats,
                share_of_peak=work / (seconds / n) / peak,
                note=f"{work / 1e6:.0f} million multiply-adds",
            )
        _whole(table, s, device, name, samples)


def _whole(
    table: Table,
    s: Settings,
    device: InferenceDevice,
    name: str,
    samples: Sequence[Sample],
) -> None:
    """Decode, resize, model and boxes; one image at a time, then a folder."""
    files = [s.image for s in samples if isinstance(s.image, Path)]
    cases = {f"{p.stem} px {p.suffix[1:].upper()}": [p] for p in pictures(s.folder)}
    if files:
        cases["test images of the data set"] = files
    for what, paths in cases.items():
        seconds = median_seconds(
            lambda ps=paths: [device.predict(p) for p in ps],  # type: ignore[misc]
            repeats=max(3, s.repeats // len(paths)),
        )
        table.add(
            f"whole inference, {name}, batch 1, {what}",
            seconds / len(paths),
            unit="image",
            reference=f"raw backbone, {name}, batch 1",
            note="goal 1.5 x",
        )
    found = find_images([p for ps in cases.values() for p in ps])
    for overlays in (False, True):
        seconds = median_seconds(
            partial(detect_files, device, found, s.folder / "found", overlays=overlays),
            repeats=3,
        )
        table.add(
            f"infer, {name}, folder, {'with' if overlays else 'no'} overlays",
            seconds / len(found),
            unit="image",
            reference=f"raw backbone, {name}, batch 16",
            note=f"{len(found)} images",
        )


def raw_backbone(
    name: str, net: AttentionNet, folder: Path
) -> Callable[[NDArray[np.uint8]], object]:
    """The backbone alone in a runtime, from bytes (n, 3, S, S) to its maps."""
    if name == "torch":

        def call(batch: NDArray[np.uint8]) -> object:
            with torch.inference_mode():
                return net.backbone.raw_features(to_float(torch.from_numpy(batch)))

        return call
    path = folder / "backbone.onnx"
    if not path.exists():
        example = torch.zeros(2, 3, *[net.backbone.input_size] * 2, dtype=torch.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                FusedBackbone(net.backbone, same_padding=False),
                (example,),
                str(path),
                input_names=["pictures"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    if name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        return lambda batch: session.run(None, {"pictures": batch})
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(str(path), "CPU", hints).create_infer_request()
    return lambda batch: request.infer({"pictures": batch})


def boxes(table: Table, s: Settings) -> None:
    """From a map with one bright area, and with none, to boxes."""
    attention = np.full((15, 15), 0.01, np.float32)
    attention[6:8, 5:8] = 0.8
    for side in (240, 512, 1024):
        plain = f"boxes, {side} px, whole map labelled"
        table.add(
            plain,
            median_seconds(partial(plain_boxes, attention, side), repeats=s.repeats),
            unit="image",
        )
        for what, threshold in (("one find", 0.5), ("no find", 0.9)):
            seconds = median_seconds(
                partial(map_to_boxes, attention, size=(side, side), threshold=threshold),
                repeats=s.repeats,
            )
            table.add(f"boxes, {side} px, {what}", seconds, unit="image", reference=plain)


def plain_boxes(attention: NDArray[np.float32], side: int) -> list[tuple[int, ...]]:
    """The same without a shortcut."""
    whole = upsample(attention, (side, side))
    return [region.bbox for region in regionprops(label(whole > 0.5, connectivity=2), whole)]  # type: ignore[no-untyped-call,unused-ignore]


def growth_in_images(table: Table, numbers: Sequence[int]) -> None:
    """Features and training of rendered images, each number in a process of its own."""
    for n in numbers:
        command = [sys.executable, "-m", "benchmarks.growth", "--images", str(n)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"benchmarks.growth --images {n} failed:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        first, case = (f"render + features, {m:,} images" for m in (numbers[0], n))
        table.add(
            case,
            found["features_seconds"] / n,
            unit="image",
            reference=first if n != numbers[0] else "",
            peak_mib=found["peak_mib"],
            note="peak of features and training",
        )
        first, case = (f"training, 300 steps, {m:,} images" for m in (numbers[0], n))
        table.add(case, found["training_seconds"], reference=first if n != numbers[0] else "")


def peers(table: Table, s: Settings, n_normal: int = 4, n_test: int = 5) -> None:
    """anomalib's PatchCore in an environment of its own, see peers_env.md."""
    python = os.environ.get(PEERS)
    if not python:
        print(f"  left out: {PEERS} names no Python that has anomalib (see peers_env.md)")
        return
    pixels = {
        "normal": [render_seed(None, seed=i).image for i in range(n_normal)],
        "test": [render_seed("hole", seed=i).image for i in range(n_test)],
    }
    path = s.folder / "peers.npz"
    arrays = {name: np.stack(some) for name, some in pixels.items()}
    np.savez(path, threads=np.array(torch.get_num_threads()), **arrays)  # type: ignore[arg-type]
    done = subprocess.run(
        [python, "-m", "benchmarks.patchcore", str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"  left out: it failed ({(done.stderr.strip().splitlines() or ['?'])[-1][:200]})")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    note = f"{n_normal} normal images, {found['bank']} patches kept"
    table.add("PatchCore (anomalib), fit", found["fit_seconds"], note=note)
    for runtime in RUNTIMES:
        case = f"model, {runtime}, batch 1"
        with suppress(KeyError):
            table.add(
                f"PatchCore (anomalib), predict one image / {runtime}",
                found["predict_seconds"],
                unit="image",
                reference=table[case].case,
                note="it grows with the normal images",
            )


# --------------------------------------------------------------------------------------- main


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="also 10,000 rendered images")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "speed.csv")
    arguments = parser.parse_args()
    table = Table()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )
    dataset = (
        load_dataset("hazelnut") if is_available() else rendered_seeds(n_normal=30, n_abnormal=20)
    )
    split = make_split(dataset, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        s = Settings(arguments.repeats, Config(), Path(folder))
        table.title("Images")
        images(table, s)
        table.title("Training")
        run = training(table, s, dataset, split)
        inference(table, s, run, split.test)
        table.title("Boxes")
        boxes(table, s)
        table.title("Growth")
        growth_in_batch_and_grid(table, s)
        growth_in_images(table, (100, 1000, 10_000) if arguments.full else (100, 1000))
        table.title("A peer")
        peers(table, s)
    table.save(arguments.out)
    print(f"\n{len(table.rows)} rows in {arguments.out}")


if __name__ == "__main__":
    main()
