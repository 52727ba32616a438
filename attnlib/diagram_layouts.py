"""Where everything stands in Figs. 1, 2, 4 and 5: layouts as data, in inches.

Each function returns a `Layout`; `attnlib.diagrams` draws it. The positions are written out, as
in a drawing: the tests check that no two texts overlap and that arrows meet their blocks.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

from attnlib.diagram_parts import (
    LANGUAGES,
    Arrow,
    Block,
    Label,
    Language,
    Layout,
    Role,
    Sample,
    check_language,
)
from attnlib.diagram_text import WORDS
from attnlib.trace import FLOWCHART, STEP_UNITS

SHAPE_UNITS: Mapping[str, int] = MappingProxyType(
    {"M": 11, "E": 11, "F": 12, "A": 13, "G": 14, "V1": 15, "C": 15}
)
"""Symbols whose tensor shape can be shown, and the unit that shows it."""

HARDWARE: tuple[str, ...] = ("81", "82", "83", "84", "85", "86", "87")
LONGEST_SHAPE = 19  # characters that fit into a unit
MOST_LINES = 7  # lines of description that fit into a hardware block
MOST_VISITS = 999_999  # the largest count that fits on a badge
UNIT_WIDTH = 1.7
UNIT_HEIGHT = 1.05


def _word(language: Language, key: str) -> str:
    return WORDS[key][LANGUAGES.index(language)]


def _shape_lines(shapes: Mapping[str, str] | None, symbols: tuple[str, ...]) -> dict[int, str]:
    """The tensor shape to note in each unit, after checking what was asked for."""
    lines: dict[int, str] = {}
    for symbol, text in (shapes or {}).items():
        if symbol not in SHAPE_UNITS:
            known = ", ".join(SHAPE_UNITS)
            raise ValueError(f"shapes has the unknown symbol {symbol!r}; known: {known}")
        if not 0 < len(text) <= LONGEST_SHAPE or "\n" in text or "$" in text:
            raise ValueError(
                f"shapes[{symbol!r}] must be one line of 1 to {LONGEST_SHAPE} characters"
                f" without '$', got {text!r}"
            )
        unit = SHAPE_UNITS[symbol]
        if symbol in symbols:
            # Unit 11 is narrow: its shape is broken into two lines.
            lines[unit] = _wrap(text, 10) if unit == 11 else text
            if lines[unit].count("\n") > 1:
                raise ValueError(f"shapes[{symbol!r}] does not fit into unit 11: {text!r}")
    return lines


def _map_units(
    language: Language, shapes: dict[int, str], upper: float, lower: float, role: Role
) -> tuple[Block, ...]:
    """Units 11 to 15 and the frame of model 500, arranged alike in Figs. 1 and 4."""

    def unit(number: int, x: float, y: float, w: float, role: Role, more: str = "") -> Block:
        text, note = _word(language, f"unit-{number}") + more, shapes.get(number, "")
        key = f"unit-{number}"
        return Block(key, x, y, w, UNIT_HEIGHT, str(number), text, role=role, note=note)

    product = "\n$G_{ijk} = F_{ijk}\\, A_{ij}$"
    middle, height = (upper + lower) / 2 + 0.2, upper - lower + UNIT_HEIGHT + 0.65
    title = _word(language, "model-500")
    return (
        Block("model-500", 5.2, middle, 4.2, height, "500", title, "frame"),
        unit(11, 2.12, lower, 1.0, "plain"),
        unit(12, 4.13, lower, UNIT_WIDTH, "plain"),
        unit(13, 6.28, lower, UNIT_WIDTH, "plain"),
        unit(14, 4.13, upper, UNIT_WIDTH, role, product),
        unit(15, 6.28, upper, UNIT_WIDTH, role),
    )


def _images(language: Language, data: str, y: float, roles: tuple[Role, Role]) -> tuple[Block, ...]:
    """Images 100 and 200 in the frame of the data they belong to."""
    return (
        Block(data, 0.62, y + 0.33, 1.14, 2.36, "", _word(language, data), "frame"),
        Block("image-100", 0.62, y + 0.38, 0.98, 0.56, "100", _word(language, "image-100")),
        Block("image-200", 0.62, y - 0.42, 0.98, 0.56, "200", _word(language, "image-200")),
    )


def _by_key(*blocks: Block) -> dict[str, Block]:
    return {block.key: block for block in blocks}


def _straight(
    blocks: dict[str, Block], source: str, target: str, role: Role = "plain", shift: float = 0.0
) -> Arrow:
    """A horizontal arrow to the right, ``shift`` inches above the middle of the target."""
    start, stop = blocks[source], blocks[target]
    y = stop.y + shift
    return Arrow(source, target, ((start.bounds[2], y), (stop.bounds[0], y)), role)


def training_device_layout(
    *, language: str = "en", shapes: Mapping[str, str] | None = None
) -> Layout:
    """Layout of Fig. 1; see `attnlib.diagrams.draw_training_device`."""
    lang = check_language(language)

    def word(key: str) -> str:
        return _word(lang, key)

    upper, lower, base, step = 3.9, 2.25, 0.7, 0.22
    normal_loss = word("unit-16") + "\n$L_{normal} = \\frac{1}{N} \\sum A_1$"
    classification_loss = word("unit-17") + "\n" + word("cross-entropy")
    total_loss = word("unit-18") + "\n$L = W_{normal} L_{normal} + L_{classify}$"
    update = word("unit-19") + "\n$P \\leftarrow P - \\eta\\, \\partial L / \\partial P$"
    shape_lines = _shape_lines(shapes, ("M", "F", "A", "G", "V1"))
    images = _images(lang, "data-T", lower, ("normal", "abnormal"))
    b = _by_key(
        Block("device-1", 5.68, 2.9, 8.48, 5.6, "1", word("device-1"), "frame"),
        images[0],
        replace(images[1], role="normal"),
        replace(images[2], role="abnormal"),
        *_map_units(lang, shape_lines, upper, lower, "abnormal"),
        Block("unit-16", 8.56, lower, UNIT_WIDTH, UNIT_HEIGHT, "16", normal_loss, role="normal"),
        Block(
            "unit-17", 8.56, upper, UNIT_WIDTH, UNIT_HEIGHT, "17", classification_loss,
            role="abnormal",
        ),
        Block("unit-18", 7.96, base, 2.9, 0.8, "18", total_loss),
        Block("unit-19", 4.95, base, 2.1, 0.8, "19", update),
    )  # fmt: skip
    top_13, top_11 = b["unit-13"].side("top"), b["unit-11"].side("top")
    bottom_14, top_17 = b["unit-14"].side("bottom"), b["unit-17"].side("top")
    bottom_16, top_18 = b["unit-16"].side("bottom"), b["unit-18"].bounds[3]
    top_19, model_bottom = b["unit-19"].side("top"), b["model-500"].bounds[1]
    across, over, bypass = 3.0, 5.12, 9.66
    arrows = (
        _straight(b, "image-100", "unit-11", "normal", step),
        _straight(b, "image-200", "unit-11", "abnormal", -step),
        _straight(b, "unit-11", "unit-12", "normal", step),
        _straight(b, "unit-11", "unit-12", "abnormal", -step),
        _straight(b, "unit-12", "unit-13", "normal", step),
        _straight(b, "unit-12", "unit-13", "abnormal", -step),
        _straight(b, "unit-13", "unit-16", "normal"),
        Arrow(
            "unit-13",
            "unit-14",
            (top_13, (top_13[0], across), (bottom_14[0], across), bottom_14),
            "abnormal",
        ),
        _straight(b, "unit-14", "unit-15", "abnormal"),
        _straight(b, "unit-15", "unit-17", "abnormal"),
        Arrow(
            "unit-11",
            "unit-17",
            (top_11, (top_11[0], over), (top_17[0], over), top_17),
            "abnormal",
        ),
        Arrow("unit-16", "unit-18", (bottom_16, (bottom_16[0], top_18)), "normal"),
        Arrow(
            "unit-17",
            "unit-18",
            (
                b["unit-17"].side("right"),
                (bypass, upper),
                (bypass, base),
                b["unit-18"].side("right"),
            ),
            "abnormal",
        ),
        Arrow("unit-18", "unit-19", (b["unit-18"].side("left"), b["unit-19"].side("right"))),
        Arrow("unit-19", "model-500", (top_19, (top_19[0], model_bottom)), "update"),
    )
    above = 0.19
    labels = (
        Label(2.86, lower + step + above, "$M$"),
        Label(5.2, lower + step + above, "$F_1$", "normal"),
        Label(5.2, lower - step - above, "$F_2$", "abnormal"),
        Label(7.5, lower + above, "$A_1$", "normal"),
        Label(5.2, across + above, "$F_2,\\ A_2$", "abnormal"),
        Label(5.2, upper + above, "$G$", "abnormal"),
        Label(7.5, upper + above, "$V_1$", "abnormal"),
        Label(5.3, over + above - 0.02, word("V2"), "abnormal"),
        Label(8.66, 1.44, "$L_{normal}$", "normal", "left"),
        Label(9.58, 3.06, "$L_{classify}$", "abnormal", "right"),
        Label(6.26, base + above, "$L$"),
        Label(5.05, 1.37, word("P"), "update", "left"),
        *(Label(2.16, 1.1 - 0.32 * row, word(key), role, "left")
          for row, (key, role) in enumerate(_LEGEND)),
    )  # fmt: skip
    samples = tuple(Sample(1.56, 1.1 - 0.32 * row, role) for row, (_, role) in enumerate(_LEGEND))
    return Layout(10, 5.9, lang, tuple(b.values()), arrows, labels, samples)


_LEGEND: tuple[tuple[str, Role], ...] = (
    ("path-normal", "normal"),
    ("path-abnormal", "abnormal"),
    ("path-update", "update"),
)


def inference_device_layout(
    *, language: str = "en", shapes: Mapping[str, str] | None = None
) -> Layout:
    """Layout of Fig. 4; see `attnlib.diagrams.draw_inference_device`."""
    lang = check_language(language)
    upper, lower, step = 2.7, 1.05, 0.22
    b = _by_key(
        Block("device-2", 5.15, 2.25, 7.42, 4.1, "2", _word(lang, "device-2"), "frame"),
        *_images(lang, "data-E", lower, ("plain", "plain")),
        *_map_units(lang, _shape_lines(shapes, ("E", "F", "A", "G", "C")), upper, lower, "plain"),
        Block("unit-20", 8.16, (upper + lower) / 2, 0.96, 2.7, "20", _word(lang, "unit-20")),
        Block("output-C", 9.5, upper, 0.8, 0.7, "", _word(lang, "what")),
        Block("output-A", 9.5, lower, 0.8, 0.7, "", _word(lang, "where")),
    )
    top_13, bottom_14, across = b["unit-13"].side("top"), b["unit-14"].side("bottom"), lower + 0.75
    right = b["unit-20"].bounds[0]
    arrows = (
        _straight(b, "image-100", "unit-11", shift=step),
        _straight(b, "image-200", "unit-11", shift=-step),
        _straight(b, "unit-11", "unit-12"),
        _straight(b, "unit-12", "unit-13"),
        Arrow(
            "unit-13", "unit-14", (top_13, (top_13[0], across), (bottom_14[0], across), bottom_14)
        ),
        _straight(b, "unit-14", "unit-15"),
        Arrow("unit-15", "unit-20", (b["unit-15"].side("right"), (right, upper))),
        Arrow("unit-13", "unit-20", (b["unit-13"].side("right"), (right, lower))),
        _straight(b, "unit-20", "output-C"),
        _straight(b, "unit-20", "output-A"),
    )
    above = 0.19
    labels = (
        Label(2.86, lower + above, "$E$"),
        Label(5.2, lower + above, "$F$"),
        Label(5.2, across + above, "$F,\\ A$"),
        Label(5.2, upper + above, "$G$"),
        Label(7.49, upper + above, "$C$"),
        Label(7.49, lower + above, "$A$"),
    )
    return Layout(10, 4.5, lang, tuple(b.values()), arrows, labels)


_STEP_PLACES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "start": (1.8, 5.62),
        "S101": (1.8, 4.82),
        "S102": (1.8, 3.92),
        "S103": (1.8, 3.02),
        "S104": (1.8, 2.12),
        "S105": (1.8, 1.22),
        "S106": (5.1, 5.2),
        "S107": (8.25, 5.2),
        "S108": (5.1, 3.82),
        "S109": (5.1, 2.92),
        "S110": (5.1, 2.02),
        "S111": (8.25, 4.26),
        "S112": (8.25, 3.2),
        "S113": (8.25, 2.06),
        "S114": (8.25, 1.02),
        "end": (5.1, 1.02),
    }
)
_BRANCH_ROLES: Mapping[str, Role] = MappingProxyType(
    {"S107": "normal", "S108": "abnormal", "S109": "abnormal", "S110": "abnormal"}
)


def _step_block(language: Language, step: str, counts: Mapping[str, int] | None) -> Block:
    """The block of one step, lit up or grey when counts are given."""
    x, y = _STEP_PLACES[step]
    text = _word(language, step)
    if step in ("start", "end"):
        return Block(step, x, y, 1.1, 0.38, "", text, "round")
    unit = STEP_UNITS[step]
    name = f"unit {unit}" if language == "en" else f"{_word(language, f'unit-{unit}')} {unit}"
    name = name.replace("\n", "")
    role, count, lit = _BRANCH_ROLES.get(step, "plain"), "", False
    if counts is not None:
        lit = counts.get(step, 0) > 0
        role = role if lit else "faint"
        count = f"×{counts.get(step, 0):,}"
    if step in ("S106", "S112", "S114"):
        return Block(step, x, y, 2.4, 0.98, step, text, "decision", role, count, "", lit)
    return Block(step, x, y, 2.5, 0.62, step, text, "box", role, count, name, lit)


def flowchart_layout(*, language: str = "en", counts: Mapping[str, int] | None = None) -> Layout:
    """Layout of Fig. 2; see `attnlib.diagrams.draw_flowchart`."""
    lang = check_language(language)
    for step, number in (counts or {}).items():
        if step not in FLOWCHART:
            raise ValueError(f"counts has the unknown step {step!r}; known: S101 to S114")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"counts[{step!r}] must be a whole number >= 0, got {number!r}")
        if number > MOST_VISITS:
            raise ValueError(f"counts[{step!r}] must be at most {MOST_VISITS}, got {number}")
    b = _by_key(*(_step_block(lang, step, counts) for step in _STEP_PLACES))

    def down(source: str, target: str, role: Role = "plain") -> Arrow:
        return Arrow(source, target, (b[source].side("bottom"), b[target].side("top")), role)

    left_of, right_of = (
        {key: block.side("left") for key, block in b.items()},
        {key: block.side("right") for key, block in b.items()},
    )
    top, bottom, outer_left, outer_right, image_lane, lane, gutter = (
        6.02, 0.3, 0.22, 9.78, 3.34, 3.62, 6.68,
    )  # fmt: skip
    chain = ("start", "S101", "S102", "S103", "S104", "S105")
    arrows = (
        *(down(first, second) for first, second in pairwise(chain)),
        Arrow(
            "S105",
            "S106",
            (right_of["S105"], (lane, b["S105"].y), (lane, b["S106"].y), left_of["S106"]),
        ),
        Arrow("S106", "S107", (right_of["S106"], left_of["S107"]), "normal"),
        down("S106", "S108", "abnormal"),
        down("S108", "S109", "abnormal"),
        down("S109", "S110", "abnormal"),
        Arrow(
            "S110",
            "S111",
            (right_of["S110"], (gutter, b["S110"].y), (gutter, b["S111"].y), left_of["S111"]),
            "abnormal",
        ),
        down("S107", "S111", "normal"),
        down("S111", "S112"),
        down("S112", "S113"),
        down("S113", "S114"),
        Arrow("S114", "end", (left_of["S114"], right_of["end"])),
        Arrow(
            "S112",
            "S103",
            (
                right_of["S112"],
                (outer_right, b["S112"].y),
                (outer_right, top),
                (image_lane, top),
                (image_lane, b["S103"].y),
                right_of["S103"],
            ),
        ),
        Arrow(
            "S114",
            "S101",
            (
                b["S114"].side("bottom"),
                (b["S114"].x, bottom),
                (outer_left, bottom),
                (outer_left, b["S101"].y),
                left_of["S101"],
            ),
        ),
    )

    if counts is not None:
        # An arrow from or to a step that was never executed was not taken either.
        unused = {step for step in FLOWCHART if not counts.get(step)}
        arrows = tuple(
            replace(arrow, role="faint") if {arrow.source, arrow.target} & unused else arrow
            for arrow in arrows
        )

    def word(key: str) -> str:
        return _word(lang, key)

    labels = (
        Label(6.68, 5.36, word("yes"), "normal"),
        Label(5.2, 4.5, word("no"), "abnormal", "left"),
        Label(8.35, 2.57, word("yes"), ha="left"),
        Label(6.75, 1.18, word("yes")),
        Label(6.5, 6.18, word("next-image")),
        Label(4.3, 0.46, word("next-minibatch")),
    )
    return Layout(10, 6.35, lang, tuple(b.values()), arrows, labels)


def _wrap(text: str, columns: int) -> str:
    """Break long lines; a full-width character takes two columns."""
    lines: list[str] = []
    for line in text.split("\n"):
        width = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line)
        fits = columns if width == len(line) else columns // 2
        lines += [line] if width <= columns else textwrap.wrap(line, fits)
    return "\n".join(lines)


def hardware_layout(*, language: str = "en", machine: Mapping[str, str] | None = None) -> Layout:
    """Layout of Fig. 5; see `attnlib.diagrams.draw_hardware`."""
    lang = check_language(language)
    unknown = sorted(set(machine or {}) - set(HARDWARE))
    if unknown:
        raise ValueError(f"machine has the unknown parts {unknown}; known: {list(HARDWARE)}")

    def part(number: str, x: float, y: float, w: float, h: float, columns: int, most: int) -> Block:
        text = (machine or {}).get(number, _word(lang, f"role-{number}")).replace("$", r"\$")
        text = _wrap(text, columns)
        if text.count("\n") >= most:
            raise ValueError(f"machine[{number!r}] is too long for its block: {text!r}")
        title = _word(lang, f"hw-{number}")
        return Block(f"hw-{number}", x, y, w, h, number, title, note=text)

    bus_y, high = 2.05, 1.95 if machine else 1.2
    upper, lower = bus_y + 0.68 + high / 2, bus_y - 1.2
    top = upper + high / 2 + 0.62
    columns, most = 23, MOST_LINES if machine else 3
    title = _word(lang, "device")
    b = _by_key(
        Block("device", 5.0, (top + 0.12) / 2, 9.84, top - 0.12, "", title, "frame"),
        Block("bus", 5.0, bus_y, 9.4, 0.34, "", _word(lang, "bus"), role="dark"),
        *(part(number, 1.4 + 2.4 * at, upper, 2.2, high, columns, most)
          for at, number in enumerate(HARDWARE[:4])),
        *(part(number, 1.9 + 3.1 * at, lower, 2.6, 1.0, columns + 5, 3)
          for at, number in enumerate(HARDWARE[4:])),
    )  # fmt: skip
    arrows = []
    for number in HARDWARE:
        block = b[f"hw-{number}"]
        above = block.y > bus_y
        start = block.side("bottom" if above else "top")
        stop = (block.x, b["bus"].bounds[3 if above else 1])
        arrows.append(Arrow(block.key, "bus", (start, stop), both_ends=True))
    return Layout(10, top + 0.12, lang, tuple(b.values()), tuple(arrows))
