"""Tables and figures of runs on pairs of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from pml_proxyext.benchmark.experiments import draw_seeds, figure_of, interval_text, provenance_text
from pml_proxyext.benchmark.geometry_pairs.arms import TITLES
from pml_proxyext.benchmark.geometry_pairs.pictures import PicturePair
from pml_proxyext.benchmark.tables import TextTable

__all__ = ["draw_matches", "draw_rounds", "num_rounds", "rounds_table", "values"]

_Records = Sequence[dict[str, Any]]

_LABELS = {"kept": "Kept", "precision": "Right of those", "right": "Right of all"}
_SCORES = {"recall": "Recall", "inlier_ratio": "Right matches", "feature_match_recall": "Pairs with > 5 % right"}


def values(records: _Records, recipe: str, metric: str) -> list[float]:
    """Return a metric of all seeds of an arm."""
    return [record["metrics"][metric] for record in records if record["recipe"] == recipe]


def num_rounds(records: _Records, recipe: str) -> int:
    """Return how many rounds an arm has, 0 for one without."""
    (first, *_) = (record["metrics"] for record in records if record["recipe"] == recipe)
    return sum(name.startswith("recall_") for name in first)


def rounds_table(records: _Records, right: str) -> TextTable:
    """Return a row for each arm, or for each of its rounds.

    Args:
        records: result lines of all seeds.
        right: when a fit is right, in words.
    """
    rows = []
    for recipe, title in TITLES.items():
        if all(record["recipe"] != recipe for record in records):
            continue
        rounds = num_rounds(records, recipe)
        for suffix in [f"_{number}" for number in range(rounds)] or [""]:
            row = [f"{title}, round {suffix[1:]}" if suffix else title]
            row += [interval_text(values(records, recipe, name + suffix), 1, 100) for name in _SCORES]
            labels = [f"{name}{suffix}" for name in _LABELS] if rounds else []
            rows.append(
                [*row, *([interval_text(values(records, recipe, name), 1, 100) for name in labels] or [""] * 3)]
            )
    caption = (
        f"Percent (%); recall: share of test pairs whose fit is right, {right}; labels of the training pairs, which "
        f"the student of the round learnt from: kept by the verifier, right of those kept, right of all; mean ± 95% "
        f"interval over {len({record['seed'] for record in records})} seeds (Student's t); "
    )
    header = ["Matches by", *_SCORES.values(), *_LABELS.values()]
    return TextTable(header, rows, caption + provenance_text(records), words=("Matches by",))


def draw_rounds(records: _Records) -> Figure:
    """Draw recall and right matches, and what the labels were worth, from round to round."""
    panels = ["recall of test pairs", "right matches of test pairs", "labels of training pairs, with verifier"]
    figure, axes = figure_of("percent: mean, lowest and highest seed", panels)
    rounds = num_rounds(records, "sgp")
    x = list(range(rounds))

    def draw(one: Any, recipe: str, metric: str, label: str, colour: int) -> None:
        columns = [values(records, recipe, f"{metric}_{number}") for number in x]
        draw_seeds(one, x, [[100 * value for value in run] for run in zip(*columns, strict=True)], label, colour)

    for one, metric in zip(axes, ("recall", "inlier_ratio"), strict=False):
        for colour, recipe in enumerate(("sgp", "no_verifier")):
            draw(one, recipe, metric, TITLES[recipe], colour * 3)
        for style, recipe in (("--", "oracle"), (":", "bootstrap")):
            level = 100 * float(np.mean(values(records, recipe, metric)))
            one.axhline(level, color="0.3", linestyle=style, label=TITLES[recipe])
    for colour, (metric, label) in enumerate(_LABELS.items()):
        draw(axes[2], "sgp", metric, label, colour * 2)
    for one in axes:
        one.set(xticks=x, xlabel="round")
        one.legend(frameon=False, fontsize="small", loc="best")
    return figure


def draw_matches(rows: Sequence[tuple[PicturePair, Mapping[str, tuple[Sequence[Sequence[int]], Tensor]]]]) -> Figure:
    """Draw the matches of pairs of pictures, right ones in blue over wrong ones in orange.

    Args:
        rows: a pair of pictures each, and by the title of the panel indices of corners ``(M, 2)`` and which of these
            matches are right ``(M,)``.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(4.2 * columns, 2.4 * len(rows)), dpi=120, layout="constrained")
    axes = np.ravel(figure.subplots(len(rows), columns, squeeze=False))
    panels = [(pair, title, *of_title) for pair, by_title in rows for title, of_title in by_title.items()]
    for one, (pair, title, found, right) in zip(axes, panels, strict=True):
        shift = pair.picture_a.shape[1]
        one.imshow(np.concatenate([pair.picture_a, pair.picture_b], axis=1), cmap="gray")
        matches = np.array(found, dtype=np.int64).reshape(-1, 2)
        a, b = pair.corners.points_a.numpy()[matches[:, 0]], pair.corners.points_b.numpy()[matches[:, 1]]
        for wanted, colour in ((False, "#E69F00"), (True, "#56B4E9")):
            for start, stop in zip(a[right.numpy() == wanted], b[right.numpy() == wanted], strict=True):
                one.add_line(Line2D([start[0], stop[0] + shift], [start[1], stop[1]], color=colour, linewidth=0.6))
        one.set_title(f"{title}: {int(right.sum())} of {len(right)} right", fontsize="medium")
        one.set_axis_off()
    return figure
