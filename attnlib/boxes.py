"""From an attention map to boxes: upsample, threshold, connected components.

A box is ``(x0, y0, x1, y1)`` in pixels, x to the right, y down, half-open: it covers columns ``x0
.. x1 - 1`` and rows ``y0 .. y1 - 1``, so its width is ``x1 - x0`` and a box around a whole H x W
image is ``(0, 0, W, H)``. Box edges are pixel edges, so scaling an image scales its boxes without
half-pixel corrections (`scale_box`).

The patent draws boxes 810A and 810B around the area its attention maps mark (Fig. 3) and does not
say how. Here the area is ``map > threshold``, and every `ThresholdRule` can be set without a mask:
from a number, from the attention on normal images, or from the map itself.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

BoxTuple = tuple[float, float, float, float]
Kind = Literal["fixed", "quantile", "otsu", "max_fraction"]
RULE_KINDS: tuple[Kind, ...] = ("fixed", "quantile", "otsu", "max_fraction")

_DEFAULT_VALUE: dict[str, float] = {"quantile": 0.999, "max_fraction": 0.5}


@dataclass(frozen=True)
class Box:
    """A detected box and how strongly the map supports it.

    Parameters
    ----------
    x0, y0, x1, y1 : float
        Edges in pixels, half-open, with ``x0 < x1`` and ``y0 < y1``. `map_to_boxes` returns
        integers.
    score : float
        Maximum of the upsampled map inside the component the box surrounds.

    Raises
    ------
    ValueError
        If a number is not finite or the box has no area.

    Examples
    --------
    >>> box = Box(10, 20, 40, 60, score=0.9)
    >>> box.width, box.height
    (30, 40)
    >>> Box.from_dict(box.to_dict()) == box
    True
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float

    def __post_init__(self) -> None:
        _check_box(self.as_tuple())
        if not math.isfinite(self.score):
            raise ValueError(f"the score of a box must be finite, got {self.score}")

    @property
    def width(self) -> float:
        """Number of columns covered."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Number of rows covered."""
        return self.y1 - self.y0

    def as_tuple(self) -> BoxTuple:
        """Return ``(x0, y0, x1, y1)``."""
        return (self.x0, self.y0, self.x1, self.y1)

    def to_dict(self) -> dict[str, float]:
        """Return plain numbers under the keys x0, y0, x1, y1, score, ready for JSON."""
        numbers = {"x0": self.x0, "y0": self.y0, "x1": self.x1, "y1": self.y1}
        plain = {k: int(v) if float(v).is_integer() else float(v) for k, v in numbers.items()}
        return {**plain, "score": float(self.score)}

    @classmethod
    def from_dict(cls, record: Mapping[str, float]) -> Box:
        """Rebuild a box from `to_dict`."""
        names = ("x0", "y0", "x1", "y1", "score")
        if set(record) != set(names):
            raise ValueError(f"a box record needs exactly the keys {names}, got {tuple(record)}")
        return cls(**{name: record[name] for name in names})


