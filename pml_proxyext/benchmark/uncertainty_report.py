"""Tables of what norms know of errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pml_proxyext.benchmark.report import provenance_line
from pml_proxyext.benchmark.summaries import Estimate, Summary, select, summarise
from pml_proxyext.benchmark.tables import TextTable
from pml_proxyext.benchmark.uncertainty import CONDITIONS, read_uncertainty

__all__ = [
    "NORM_TRAINED",
    "TABLES",
    "conditions_table",
    "estimate",
    "kinds_table",
    "uncertainty_summaries",
    "uncertainty_table",
]

#: The recipes whose loss looks at the norm of an embedding; all others look at its direction alone.
NORM_TRAINED = (
    *("el_nivmf", "el_nivmf_guided", "el_vmf", "b_vmf", "kl_vmf", "nivmf_l2"),
    *("cross_entropy", "pairwise_cross_entropy", "simplified_pairwise_cross_entropy"),
    *("npairs", "almn"),
)

_KINDS = {"clean": "clean", "blur": "blurred", "occlusion": "occluded", "mixture": "mixed"}
_INTERVAL = "percent, mean ± 95% confidence interval over seeds (Student's t)"
_AUROC = "50 is chance"


def uncertainty_summaries(
    results: Path, recipes: Sequence[str] | None = None, split: str = "test", smoke: bool = False
) -> list[Summary]:
    """Return the measured runs by method; the one whose norm knows most of its errors comes first, NaN last.

    Raises:
        ValueError: if no run has been measured.
    """
    lines = read_uncertainty(results)
    if not lines:
        raise ValueError(f"results must hold runs measured by the command 'uncertainty', got none in {results}")
    summaries = summarise(select(lines, split, smoke, recipes))
    scores = {id(summary): estimate(summary, "all/error_auroc_norm").mean for summary in summaries}
    return sorted(summaries, key=lambda summary: (scores[id(summary)] != scores[id(summary)], -scores[id(summary)]))


def estimate(summary: Summary, name: str) -> Estimate:
    """Return mean and interval of a score by its name, as in ``"blur/error_auroc_norm"``."""
    return Estimate.of([run["metrics"][name] for run in summary.runs])


def uncertainty_table(summaries: Sequence[Summary]) -> TextTable:
    """Return one row for each method: all queries together, clean and degraded."""
    scores = {
        "R@1": "precision_at_1",
        "Error, norm": "error_auroc_norm",
        "Error, cosine": "error_auroc_similarity",
        "Area, norm": "rejection_area_normalized_norm",
        "Area, cosine": "rejection_area_normalized_similarity",
        "Degraded, norm": "degraded_auroc_norm",
        "Degraded, cosine": "degraded_auroc_similarity",
    }
    legend = [
        "norm: of the embedding; cosine: with the nearest neighbour, a certainty that every method has",
        f"Error, Degraded: AUROC of a query being wrong, or degraded, by a small certainty, {_AUROC}",
        "Area: under error over rejection, 0 is the best order and 100 a random one",
        "Norm trained: whether the loss looks at the norm at all",
    ]
    columns = {header: f"all/{name}" for header, name in scores.items()}
    return _table(summaries, columns, ["clean and degraded queries together", *legend])


def kinds_table(summaries: Sequence[Summary]) -> TextTable:
    """Return one row for each method: the AUROC of an error for each kind of query, by norm and by cosine."""
    columns = {
        f"{kind.capitalize()}, {word}": f"{condition}/error_auroc_{name}"
        for condition, kind in _KINDS.items()
        for name, word in (("norm", "norm"), ("similarity", "cosine"))
    }
    return _table(summaries, columns, [f"AUROC of a query being wrong by a small certainty, {_AUROC}"])


def conditions_table(summaries: Sequence[Summary]) -> TextTable:
    """Return one row for each level of degradation, for EL-nivMF, the paper's loss, or else the first method."""
    summary = next((each for each in summaries if each.recipe == "el_nivmf"), summaries[0])
    columns = {
        "R@1": "precision_at_1",
        "Error, norm": "error_auroc_norm",
        "Error, cosine": "error_auroc_similarity",
        "Degraded, norm": "degraded_auroc_norm",
        "Degraded, cosine": "degraded_auroc_similarity",
    }
    rows = [
        [
            condition.replace("_", " "),
            *(
                str(estimate(summary, f"{condition}/{name}"))
                if f"{condition}/{name}" in summary.runs[0]["metrics"]
                else ""
                for name in columns.values()
            ),
        ]
        for condition in CONDITIONS
    ]
    parts = [summary.label, f"AUROC of a query being wrong, or degraded, by a small certainty, {_AUROC}", _INTERVAL]
    return TextTable(["Queries", *columns], rows, provenance_line([summary], parts), words=("Queries",))


def _table(summaries: Sequence[Summary], columns: Mapping[str, str], parts: Sequence[str]) -> TextTable:
    rows = [
        [
            summary.label,
            "yes" if summary.recipe in NORM_TRAINED else "no",
            *(str(estimate(summary, name)) for name in columns.values()),
            str(len(summary.runs)),
        ]
        for summary in summaries
    ]
    header = ["Method", "Norm trained", *columns, "Seeds"]
    caption = provenance_line(summaries, [*parts, _INTERVAL])
    return TextTable(header, rows, caption, words=("Method", "Norm trained"))


#: The tables by the kind of their place in a page, as in ``<!-- uncertainty:glyphs -->``.
TABLES = {
    "uncertainty": uncertainty_table,
    "uncertainty_kinds": kinds_table,
    "uncertainty_conditions": conditions_table,
}
