"""The inference device 2 (Fig. 4): images -> where the defect is, and what it is."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from attnlib.boxes import Box, ThresholdRule, map_to_boxes, scale_box, upsample
from attnlib.features import mean_over_views, view
from attnlib.images import read_scaled
from attnlib.model import AttentionNet
from attnlib.runs import Run
from attnlib.runtimes import Runtime, RuntimeName, TorchRuntime, open_runtime
from attnlib.trace import Event, Listener
from attnlib.training import pick_device

ImageLike = str | Path | Image.Image | NDArray[Any]
_Loaded = tuple[NDArray[np.uint8], tuple[int, int]]  # at the input size, and the original's size

_MANY = 16  # images for which it pays to open the runtime a second time
_CHUNK = 4  # of these, a core's share at a time, at most


@dataclass(frozen=True, eq=False)
class Detection:
    """What the device says about one image (unit 20).

    Attributes
    ----------
    attention_map : float32 array, shape (h, w), values in [0, 1]
        A, on the attention grid: where.
    class_name : str
        The most probable defect class C: what. It has a meaning only where the image is abnormal.
    class_probabilities : dict of str to float
        V1.
    score : float
        How abnormal the image is: the maximum of A.
    boxes : tuple of Box
        In pixels of the original image, highest score first; empty where nothing exceeds the
        threshold.
    threshold : float
        What the map was cut at.
    size : (int, int)
        Height and width of the original image.
    """

    attention_map: NDArray[np.float32]
    class_name: str
    class_probabilities: dict[str, float]
    score: float
    boxes: tuple[Box, ...]
    threshold: float
    size: tuple[int, int]

    @property
    def is_abnormal(self) -> bool:
        """Whether any area exceeds the threshold."""
        return bool(self.boxes)

    def full_map(self) -> NDArray[np.float32]:
        """A at the size of the original image (H, W), bilinear."""
        return upsample(self.attention_map, self.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the map."""
        return {
            "abnormal": self.is_abnormal,
            "score": self.score,
            "class": self.class_name if self.is_abnormal else None,
            "class_probabilities": self.class_probabilities,
            "threshold": self.threshold,
            "boxes": [box.to_dict() for box in self.boxes],
            "height": self.size[0],
            "width": self.size[1],
        }