@dataclass(frozen=True)
class ThresholdRule:
    """How the threshold of a map is found, without test masks.

    A rule is a small record that can be stored as JSON beside a model. Call `fit` once on maps of
    normal *validation* images, then `threshold` for each map; `fit` leaves a ``fixed`` rule as it
    is, so callers need no special cases.

    Parameters
    ----------
    kind : {"fixed", "quantile", "otsu", "max_fraction"}
        - ``fixed``: `value` itself.
        - ``quantile``: the `value`-quantile of all attention values of normal images. `fit` turns
          it into ``fixed``.
        - ``otsu``: Otsu's threshold of each map.
        - ``max_fraction``: `value` times the maximum of each map.
    value : float, optional
        The threshold (``fixed``, required), the level in (0, 1] (``quantile``, default 0.999) or
        the fraction in (0, 1) (``max_fraction``, default 0.5). Must be left out for ``otsu``.
    floor : float, optional
        Lowest threshold a per-image rule (``otsu``, ``max_fraction``) may give. Without one such a
        rule finds a box in every image, normal ones included, because some pixel always lies above
        half the maximum.

    Raises
    ------
    ValueError
        If the kind is unknown, or a number is missing, superfluous, not finite or out of range.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979.

    Examples
    --------
    >>> normal_maps = np.full((4, 15, 15), 0.01)
    >>> ThresholdRule("quantile").fit(normal_maps)
    ThresholdRule(kind='fixed', value=0.01, floor=None)
    >>> rule = ThresholdRule("max_fraction", 0.5).fit(normal_maps)
    >>> rule.threshold(np.eye(15)), rule.threshold(normal_maps[0])
    (0.5, 0.01)
    >>> ThresholdRule.from_dict(rule.to_dict()) == rule
    True
    """

    kind: Kind
    value: float | None = None
    floor: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in RULE_KINDS:
            raise ValueError(f"kind must be one of {RULE_KINDS}, got {self.kind!r}")
        if self.value is None and self.kind in _DEFAULT_VALUE:
            object.__setattr__(self, "value", _DEFAULT_VALUE[self.kind])
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.kind == "otsu":
            if self.value is not None:
                raise ValueError(f"an otsu rule takes no value, got {self.value}; leave it out")
        elif self.value is None or not math.isfinite(self.value):
            raise ValueError(f"a {self.kind} rule needs a finite value, got {self.value}")
        elif self.kind == "quantile" and not 0 < self.value <= 1:
            raise ValueError(f"a quantile level must lie in (0, 1], got {self.value}")
        elif self.kind == "max_fraction" and not 0 < self.value < 1:
            raise ValueError(f"a fraction of the maximum must lie in (0, 1), got {self.value}")
        if self.floor is None:
            return
        if self.kind in ("fixed", "quantile"):
            raise ValueError(f"a {self.kind} rule takes no floor, got {self.floor}; leave it out")
        if not math.isfinite(self.floor):
            raise ValueError(f"floor must be finite, got {self.floor}")

    def fit(
        self, normal_maps: ArrayLike | Sequence[ArrayLike], *, floor_level: float = 1.0
    ) -> ThresholdRule:
        """Set the numbers that come from normal images.

        Parameters
        ----------
        normal_maps : float array (n, h, w), or a sequence of (h, w) arrays
            Attention maps of normal validation images, on the attention grid. Their values are
            pooled.
        floor_level : float
            Level, in (0, 1], of the quantile that becomes the floor of a per-image rule. The
            default 1 is the highest attention seen on a normal image: none of `normal_maps` then
            gives a box.

        Returns
        -------
        ThresholdRule
            ``fixed`` from ``quantile``; the same rule with a floor from ``otsu`` and
            ``max_fraction``; ``fixed`` unchanged.

        Raises
        ------
        ValueError
            If there is no map, a map is not two-dimensional and finite, or `floor_level` is out of
            range.
        """
        if not 0 < floor_level <= 1:
            raise ValueError(f"floor_level must lie in (0, 1], got {floor_level}")
        if self.kind == "fixed":
            return self
        values = _pooled_values(normal_maps)
        if self.kind == "quantile":
            level = cast(float, self.value)
            return ThresholdRule("fixed", _upper_quantile(values, level))
        return ThresholdRule(self.kind, self.value, floor=_upper_quantile(values, floor_level))

    def threshold(self, attention_map: ArrayLike) -> float:
        """Return the threshold for one map of shape (h, w).

        Pixels strictly above it count as defect. A constant map gives its own value under ``otsu``,
        so nothing lies above. Raises ValueError if the rule is an unfitted ``quantile`` or the map
        is not finite.
        """
        values = _check_map(attention_map, "attention_map")
        if values.ndim != 2:
            raise ValueError(f"attention_map must have shape (h, w), got {values.shape}")
        if self.kind == "quantile":
            raise ValueError(
                "a quantile rule has no threshold yet: call rule.fit(maps of normal validation "
                "images) and use the rule it returns"
            )
        if self.kind == "fixed":
            return float(cast(float, self.value))
        found = _otsu(values) if self.kind == "otsu" else cast(float, self.value) * values.max()
        return float(found if self.floor is None else max(found, self.floor))

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"kind", "value", "floor"}``, numbers or None, ready for JSON."""
        value, floor = (None if v is None else float(v) for v in (self.value, self.floor))
        return {"kind": self.kind, "value": value, "floor": floor}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ThresholdRule:
        """Rebuild a rule from `to_dict`. Raises ValueError on unknown or missing keys."""
        unknown = set(record) - {"kind", "value", "floor"}
        if unknown or "kind" not in record:
            raise ValueError(
                f"a threshold rule needs the key 'kind' and may have 'value' and 'floor', "
                f"got {tuple(record)}"
            )
        return cls(record["kind"], record.get("value"), record.get("floor"))


def upsample(attention_map: ArrayLike, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps bilinearly, pixel centres aligned (half-pixel convention, borders repeated).

    The result equals PyTorch's ``interpolate(mode="bilinear", align_corners=False)``. Bilinear
    resizing is separable: first along the rows, then along the columns.

    Parameters
    ----------
    attention_map : float array, shape (h, w) or (n, h, w)
        One map or a batch.
    size : (int, int)
        Height H and width W of the result, in pixels.

    Returns
    -------
    float32 array, shape (H, W) or (n, H, W)
        Values stay within the range of their own map.

    Raises
    ------
    ValueError
        If the map has another number of dimensions, is empty or not finite, or `size` is not two
        positive integers.

    Examples
    --------
    >>> upsample([[0.0, 1.0]], (1, 4))
    array([[0.  , 0.25, 0.75, 1.  ]], dtype=float32)
    """
    maps = _check_map(attention_map, "attention_map")
    height, width = _check_size(size)
    if maps.shape[-2:] == (height, width):
        return maps.astype(np.float32)
    rows, columns = _Axis.between(maps.shape[-2], height), _Axis.between(maps.shape[-1], width)
    batch = maps.reshape(-1, *maps.shape[-2:])
    result = np.empty((len(batch), height, width), dtype=np.float32)
    for target, source in zip(result, batch, strict=True):
        target[:] = _interpolate(source, rows, columns)
    return result if maps.ndim == 3 else result[0]


