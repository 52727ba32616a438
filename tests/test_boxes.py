from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from skimage.measure import label, regionprops

import attnlib.boxes as boxes_module
from attnlib.boxes import (
    Box,
    ThresholdRule,
    box_from_map,
    map_to_boxes,
    mask_to_box,
    scale_box,
    union_box,
    upsample,
)

quick = settings(max_examples=50, deadline=None)  # no deadline: machines differ
unit = st.floats(0, 1, width=32)
maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=unit)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A grid size (h, w) and a box inside it."""
    h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    x0, y0 = draw(st.integers(0, w - 1)), draw(st.integers(0, h - 1))
    x1, y1 = draw(st.integers(x0 + 1, w)), draw(st.integers(y0 + 1, h))
    return (h, w), (x0, y0, x1, y1)


def paint(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    canvas = np.zeros(size)
    x0, y0, x1, y1 = box
    canvas[y0:y1, x0:x1] = 1
    return canvas


def test_module_knows_neither_torch_nor_metrics() -> None:
    tree = ast.parse(Path(boxes_module.__file__).read_text(encoding="utf-8"))
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert "numpy" in names
    assert not [name for name in names if name.startswith(("torch", "attnlib"))]


# --- upsample ---


@quick
@given(maps, sizes)
def test_upsample_equals_torch(attention_map: np.ndarray, size: tuple[int, int]) -> None:
    import torch
    import torch.nn.functional as F

    expected = F.interpolate(
        torch.from_numpy(attention_map.astype(np.float64))[None, None],
        size=size,
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    result = upsample(attention_map, size)
    assert result.dtype == np.float32 and result.shape == size
    np.testing.assert_allclose(result, expected, atol=2e-7)


@quick
@given(maps, sizes)
def test_upsample_stays_in_range(attention_map: np.ndarray, size: tuple[int, int]) -> None:
    result = upsample(attention_map, size)
    assert attention_map.min() <= result.min() and result.max() <= attention_map.max()


@quick
@given(unit, sizes)
def test_upsample_keeps_a_constant_map_exactly(value: float, size: tuple[int, int]) -> None:
    assert (upsample(np.full((3, 5), value), size) == np.float32(value)).all()


def test_upsample_batch_is_the_stack_of_single_maps() -> None:
    batch = np.random.default_rng(0).random((3, 15, 15))
    result = upsample(batch, (31, 40))
    assert result.shape == (3, 31, 40)
    np.testing.assert_allclose(result, [upsample(m, (31, 40)) for m in batch], atol=1e-7)
    assert upsample(np.zeros((0, 15, 15)), (4, 4)).shape == (0, 4, 4)


def test_upsample_to_own_size_is_a_copy() -> None:
    original = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    result = upsample(original, (4, 4))
    np.testing.assert_array_equal(result, original)
    assert not np.shares_memory(result, original)


@pytest.mark.parametrize(
    ("attention_map", "size", "message"),
    [
        (np.zeros(4), (4, 4), r"shape \(h, w\)"),
        (np.zeros((1, 1, 4, 4)), (4, 4), r"shape \(h, w\)"),
        (np.zeros((0, 4)), (4, 4), r"shape \(h, w\)"),
        (np.array([[np.nan]]), (4, 4), "NaN or infinite"),
        (np.array([["a"]]), (4, 4), "real numbers"),
        (np.zeros((2, 2)), (4, 0), "positive"),
        (np.zeros((2, 2)), (4.0, 4), "two integers"),
        (np.zeros((2, 2)), (4,), "two integers"),
    ],
)
def test_upsample_rejects(attention_map: np.ndarray, size: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upsample(attention_map, size)


# --- threshold rules ---


def test_fixed_rule_ignores_the_map_and_fit() -> None:
    rule = ThresholdRule("fixed", 0.3)
    assert rule.fit(np.ones((2, 4, 4))) is rule
    assert rule.threshold(np.ones((4, 4))) == 0.3


@quick
@given(hnp.arrays(np.float64, (3, 4, 4), elements=unit), st.floats(0.01, 1))
def test_quantile_rule_bounds_the_share_of_normal_pixels_above(
    normal: np.ndarray, level: float
) -> None:
    rule = ThresholdRule("quantile", level).fit(normal)
    assert rule.kind == "fixed"
    share = np.mean(normal > rule.threshold(normal[0]))
    assert share <= 1 - level + 1e-9


def test_quantile_rule_pools_maps_of_unequal_sizes() -> None:
    normal = [np.full((2, 2), 0.1), np.array([[0.4]])]
    assert ThresholdRule("quantile", 1.0).fit(normal).value == 0.4
    assert ThresholdRule("quantile", 0.5).fit(normal).value == 0.1


def test_quantile_rule_without_fit_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"call rule\.fit"):
        ThresholdRule("quantile", 0.9).threshold(np.zeros((2, 2)))


def test_otsu_separates_two_levels() -> None:
    attention = np.full((6, 6), 0.1)
    attention[2:4, 2:5] = 0.9
    assert map_to_boxes(attention, threshold=ThresholdRule("otsu"))[0].as_tuple() == (2, 2, 5, 4)


@quick
@given(unit, sizes)
def test_otsu_of_a_constant_map_gives_no_box(value: float, size: tuple[int, int]) -> None:
    constant = np.full((5, 5), value)
    assert map_to_boxes(constant, size=size, threshold=ThresholdRule("otsu")) == []


def test_max_fraction_follows_each_map() -> None:
    rule = ThresholdRule("max_fraction", 0.25)
    assert rule.threshold(np.array([[0.0, 0.8]])) == pytest.approx(0.2)
    assert rule.threshold(np.array([[0.0, 0.4]])) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["otsu", "max_fraction"])
def test_per_image_rule_with_floor_gives_no_box_on_normal_images(kind: Any) -> None:
    normal = np.random.default_rng(0).random((5, 15, 15)) * 0.1
    abnormal = normal[0].copy()
    abnormal[4:6, 4:6] = 0.9
    rule = ThresholdRule(kind)
    assert all(map_to_boxes(m, threshold=rule) for m in normal)  # without a floor: boxes everywhere
    fitted = rule.fit(normal)
    assert not any(map_to_boxes(m, size=(99, 70), threshold=fitted) for m in normal)
    assert box_from_map(abnormal, None, fitted) == (4, 4, 6, 6)
    assert fitted.floor == normal.max()
    assert rule.fit(normal, floor_level=0.5).floor < normal.max()


@pytest.mark.parametrize(
    "rule",
    [
        ThresholdRule("fixed", 0.3),
        ThresholdRule("quantile"),
        ThresholdRule("otsu"),
        ThresholdRule("otsu", floor=0.02),
        ThresholdRule("max_fraction", 0.4, floor=0.02),
        ThresholdRule("fixed", np.float64(0.3)),
    ],
)
def test_rule_survives_json(rule: ThresholdRule) -> None:
    assert ThresholdRule.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("half", 0.5), "kind must be one of"),
        (("fixed",), "finite value"),
        (("fixed", float("nan")), "finite value"),
        (("quantile", 1.1), "quantile level"),
        (("quantile", 0.0), "quantile level"),
        (("max_fraction", 1.0), "fraction of the maximum"),
        (("otsu", 0.5), "takes no value"),
        (("fixed", 0.5, 0.1), "takes no floor"),
        (("quantile", 0.5, 0.1), "takes no floor"),
        (("otsu", None, float("inf")), "floor must be finite"),
    ],
)
def test_rule_rejects(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ThresholdRule(*arguments)


def test_rule_from_dict_rejects_unknown_keys() -> None:
    with pytest.raises(ValueError, match="needs the key 'kind'"):
        ThresholdRule.from_dict({"kind": "otsu", "flour": 1})
    with pytest.raises(ValueError, match="needs the key 'kind'"):
        ThresholdRule.from_dict({"value": 0.5})


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        ([], "no normal maps"),
        ([np.zeros((2, 2)), np.full((2, 2), np.inf)], "normal map 1 holds NaN"),
        (np.zeros((2, 2, 2, 2)), "normal map 0 must have shape"),
        (np.zeros((2, 2)), "normal map 0 must have shape"),
    ],
)
def test_fit_rejects(normal: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ThresholdRule("quantile").fit(normal)


def test_fit_rejects_floor_level() -> None:
    with pytest.raises(ValueError, match="floor_level"):
        ThresholdRule("otsu").fit(np.zeros((1, 2, 2)), floor_level=1.5)


# --- map -> boxes ---


@quick
@given(rectangles())
def test_a_painted_rectangle_is_recovered(case: tuple[Any, Any]) -> None:
    size, box = case
    attention = paint(size, box) * 0.75
    assert map_to_boxes(attention, threshold=0.5) == [Box(*box, score=0.75)]
    assert box_from_map(attention, None, 0.5) == box
    assert mask_to_box(attention > 0.5) == box


@quick
@given(rectangles(), st.integers(2, 20))
def test_at_half_height_boxes_scale_with_the_image(case: tuple[Any, Any], k: int) -> None:
    # Between two pixel centres of the grid a painted edge falls from 1 to 0 and passes 0.5 halfway,
    # which is where the scaled edge lies. Even in a rectangle one grid cell wide, the pixel just
    # inside has at least (1/2 + 1/2k) (1 - 1/2k), which is above 1/2 for k > 1.
    (h, w), box = case
    big = (h * k, w * k)
    (found,) = map_to_boxes(paint((h, w), box), size=big, threshold=0.5)
    assert found.as_tuple() == scale_box(box, (h, w), big)


@quick
@given(maps, sizes, unit, st.sampled_from(["all", "largest"]), st.sampled_from([1, 2]))
def test_boxes_lie_inside_the_image_and_are_sorted(
    attention: np.ndarray, size: tuple[int, int], threshold: float, components: Any, touch: int
) -> None:
    found = map_to_boxes(
        attention, size=size, threshold=threshold, components=components, connectivity=touch
    )
    for box in found:
        assert 0 <= box.x0 < box.x1 <= size[1] and 0 <= box.y0 < box.y1 <= size[0]
        assert np.float32(threshold) < box.score <= attention.max()
        assert all(isinstance(edge, int) for edge in box.as_tuple())
    scores = [box.score for box in found]
    assert scores == sorted(scores, reverse=True)
    if components == "all":
        assert union_box(found) == box_from_map(attention, size, threshold)
    else:
        assert len(found) <= 1


def test_threshold_is_strict_and_an_empty_mask_gives_no_box() -> None:
    attention = np.array([[0.1, 0.5]])
    assert map_to_boxes(attention, threshold=0.5) == []
    assert box_from_map(attention, None, 0.5) is None
    assert map_to_boxes(attention, threshold=np.nextafter(np.float32(0.5), np.float32(0)))
    # 0.1 as float32 is larger than 0.1 as float64: a map equal to the threshold must still not pass
    assert map_to_boxes(np.full((2, 2), 0.1), threshold=np.float64(0.1)) == []


def test_a_rule_sees_the_map_on_its_grid() -> None:
    # Upsampled by 2, the peak is 0.75^2 and its neighbours are 0.75 * 0.25 = 0.19. The threshold is
    # 0.3 of the grid's maximum, not of the peak (0.17), so the neighbours stay out.
    attention = np.zeros((5, 5))
    attention[2, 2] = 1
    rule = ThresholdRule("max_fraction", 0.3)
    assert box_from_map(attention, (10, 10), rule) == (4, 4, 6, 6)


def test_full_map_gives_the_whole_image() -> None:
    assert box_from_map(np.ones((15, 15)), (240, 320), 0.5) == (0, 0, 320, 240)


def test_components_area_and_connectivity() -> None:
    attention = np.zeros((10, 10))
    attention[0, 0] = 0.9  # touches two edges and, by its corner, the next pixel
    attention[1, 1] = 0.7
    attention[6:9, 5:10] = 0.6  # 15 % of the image
    by_corner = map_to_boxes(attention, threshold=0.5)
    assert [b.as_tuple() for b in by_corner] == [(0, 0, 2, 2), (5, 6, 10, 9)]
    assert [round(b.score, 6) for b in by_corner] == [0.9, 0.6]
    assert len(map_to_boxes(attention, threshold=0.5, connectivity=1)) == 3
    (largest,) = map_to_boxes(attention, threshold=0.5, components="largest")
    assert largest.as_tuple() == (5, 6, 10, 9)
    assert [b.x0 for b in map_to_boxes(attention, threshold=0.5, min_area=0.15)] == [5]
    assert map_to_boxes(attention, threshold=0.5, min_area=0.16) == []


def test_equal_components_keep_the_one_of_higher_score() -> None:
    attention = np.array([[0.6, 0.0, 0.9, 0.0]])
    (largest,) = map_to_boxes(attention, threshold=0.5, components="largest")
    assert largest.x0 == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": float("nan")}, "threshold must be finite"),
        ({"threshold": 0.5, "components": "some"}, "components"),
        ({"threshold": 0.5, "min_area": 1.0}, "min_area"),
        ({"threshold": 0.5, "min_area": -0.1}, "min_area"),
        ({"threshold": 0.5, "connectivity": 8}, "connectivity"),
        ({"threshold": 0.5, "size": (0, 4)}, "positive"),
    ],
)
def test_map_to_boxes_rejects(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_to_boxes(np.zeros((4, 4)), **arguments)


def test_map_to_boxes_rejects_a_batch() -> None:
    with pytest.raises(ValueError, match=r"shape \(h, w\), got"):
        map_to_boxes(np.zeros((2, 4, 4)), threshold=0.5)


# --- boxes ---


def test_box_survives_json_with_numpy_numbers() -> None:
    box = Box(np.int64(1), np.float32(2), 5, 7.5, score=np.float32(0.5))
    record = json.loads(json.dumps(box.to_dict()))
    assert record == {"x0": 1, "y0": 2, "x1": 5, "y1": 7.5, "score": 0.5}
    assert Box.from_dict(record) == box


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((3, 0, 3, 1), "x0 < x1"),
        ((0, 2, 3, 1), "x0 < x1"),
        ((0, 0, float("inf"), 1), "finite"),
    ],
)
def test_box_rejects(edges: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Box(*edges, score=1.0)


def test_box_rejects_a_nan_score_and_a_bad_record() -> None:
    with pytest.raises(ValueError, match="score"):
        Box(0, 0, 1, 1, score=float("nan"))
    with pytest.raises(ValueError, match="exactly the keys"):
        Box.from_dict({"x0": 0, "y0": 0, "x1": 1, "y1": 1})


def test_mask_to_box() -> None:
    assert mask_to_box(np.zeros((3, 3), dtype=bool)) is None
    assert mask_to_box(np.array([[0, 0, 255], [0, 0, 0]], dtype=np.uint8)) == (2, 0, 3, 1)
    with pytest.raises(ValueError, match="threshold a map of floats"):
        mask_to_box(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"shape \(H, W\)"):
        mask_to_box(np.zeros((3, 3, 1), dtype=bool))


def test_union_box() -> None:
    assert union_box([]) is None
    assert union_box([(1, 2, 3, 4)]) == (1, 2, 3, 4)
    with pytest.raises(ValueError, match="a box is"):
        union_box([(1, 2, 3)])


@quick
@given(rectangles(), sizes)
def test_scale_box_there_and_back(case: tuple[Any, Any], size: tuple[int, int]) -> None:
    from_size, box = case
    there = scale_box(box, from_size, size)
    assert 0 <= there[0] < there[2] <= size[1] + 1e-9 and 0 <= there[1] < there[3] <= size[0] + 1e-9
    np.testing.assert_allclose(scale_box(there, size, from_size), box, atol=1e-9)


# ------------------------------------------------------------------ against the whole map, labelled


@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 0.1, 0.25, 0.5, 0.6, 0.75, 1]) | st.floats(0, 1, width=32),
    ),
    size=st.none() | st.tuples(st.integers(1, 90), st.integers(1, 90)),
    threshold=st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9]),
    connectivity=st.sampled_from([1, 2]),
    min_area=st.sampled_from([0.0, 0.02]),
)
def test_looking_only_where_it_is_high_changes_nothing(
    values: NDArray[np.float32],
    size: tuple[int, int] | None,
    threshold: float,
    connectivity: int,
    min_area: float,
) -> None:
    whole = upsample(values, values.shape if size is None else size)
    mask = whole > np.float32(threshold)
    expected = {
        (x0, y0, x1, y1, float(region.intensity_max))
        for region in regionprops(label(mask, connectivity=connectivity), whole)
        if region.area >= min_area * mask.size
        for y0, x0, y1, x1 in [region.bbox]
    }
    found = map_to_boxes(
        values, size=size, threshold=threshold, connectivity=connectivity, min_area=min_area
    )
    assert {(*box.as_tuple(), box.score) for box in found} == expected
    assert box_from_map(values, size, threshold) == mask_to_box(mask)
