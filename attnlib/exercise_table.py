"""The exercises of the course, in the order of the notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnlib.exercises import Exercise, FunctionExercise, Inputs, Mistake, Question, Quiz
from attnlib.model import integrate

# ------------------------------------------------------------------------------ 00: start here


def _maps_without_channel_axis(rng: np.random.Generator) -> Inputs:
    """F (b, k, h, w) and A (b, h, w); in some cases b equals k, in some b is 1."""
    b, k = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    h, w = (int(side) for side in rng.integers(2, 6, 2))
    f, a = rng.normal(size=(b, k, h, w)), rng.random((b, h, w))
    return {"f": torch.tensor(f), "a": torch.tensor(a)}


def _integrate(f: Tensor, a: Tensor) -> Tensor:
    return integrate(f, a[:, None])


_CHANNEL_AXIS = FunctionExercise(
    name="00-channel-axis",
    task=(
        "Write equation 1, G(i, j, k) = F(i, j, k) * A(i, j), for a batch: "
        "f (b, k, h, w) and a (b, h, w) give g (b, k, h, w)."
    ),
    reference=_integrate,
    make_inputs=_maps_without_channel_axis,
    mistakes=(
        Mistake(
            lambda f, a: f * a,
            "broadcasting aligns shapes from the right, so a (b, h, w) is read as (1, b, h, w): "
            "its images stand where f has its channels. That fails unless b and k fit, and where "
            "they do, the numbers are silently wrong. Give a an axis of length 1 at the place of "
            "the channels, the second place.",
        ),
        Mistake(
            lambda f, a: f * a[..., None],
            "the new axis is at the end, behind the columns. The axis that a lacks is the one of "
            "the channels, the second.",
        ),
        Mistake(
            lambda f, a: f + a[:, None],
            "the shapes are right, but equation 1 multiplies.",
        ),
        Mistake(
            lambda f, a: (f * a[:, None]).sum(dim=1),
            "the channels were summed up. G keeps them: the classifier needs every one of them.",
        ),
        Mistake(
            lambda f, a: f * a.mean(dim=(1, 2))[:, None, None, None],
            "A was averaged to one number an image. Each position (i, j) has its own A(i, j): that "
            "is what makes G, and the result, know where.",
        ),
        Mistake(
            lambda f, a: f.mul_(a[:, None]),
            "a method whose name ends in _ writes into the tensor itself, so F is lost.",
        ),
    ),
)

# -------------------------------------------------------------------------- 05: before and after


def _right_box(measured: Mapping[str, Any]) -> str:
    share = float(measured["box_share"])
    return "c" if share == 0 else "b" if share > 0.5 else "a"


def _right_normal(measured: Mapping[str, Any]) -> str:
    mean = float(measured["mean_attention_normal"])
    return "a" if mean < 0.1 else "c" if mean > 0.9 else "b"


def _right_class(measured: Mapping[str, Any]) -> str:
    return "a" if float(measured["classification_loss"]) < 0.1 else "b"


_NO_NORMAL_LOSS = Quiz(
    name="05-no-normal-loss",
    intro="Training with W_normal = 0: predict what you will see on the test images.",
    questions=(
        Question(
            "box",
            "Where does the box 810A of most abnormal images lie?",
            {
                "a": (
                    "tightly around the defect",
                    "For a tight box A must be low beside the defect. Which term of the loss would "
                    "have pushed it down there?",
                ),
                "b": (
                    "around nearly the whole image",
                    "Measured is something else: look at how much of the image the boxes cover.",
                ),
                "c": (
                    "nowhere: there is no box",
                    "Without a box A would be below the threshold everywhere, so G nearly 0. Then "
                    "the classifier would see nothing, and L_classify would not fall.",
                ),
            },
            _right_box,
            "Some cell far away from the defect is above the threshold on nearly every side.",
        ),
        Question(
            "normal",
            "What is the mean of A on normal test images?",
            {
                "a": (
                    "nearly 0",
                    "That is what the normal loss L_normal asks for, and its weight is 0.",
                ),
                "b": ("somewhere in the middle, far from 0 and from 1", "Look at the number."),
                "c": (
                    "nearly 1",
                    "Only L_classify is left, and it never sees a normal image. It gains where "
                    "abnormal images differ, not from A = 1 everywhere.",
                ),
            },
            _right_normal,
            "Nothing in the loss speaks about normal images, so A stays near where it began.",
        ),
        Question(
            "class",
            "Does the classification loss on the training images fall to nearly 0?",
            {
                "a": ("yes", "The classification loss did not fall: look at the number."),
                "b": (
                    "no",
                    "The classifier needs G to tell the class, not a tight A: an A that is high "
                    "everywhere lets all of F through. Look at the number.",
                ),
            },
            _right_class,
            "The class is learned, and still the map does not say where: a good classification is "
            "no proof of a good localization.",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (_CHANNEL_AXIS, _NO_NORMAL_LOSS)
"""All exercises; their names start with the number of the notebook."""