def map_to_boxes(
    attention_map: ArrayLike,
    *,
    size: tuple[int, int] | None = None,
    threshold: float | ThresholdRule,
    components: Literal["all", "largest"] = "all",
    min_area: float = 0.0,
    connectivity: int = 2,
) -> list[Box]:
    """Surround each connected area of a map above the threshold with a box.

    Parameters
    ----------
    attention_map : float array, shape (h, w)
        Map on the attention grid.
    size : (int, int), optional
        Height and width of the image the boxes are for. Pass the size of the *original* image to
        get boxes in its pixels, whatever size the model saw. None: the map's own size.
    threshold : float or ThresholdRule
        Pixels of the upsampled map strictly above it count as defect. A rule is asked for the
        threshold of `attention_map` itself, so the answer does not depend on `size`.
    components : {"all", "largest"}
        Keep every component, or only the one of most pixels.
    min_area : float
        Share of the image, in [0, 1): components that cover less are dropped.
    connectivity : {1, 2}
        1: pixels touch by edges; 2: by edges or corners.

    Returns
    -------
    list of Box
        Integer edges inside the image, highest score first (then larger area, then upper left). The
        score is the maximum of the upsampled map inside the component. Empty if no pixel lies above
        the threshold.

    Raises
    ------
    ValueError
        If an argument has a wrong shape or value.

    Examples
    --------
    >>> attention = np.zeros((15, 15))
    >>> attention[3:5, 6:9] = 0.8
    >>> map_to_boxes(attention, threshold=0.5)
    [Box(x0=6, y0=3, x1=9, y1=5, score=0.800000011920929)]
    """
    if components not in ("all", "largest"):
        raise ValueError(f"components must be 'all' or 'largest', got {components!r}")
    if not 0 <= min_area < 1:
        raise ValueError(f"min_area is a share of the image, in [0, 1); got {min_area}")
    if connectivity not in (1, 2):
        raise ValueError(f"connectivity must be 1 or 2, got {connectivity!r}")
    area = _area_above(attention_map, size, threshold)
    if not area.mask.any():
        return []
    labels, _ = ndimage.label(area.mask, _NEIGHBOURS[connectivity])
    found: list[tuple[int, Box]] = []
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[where] == number
        pixels = int(np.count_nonzero(inside))
        if pixels < min_area * area.of_pixels:
            continue
        rows, columns = where
        edges = (
            area.left + columns.start,
            area.top + rows.start,
            area.left + columns.stop,
            area.top + rows.stop,
        )
        found.append((pixels, Box(*edges, score=float(area.values[where][inside].max()))))
    if components == "largest":
        found = sorted(found, key=lambda item: (-item[0], -item[1].score))[:1]
    found.sort(key=lambda item: (-item[1].score, -item[0], item[1].y0, item[1].x0))
    return [box for _, box in found]


