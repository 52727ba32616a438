"""Samples, data sets, rendered seeds, ELPV and loading by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnlib import datasets
from attnlib.datasets import (
    NORMAL,
    Dataset,
    DatasetError,
    Sample,
    count_table,
    elpv,
    load_dataset,
    rendered_seeds,
)
from attnlib.images import ImageError

GREY = np.full((4, 6), 90, np.uint8)


def sample(name: str, class_name: str = NORMAL, **options: Any) -> Sample:
    return Sample(name, class_name, GREY, **options)


# ----------------------------------------------------------------------------------------- Sample


def test_labels() -> None:
    assert sample("a").is_normal and sample("a").label == "normal" and sample("a").has_mask
    marked = sample("b", "crack")
    assert not marked.is_normal and marked.label == "abnormal" and not marked.has_mask
    assert sample("b", "crack", mask=GREY).has_mask


def test_pictures_come_from_files_arrays_and_callables(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    for image in (tmp_path / "a.png", GREY, lambda: GREY):
        one = Sample("a", "crack", image, lambda: GREY > 0)
        assert one.read_image().tolist() == np.repeat(GREY[..., None], 3, 2).tolist()
        mask = one.read_mask()
        assert mask is not None and mask.shape == (4, 6) and mask.all()
        assert one.path == (image if isinstance(image, Path) else None)


def test_masks(tmp_path: Path) -> None:
    empty = sample("a").read_mask()
    assert empty is not None and empty.shape == (4, 6) and empty.dtype == bool and not empty.any()
    assert sample("b", "crack").read_mask() is None
    black = sample("c", "crack", mask=np.zeros((4, 6), np.uint8)).read_mask()
    assert black is not None and not black.any()


def test_a_normal_image_has_no_defect_whatever_its_mask_says() -> None:
    mask = sample("a", mask=np.ones((4, 6), bool)).read_mask()
    assert mask is not None and not mask.any()


def test_a_mask_of_another_size_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(DatasetError, match=r"test/b.png is 6 x 4 pixels but .*m.png is 4 x 6"):
        sample("test/b.png", "crack", mask=tmp_path / "m.png").read_mask()
    with pytest.raises(DatasetError, match="its mask is 1 x 1"):
        sample("b", "crack", mask=np.ones((1, 1))).read_mask()


def test_files_that_went_away(tmp_path: Path) -> None:
    gone = Sample("a", NORMAL, tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"gone.png"):
        gone.read_image()
    (tmp_path / "gone.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"gone.png"):
        gone.read_mask()


# ---------------------------------------------------------------------------------------- Dataset


def test_a_dataset_is_sorted_and_counted() -> None:
    data = Dataset.from_samples(
        "x",
        [sample("z", "b", part="test"), sample("y", "a"), sample("x", part="train"), sample("w")],
        "nobody",
    )
    assert [one.name for one in data] == ["w", "x", "y", "z"]
    assert data.classes == ("a", "b") and len(data) == 4
    table = data.summary()
    assert table.columns.tolist() == ["train", "test", "open", "total"]
    assert table.loc[NORMAL].tolist() == [1, 0, 1, 2] and table.loc["b"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample("a"), sample("a"), sample("b", "x")], "'a' occurs again"),
        ([sample("a")], "1 normal and no abnormal"),
        ([sample("a", "crack")], "no normal images, only the classes crack"),
        ([], "no abnormal"),
    ],
)
def test_unusable_datasets(samples: list[Sample], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset.from_samples("x", samples, "nobody")


def test_count_table_has_every_class_and_part() -> None:
    table = count_table([("a", "train")], ["good", "a"], ["train", "val"])
    assert table.to_numpy().tolist() == [[0, 0, 0], [1, 0, 1]]


# --------------------------------------------------------------------------------- rendered seeds


def test_a_seed_does_not_depend_on_the_counts() -> None:
    few = rendered_seeds(n_normal=2, n_abnormal=2, kinds=("hole",), size=32, seed=4)
    many = rendered_seeds(n_normal=3, n_abnormal=5, kinds=("crack", "hole"), size=32, seed=4)
    by_name = {one.name: one for one in many}
    for one in few:
        assert np.array_equal(one.read_image(), by_name[one.name].read_image())
    other = rendered_seeds(n_normal=2, n_abnormal=2, size=32, seed=5)
    assert not np.array_equal(few.samples[0].read_image(), other.samples[0].read_image())


def test_pictures_differ() -> None:
    data = rendered_seeds(n_normal=4, n_abnormal=4, kinds=("hole", "chip"), size=32)
    assert len({one.read_image().tobytes() for one in data}) == len(data) == 12


def test_image_and_mask_come_from_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    render = datasets.render_seed

    def counting(*args: Any, **options: Any) -> Any:
        drawn.append(options["seed"])
        return render(*args, **options)

    monkeypatch.setattr(datasets, "render_seed", counting)
    one = rendered_seeds(n_normal=1, n_abnormal=1, size=40, seed=123).samples[1]
    image, mask = one.read_image(), one.read_mask()
    assert len(drawn) == 1
    expected = render("hole", seed=drawn[0], size=40)
    assert mask is not None and mask.any() and np.array_equal(mask, expected.mask)
    assert np.array_equal(image, expected.image)


def test_what_is_read_can_be_changed_without_harm() -> None:
    one = rendered_seeds(n_normal=1, n_abnormal=1, size=32).samples[1]
    image, mask = one.read_image(), one.read_mask()
    assert mask is not None
    before = image.copy(), mask.copy()
    image[:], mask[:] = 0, False
    assert np.array_equal(one.read_image(), before[0])
    assert np.array_equal(one.read_mask(), before[1])


def test_distractors_change_the_picture_not_the_mask() -> None:
    plain, marked = (
        rendered_seeds(n_normal=1, n_abnormal=1, size=48, distractors=on).samples[1]
        for on in (False, True)
    )
    assert not np.array_equal(plain.read_image(), marked.read_image())
    assert np.array_equal(plain.read_mask(), marked.read_mask())


def test_ten_thousand_seeds_are_small() -> None:
    data = rendered_seeds(n_normal=1000, n_abnormal=9000)
    assert len(data) == 10_000 and len(pickle.dumps(data)) < 3_000_000
    assert data.samples[-1].name == "seeds/hole/8999"


def test_samples_travel_to_other_processes() -> None:
    one = rendered_seeds(n_normal=1, n_abnormal=1, size=32).samples[1]
    copy = pickle.loads(pickle.dumps(one))
    assert np.array_equal(copy.read_image(), one.read_image())


@pytest.mark.parametrize(
    "options",
    [
        {"n_normal": 0},
        {"n_abnormal": 0},
        {"kinds": ()},
        {"kinds": ("worm",)},
        {"kinds": ("hole", "hole")},
        {"seed": -1},
        {"size": 15},
    ],
)
def test_bad_arguments_are_told_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        rendered_seeds(**options)


# ---------------------------------------------------------------------------------- ELPV, by name


def test_elpv() -> None:
    pytest.importorskip("elpv_dataset", reason="the optional package elpv-dataset is not installed")
    data = elpv()
    assert data.classes == ("defect",) and len(data) == 2624
    assert "CC BY-NC-SA 4.0" in data.source
    probabilities = {
        one.class_name: {
            round(p.extra["defect_probability"], 2) for p in data if p.label == one.label
        }
        for one in (data.samples[0], next(s for s in data if s.is_normal))
    }
    assert probabilities == {"defect": {0.67, 1.0}, NORMAL: {0.0, 0.33}}
    assert {one.extra["cell_type"] for one in data} == {"mono", "poly"}
    first = data.samples[0]
    assert first.read_image().shape == (300, 300, 3) and first.read_mask() is None
    strict = elpv(threshold=0.9).summary()["total"]
    assert strict["defect"] == 715 and elpv(threshold=0).summary()["total"]["defect"] == 1116


def test_elpv_needs_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DatasetError, match="pip install elpv-dataset"):
        load_dataset("elpv")

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda _: Spec)
    with pytest.raises(DatasetError, match=r"labels.csv"):
        elpv()
    with pytest.raises(ValueError, match="threshold is 1"):
        elpv(threshold=1)


def test_load_by_name_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, four = load_dataset("seeds", size=32, seed=7), load_dataset("seeds4")
    assert one.classes == ("hole",) and one.summary()["total"].tolist() == [120, 120]
    assert four.summary()["total"].tolist() == [120, 80, 80, 80, 80]
    assert one.samples[0].read_image().shape == (32, 32, 3)
    for class_name in ("good", "crack"):
        (tmp_path / "seeds" / class_name).mkdir(parents=True)
        Image.fromarray(GREY).save(tmp_path / "seeds" / class_name / "0.png")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("./seeds").classes == ("crack",)
    assert load_dataset(Path("seeds")).classes == ("crack",)
    with pytest.raises(FileNotFoundError, match=r"'sedes'.*seeds4, hazelnut, elpv or an existing"):
        load_dataset("sedes")


def test_hazelnut_is_fetched_and_credited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlib import download

    for folder in ("train/good", "test/good", "test/colour"):
        (tmp_path / "hazelnut" / folder).mkdir(parents=True)
        Image.fromarray(GREY).save(tmp_path / "hazelnut" / folder / "00.png")
    asked = []

    def fetch(root: Path | None, *, progress: bool | None) -> Path:
        asked.append(root)
        return tmp_path / "hazelnut"

    monkeypatch.setattr(download, "fetch_hazelnut", fetch)
    data = load_dataset("hazelnut", root=tmp_path)
    assert asked == [tmp_path] and data.classes == ("colour",)
    assert data.name == "hazelnut" and data.source == datasets.HAZELNUT_SOURCE
