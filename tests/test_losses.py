from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from attnlib.losses import classification_loss, normal_loss, total_loss

unit = st.floats(0, 1, width=64)
attention = st.tuples(st.integers(1, 4), st.just(1), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=unit)
)
scores = st.tuples(st.integers(1, 5), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-20, 20, width=64))
)


@settings(max_examples=40, deadline=None)
@given(attention)
def test_normal_loss_is_equation_2(a: np.ndarray) -> None:
    n = a.shape[2] * a.shape[3]
    by_hand = [
        sum(image[0, i, j] for i in range(a.shape[2]) for j in range(a.shape[3])) / n for image in a
    ]
    tensor = torch.from_numpy(a)
    assert float(normal_loss(tensor)) == pytest.approx(np.mean(by_hand), abs=1e-12)
    assert float(normal_loss(tensor, "sum")) == pytest.approx(np.sum(by_hand), abs=1e-12)


def test_every_element_of_a_weighs_one_nth() -> None:
    a = torch.rand(3, 1, 15, 15, dtype=torch.float64, requires_grad=True)
    normal_loss(a, "sum").backward()
    assert torch.allclose(a.grad, torch.full_like(a, 1 / 225), rtol=1e-12)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(scores, st.integers(0, 10_000))
def test_cross_entropy_is_minus_the_log_of_v1_at_v2(z: np.ndarray, seed: int) -> None:
    target = np.random.default_rng(seed).integers(z.shape[1], size=len(z))
    v2 = np.eye(z.shape[1])[target]
    log_v1 = z - z.max(1, keepdims=True)
    log_v1 = log_v1 - np.log(np.exp(log_v1).sum(1, keepdims=True))
    by_hand = -(v2 * log_v1).sum(1)
    loss = classification_loss(torch.from_numpy(z), torch.from_numpy(target), "sum")
    assert float(loss) == pytest.approx(by_hand.sum(), rel=1e-9, abs=1e-9)
    loss = classification_loss(torch.from_numpy(z), torch.from_numpy(target))
    assert float(loss) == pytest.approx(by_hand.mean(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_one_class_is_binary_cross_entropy(reduction: str) -> None:
    logits = torch.linspace(-30, 30, 9, dtype=torch.float64)[:, None].requires_grad_()
    reference = nn.BCELoss(reduction=reduction)(logits.sigmoid(), torch.ones_like(logits))
    loss = classification_loss(logits, torch.zeros(9, dtype=torch.int64), reduction)  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    share = 1 if reduction == "sum" else 9
    assert torch.allclose(gradient, (logits.sigmoid() - 1) / share, atol=1e-12)


def test_a_hopeless_logit_gives_a_finite_loss() -> None:
    assert float(classification_loss(torch.tensor([[-500.0]]), torch.tensor([0]))) == 500
    assert float(classification_loss(torch.tensor([[-500.0, 500.0]]), torch.tensor([0]))) == 1000


@given(*(st.floats(0, 100),) * 3)
def test_total_loss_is_equation_3(normal: float, classification: float, weight: float) -> None:
    n, c = (torch.tensor(x, dtype=torch.float64) for x in (normal, classification))
    assert float(total_loss(n, c, weight)) == pytest.approx(weight * normal + classification)
    assert float(total_loss(n, c)) == pytest.approx(normal + classification)


def test_weight_0_switches_the_normal_loss_off() -> None:
    a = torch.rand(2, 1, 3, 3, requires_grad=True)
    total_loss(normal_loss(a), torch.tensor(1.0), 0).backward()
    assert a.grad is not None and not a.grad.any()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("classes", [1, 3])
def test_nothing_to_average_is_exactly_0_and_has_a_gradient(reduction: str, classes: int) -> None:
    a = torch.empty(0, 1, 5, 5, requires_grad=True)
    z = torch.empty(0, classes, requires_grad=True)
    loss = total_loss(
        normal_loss(a, reduction),  # type: ignore[arg-type]
        classification_loss(z, torch.empty(0, dtype=torch.int64), reduction),  # type: ignore[arg-type]
        7,
    )
    assert float(loss.detach()) == 0
    loss.backward()
    assert a.grad is not None and a.grad.shape == a.shape
    assert z.grad is not None and z.grad.shape == z.shape


def test_images_do_not_influence_each_other() -> None:
    a, z = torch.rand(4, 1, 3, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    target = torch.tensor([0, 2, 1, 1])
    one_by_one = sum(float(normal_loss(a[i : i + 1])) for i in range(4))
    assert float(normal_loss(a, "sum")) == pytest.approx(one_by_one, rel=1e-12)
    one_by_one = sum(float(classification_loss(z[i : i + 1], target[i : i + 1])) for i in range(4))
    assert float(classification_loss(z, target, "sum")) == pytest.approx(one_by_one, rel=1e-12)


def test_guessing_costs_the_log_of_the_number_of_classes() -> None:
    loss = classification_loss(torch.zeros(2, 5), torch.tensor([1, 4]))
    assert float(loss) == pytest.approx(math.log(5), rel=1e-6)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction is 'max'; expected 'mean' or 'sum'"):
        normal_loss(torch.zeros(1, 1, 2, 2), "max")  # type: ignore[arg-type]