def box_from_map(
    attention_map: ArrayLike,
    size: tuple[int, int] | None,
    threshold: float | ThresholdRule,
) -> BoxTuple | None:
    """Return the one box around all area of a map above the threshold.

    This is how boxes 810A and 810B of the patent's Fig. 3 are made here.

    Parameters and errors are those of `map_to_boxes`. None if no pixel lies above the threshold.

    Examples
    --------
    >>> box_from_map(np.eye(4), None, 0.5)
    (0, 0, 4, 4)
    """
    area = _area_above(attention_map, size, threshold)
    if not area.mask.size:
        return None
    inner = mask_to_box(area.mask)
    if inner is None:
        return None
    x0, y0, x1, y1 = inner
    return (area.left + x0, area.top + y0, area.left + x1, area.top + y1)


def mask_to_box(mask: ArrayLike) -> BoxTuple | None:
    """Return the one box around all True pixels of a bool mask (H, W), None if there are none.

    A mask of integers counts as True where it is above 0. Raises ValueError if the mask is not
    two-dimensional or is of another type (a map of floats needs a threshold first).

    Examples
    --------
    >>> mask_to_box([[False, False, False], [False, True, True]])
    (1, 1, 3, 2)
    """
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"mask must have shape (H, W) with pixels in it, got {array.shape}")
    if array.dtype.kind not in "bui":
        raise ValueError(
            f"mask must be bool or integer, got {array.dtype}; threshold a map of floats first"
        )
    inside = array > 0
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if columns.size == 0:
        return None
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def union_box(boxes: Iterable[Box | Sequence[float]]) -> BoxTuple | None:
    """Return the smallest box around all boxes, None if there are none.

    Examples
    --------
    >>> union_box([(0, 5, 2, 8), Box(4, 1, 6, 7, score=0.5)])
    (0, 1, 6, 8)
    """
    edges = [_check_box(box.as_tuple() if isinstance(box, Box) else box) for box in boxes]
    if not edges:
        return None
    x0, y0, x1, y1 = zip(*edges, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def scale_box(
    box: Box | Sequence[float], from_size: tuple[int, int], to_size: tuple[int, int]
) -> BoxTuple:
    """Carry a box from an image of one size (H, W) to the same image at another size.

    Examples
    --------
    >>> scale_box((6, 3, 9, 5), (15, 15), (240, 480))
    (192.0, 48.0, 288.0, 80.0)
    """
    x0, y0, x1, y1 = _check_box(box.as_tuple() if isinstance(box, Box) else box)
    (h_from, w_from), (h_to, w_to) = _check_size(from_size), _check_size(to_size)
    return (x0 * w_to / w_from, y0 * h_to / h_from, x1 * w_to / w_from, y1 * h_to / h_from)


@dataclass(frozen=True, eq=False)
class _Area:
    """The part of an upsampled map that holds everything above a threshold.

    Attributes
    ----------
    values, mask : float32 and bool arrays, shape (h, w)
        The part, and where it lies strictly above; empty where nothing can.
    top, left : int
        Where the part begins.
    of_pixels : int
        Pixels of the whole map.
    """

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]
    top: int
    left: int
    of_pixels: int