class InferenceDevice:
    """Applies a trained model to images.

    Parameters
    ----------
    net : AttentionNet
    threshold : ThresholdRule
    device : str or torch.device
    min_area : float
        Smaller areas of attention, as a share of the image, give no box.
    listener : callable, optional
        Called with an `attnlib.trace.Event` for every unit that works.
    runtime : Runtime, optional
        What carries out units 12 to 15, see `attnlib.runtimes`; by default PyTorch with `net`.
    views : int
        Each image is looked at in so many views (1, 2, 4 or 8, see `attnlib.features.view`), and A
        and the logits are averaged, for as many times the computing. 2 and 4 mirror the image; 8
        turn it, too, which needs a square grid. `benchmarks/README.md` says what it gains. The
        threshold stays as it is: a rule that was set on single views is not set again.

    Raises
    ------
    ValueError
        If `views` or the device does not exist, or the grid is no square and `views` is 8.

    Examples
    --------
    >>> from attnlib.backbone import Backbone
    >>> net = AttentionNet(backbone=Backbone(pretrained=False), classes=["hole"])
    >>> device = InferenceDevice(net, threshold=ThresholdRule("fixed", 0.5), device="cpu")
    >>> [found] = device.predict(np.zeros((100, 80, 3), np.uint8))
    >>> found.size, found.attention_map.shape, found.boxes
    ((100, 80), (15, 15), ())
    """

    def __init__(
        self,
        net: AttentionNet,
        *,
        threshold: ThresholdRule,
        device: str | torch.device = "auto",
        min_area: float = 0.0,
        listener: Listener | None = None,
        runtime: Runtime | None = None,
        views: int = 1,
    ) -> None:
        self.views = _check_views(views, net.backbone.grid_size)
        self.device = pick_device(device) if isinstance(device, str) else device
        self.net = net.to(self.device).eval()
        self.threshold, self.min_area, self.listener = threshold, min_area, listener
        self.runtime = runtime or TorchRuntime(self.net, self.device)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str | torch.device = "auto",
        runtime: RuntimeName = "auto",
        views: int = 1,
    ) -> InferenceDevice:
        """Read a run folder.

        Parameters
        ----------
        run : str or Path
        device : str or torch.device
        runtime : {"auto", "torch", "onnxruntime", "openvino"}
            See `attnlib.runtimes.open_runtime`.
        views : int
            Views of each image that are averaged, see `InferenceDevice`.

        Raises
        ------
        ValueError
            See `InferenceDevice`.
        FileNotFoundError, attnlib.runs.RunError
            See `attnlib.runs.Run.load`.
        attnlib.runtimes.RuntimeUnavailable
            If the named runtime cannot be used.
        """
        loaded = Run.load(run)
        chosen = pick_device(device) if isinstance(device, str) else device
        return cls(
            loaded.net,
            threshold=loaded.threshold,
            device=chosen,
            min_area=loaded.config.min_area,
            runtime=open_runtime(runtime, Path(run), loaded.net.to(chosen), chosen),
            views=views,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Defect classes the model knows."""
        return tuple(self.net.classes)

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 16
    ) -> list[Detection]:
        """Find defects.

        Parameters
        ----------
        images : one image or several
            Paths, PIL images or arrays: uint8, uint16, bool or float in [0, 1]; grey (H, W), RGB or
            RGBA. Sizes may differ.
        batch_size : int
            Images that go through the model at once, or fewer. Meanwhile the next ones are
            decoded.

        Returns
        -------
        list of Detection
            One for each image, in order.

        Notes
        -----
        On a CPU with several cores, 16 images or more go through the model side by side, a core
        each. A thread of yours that uses PyTorch for the first time meanwhile keeps to one core.

        Raises
        ------
        FileNotFoundError, attnlib.images.ImageError
            If an image is missing or cannot be read.
        """
        several = _as_list(images)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
        cores = torch.get_num_threads()
        if len(several) >= _MANY and cores > 1 and self.listener is None:
            runtime = self._side_by_side(cores)
            if runtime is not None:
                chunk = min(batch_size, _CHUNK, -(-len(several) // cores))
                return self._predict_many(several, chunk, runtime, cores)
        found: list[Detection] = []
        with closing(self._loaded(several, batch_size)) as batches:
            for loaded in batches:
                found += self._predict_batch(loaded, len(found))
        return found

    def maps_and_logits(
        self, batch: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Apply units 12 to 15 to images that are already at the model's input size.

        Parameters
        ----------
        batch : uint8 array, shape (b, S, S, 3)

        Returns
        -------
        float32 arrays, shapes (b, h, w) and (b, n_classes)
            A and the logits, averaged over the views.
        """
        return self._apply(self.runtime, batch)

    def _apply(
        self, runtime: Runtime, batch: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        tell = partial(self._tell, count=len(batch))
        if self.views == 1:
            return runtime(batch, tell)
        planes = torch.from_numpy(batch).permute(0, 3, 1, 2)
        maps, logits = [], []
        for number in range(self.views):
            seen = view(planes, number).permute(0, 2, 3, 1).contiguous().numpy()
            a, z = runtime(seen, tell if number == 0 else _silent)  # a unit reports once
            maps.append(torch.from_numpy(a))
            logits.append(z)
        averaged = mean_over_views(torch.stack(maps, dim=1).flatten(0, 1), self.views)
        return averaged.numpy(), np.mean(logits, axis=0)

    def _side_by_side(self, cores: int) -> Runtime | None:
        """The runtime for many images, opened when they first come."""
        opened = self._many
        if opened is None or opened[:2] != (cores, self.runtime) or opened[2] is self.runtime:
            # Asked anew where it opens nothing: the model may have changed. A runtime of your own
            # may take one call at a time only.
            several = getattr(self.runtime, "side_by_side", lambda calls: None)
            opened = self._many = (cores, self.runtime, several(cores))
        return opened[2]

    def _predict_many(
        self, images: list[ImageLike], chunk: int, runtime: Runtime, cores: int
    ) -> list[Detection]:
        """Each core decodes, computes and boxes a few images by itself.

        Cores that share one computation wait for each other at every layer, the more so while they
        decode. By themselves they get more images done in the same time, if none of them sooner.
        """
        side = self.net.backbone.input_size

        def detect(part: list[ImageLike]) -> list[Detection]:
            loaded = [read_scaled(image, side) for image in part]
            return self._detections(loaded, *self._apply(runtime, _stack(loaded)))

        found: list[Detection] = []
        with _one_thread_each(cores) as pool:
            pending: deque[Future[list[Detection]]] = deque()
            for start in range(0, len(images), chunk):
                pending.append(pool.submit(detect, images[start : start + chunk]))
                if len(pending) > 2 * cores:
                    found += pending.popleft().result()
            for future in pending:
                found += future.result()
        return found

    def _loaded(
        self, images: list[ImageLike], batch_size: int
    ) -> Generator[list[_Loaded], None, None]:
        """Minibatches of scaled pictures; the next one is decoded while the model works."""
        side = self.net.backbone.input_size
        if len(images) < 2:  # one image has nothing to overlap with: it is spared the threads
            yield from ([read_scaled(image, side)] for image in images)
            return
        pool = ThreadPoolExecutor(min(8, len(images)))
        ahead = max(batch_size, os.cpu_count() or 1)  # scaled pictures that wait for the model
        try:
            pending: deque[Future[_Loaded]] = deque()
            waiting = iter(images)
            for start in range(0, len(images), batch_size):
                size = min(batch_size, len(images) - start)
                for image in islice(waiting, max(0, size + ahead - len(pending))):
                    pending.append(pool.submit(read_scaled, image, side))
                yield [pending.popleft().result() for _ in range(size)]
        finally:
            pool.shutdown(cancel_futures=True)

    def _predict_batch(self, loaded: Sequence[_Loaded], start: int) -> list[Detection]:
        self._start = start
        self._tell(11, len(loaded))
        detections = self._detections(loaded, *self._apply(self.runtime, _stack(loaded)))
        self._tell(20, len(loaded))
        return detections

    def _detections(
        self,
        loaded: Sequence[_Loaded],
        maps: NDArray[np.float32],
        logits: NDArray[np.float32],
    ) -> list[Detection]:
        return [
            self._detection(attention, v1, size)
            for attention, v1, (_, size) in zip(maps, _probabilities(logits), loaded, strict=True)
        ]

    def _detection(
        self,
        attention: NDArray[np.float32],
        probabilities: NDArray[np.float64],
        size: tuple[int, int],
    ) -> Detection:
        threshold = self.threshold.threshold(attention)
        return Detection(
            attention_map=attention,
            class_name=self.classes[int(probabilities.argmax())],
            class_probabilities={
                name: float(p) for name, p in zip(self.classes, probabilities, strict=True)
            },
            score=float(attention.max()),
            boxes=self._boxes(attention, size, threshold),
            threshold=threshold,
            size=size,
        )

    def _boxes(
        self, attention: NDArray[np.float32], size: tuple[int, int], threshold: float
    ) -> tuple[Box, ...]:
        # An image with fewer pixels than the grid cannot show the map: look on the grid then.
        seen = (max(size[0], attention.shape[0]), max(size[1], attention.shape[1]))
        boxes = map_to_boxes(attention, size=seen, threshold=threshold, min_area=self.min_area)
        if seen == size:
            return tuple(boxes)
        found = []
        for box in boxes:
            x0, y0, x1, y1 = scale_box(box, seen, size)
            edges = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
            found.append(Box(*edges, score=box.score))
        return tuple(found)

    def _tell(self, unit: int, count: int) -> None:
        if self.listener is not None:
            for number in range(self._start, self._start + count):
                self.listener(Event(None, unit, (number,)))

    _start = 0
    _many: tuple[int, Runtime, Runtime | None] | None = None


_pooling = Lock()
"""PyTorch's number of threads is one for the whole process: one pool at a time changes it."""


@contextmanager
def _one_thread_each(cores: int) -> Generator[ThreadPoolExecutor]:
    """Threads in which PyTorch keeps to one core. Afterwards new threads have what they had."""
    with _pooling:
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield pool
        finally:
            try:
                pool.shutdown(cancel_futures=True)
            finally:
                torch.set_num_threads(before)


def _stack(loaded: Sequence[_Loaded]) -> NDArray[np.uint8]:
    return np.stack([pixels for pixels, _ in loaded])


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """V1 as `attnlib.model.class_probabilities`, by NumPy: a call of it costs a tenth as much."""
    z = logits.astype(np.float64)
    if z.shape[1] == 1:
        return np.asarray(expit(z))
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _check_views(views: int, grid_size: tuple[int, int]) -> int:
    if views not in (1, 2, 4, 8):
        raise ValueError(f"views is {views!r}; expected 1, 2, 4 or 8")
    if views == 8 and grid_size[0] != grid_size[1]:
        raise ValueError(
            f"views is 8 and the grid {grid_size[0]} x {grid_size[1]}; images are turned by a "
            "quarter then, so expected a square grid, or at most 4 views"
        )
    return views


def _silent(_: int) -> None:
    """Nobody is told of the other views' units."""


def _as_list(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """One image or several -> a list; an array of shape (n, H, W, 3) is n images."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    return list(images)