def _area_above(
    attention_map: ArrayLike, size: tuple[int, int] | None, threshold: float | ThresholdRule
) -> _Area:
    """Upsample a map where it can exceed the threshold, and compare it there.

    A pixel lies between four cells of the grid, so it cannot exceed the threshold unless one of
    them does. Most maps have few such cells or none, and most pixels are never computed.
    """
    values = _check_map(attention_map, "attention_map")
    if values.ndim != 2:
        raise ValueError(f"attention_map must have shape (h, w), got {values.shape}")
    if isinstance(threshold, ThresholdRule):
        threshold = threshold.threshold(values)
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite, got {threshold}")
    height, width = _check_size(values.shape if size is None else size)
    # Both sides rounded alike: a map that equals the threshold must not pass by a rounding error.
    limit = np.float32(threshold)
    high = values > float(limit)
    rows = _Axis.between(values.shape[0], height)
    columns = _Axis.between(values.shape[1], width)
    top, bottom = rows.reach(np.any(high, axis=1))
    left, right = columns.reach(np.any(high, axis=0))
    part = _interpolate(values, rows.cut(top, bottom), columns.cut(left, right))
    return _Area(part, part > limit, top, left, height * width)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Between which two cells each pixel centre of one axis lies, and how far from the first."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: NDArray[np.float64]

    @classmethod
    @lru_cache(maxsize=16)  # images come in few sizes
    def between(cls, n_cells: int, n_pixels: int) -> _Axis:
        centres = (np.arange(n_pixels) + 0.5) * (n_cells / n_pixels) - 0.5
        centres = np.clip(centres, 0, n_cells - 1)
        first = centres.astype(np.intp)
        axis = cls(first, np.minimum(first + 1, n_cells - 1), centres - first)
        for array in (axis.first, axis.second, axis.share):
            array.flags.writeable = False
        return axis

    def reach(self, cells: NDArray[np.bool_]) -> tuple[int, int]:
        """First pixel that any of the marked cells touches, and the one after the last."""
        touched = np.flatnonzero(cells[self.first] | cells[self.second])
        return (int(touched[0]), int(touched[-1]) + 1) if touched.size else (0, 0)

    def cut(self, start: int, stop: int) -> _Axis:
        """The pixels from `start` to before `stop`."""
        return _Axis(self.first[start:stop], self.second[start:stop], self.share[start:stop])


def _interpolate(values: NDArray[np.float64], rows: _Axis, columns: _Axis) -> NDArray[np.float32]:
    """Bilinear values at the pixels of two axes; each pixel by itself, whatever the others are."""
    low, high = values.min(), values.max()
    wide = values.take(columns.first, axis=1)  # (h, W), still few rows
    wide += (values.take(columns.second, axis=1) - wide) * columns.share
    result = np.empty((len(rows.share), len(columns.share)), np.float32)
    step = max(1, _BLOCK // max(1, wide.shape[1]))
    for top in range(0, len(result), step):  # a few rows at a time stay in the processor's cache
        some = rows.cut(top, top + step)
        start = wide.take(some.first, axis=0)
        block = wide.take(some.second, axis=0)
        block -= start
        block *= some.share[:, None]
        block += start
        # A guard against rounding: no pixel may pass its map's extremes.
        result[top : top + step] = np.clip(block, low, high, out=block)
    return result


_BLOCK = 16_384  # pixels at once
_NEIGHBOURS = {reach: ndimage.generate_binary_structure(2, reach) for reach in (1, 2)}


def _pooled_values(maps: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Return all values of the maps of normal images in one row."""
    pieces = []
    for index, attention_map in enumerate(cast("Iterable[ArrayLike]", maps)):
        values = _check_map(attention_map, f"normal map {index}")
        if values.ndim != 2:
            raise ValueError(f"normal map {index} must have shape (h, w), got {values.shape}")
        pieces.append(values.ravel())
    if not pieces:
        raise ValueError("no normal maps were given: pass the maps of normal validation images")
    return np.concatenate(pieces)


def _upper_quantile(values: NDArray[np.float64], level: float) -> float:
    """Return an observed value that at most a share 1 - level of all values exceed."""
    return float(np.quantile(values, level, method="higher"))


def _otsu(values: NDArray[np.float64]) -> float:
    """Return Otsu's threshold; for a constant map its value, which nothing exceeds."""
    if values.min() == values.max():
        return float(values.max())
    return float(threshold_otsu(values))  # type: ignore[no-untyped-call,unused-ignore]


def _check_map(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a finite real map (h, w) or batch (n, h, w) as float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(f"{name} must have shape (h, w) or (n, h, w), got {array.shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values: check the model that made it")
    return array


def _check_size(size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) as plain integers."""
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        raise ValueError(f"size must be two integers (height, width), got {size!r}") from None
    if height < 1 or width < 1:
        raise ValueError(f"size must be positive (height, width), got {size!r}")
    return height, width


def _check_box(box: Sequence[float]) -> BoxTuple:
    """Return the edges of a box that has area."""
    if len(box) != 4:
        raise ValueError(f"a box is (x0, y0, x1, y1), got {tuple(box)}")
    x0, y0, x1, y1 = box
    if not all(math.isfinite(edge) for edge in box):
        raise ValueError(f"the edges of a box must be finite, got {tuple(box)}")
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"a box needs x0 < x1 and y0 < y1, got {tuple(box)}")
    return (x0, y0, x1, y1)
