import math

import pytest
import torch

from pml_proxyext.benchmark import uncertainty
from pml_proxyext.benchmark.recipes import RECIPES
from pml_proxyext.benchmark.results import append_result
from pml_proxyext.benchmark.uncertainty import CONDITIONS, REJECTED
from pml_proxyext.benchmark.uncertainty_report import (
    NORM_TRAINED,
    TABLES,
    conditions_table,
    kinds_table,
    uncertainty_summaries,
    uncertainty_table,
)

NAMES = ["precision_at_1", "median_norm"] + [
    f"{name}_{certainty}"
    for certainty in ("norm", "similarity")
    for name in ("error_auroc", "degraded_auroc", "rejection_area", "rejection_area_normalized")
]


def line(recipe, seed, error_auroc, **scores):
    metrics = {f"{condition}/{name}": 0.5 for condition in CONDITIONS for name in NAMES}
    metrics = {name: score for name, score in metrics.items() if not name.startswith("clean/degraded")}
    metrics |= {"mean_average_precision_at_r": 0.7, "all/error_auroc_norm": error_auroc, **scores}
    return {
        "key": f"{recipe}-{seed}",
        "recipe": recipe,
        "title": recipe.upper(),
        "seed": seed,
        "data": "glyphs",
        "split": "test",
        "steps": 300,
        "overrides": {},
        "metrics": metrics,
        "measurement": uncertainty._measurement(),
        "rejection": {name: [0.3] * len(REJECTED) for name in ("norm", "similarity")},
    }


@pytest.fixture
def results(tmp_path):
    for record in (
        line("arcface", 0, math.nan),
        line("supcon", 0, 0.6),
        line("el_vmf", 0, 0.7),
        line("supcon", 1, 0.62),
        line("el_vmf", 1, 0.9, **{"blur_0.7/error_auroc_similarity": 0.8}),
    ):
        append_result(tmp_path / "uncertainty", record)
    return tmp_path


def cells(table):
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_uncertainty_table_shows_means_and_the_best_first(results):
    rows = cells(uncertainty_table(uncertainty_summaries(results)))
    assert [row["Method"] for row in rows] == ["EL_VMF", "SUPCON", "ARCFACE"]
    assert [row["Norm trained"] for row in rows] == ["yes", "no", "no"]
    assert [row["Error, norm"] for row in rows] == ["80.0 ± 127.1", "61.0 ± 12.7", "nan"]  # t of one degree: 12.706
    assert [row["Seeds"] for row in rows] == ["2", "2", "1"]
    assert {row["R@1"] for row in rows} == {"50.0 ± 0.0", "50.0"}


def test_kinds_table_has_both_certainties_for_each_kind(results):
    header = kinds_table(uncertainty_summaries(results)).header
    assert header[2:-1] == [
        f"{kind}, {name}" for kind in ("Clean", "Blurred", "Occluded", "Mixed") for name in ("norm", "cosine")
    ]


def test_conditions_table_has_a_row_for_each_and_shows_the_papers_loss(results):
    rows = cells(conditions_table(uncertainty_summaries(results)))
    assert [row["Queries"] for row in rows] == [condition.replace("_", " ") for condition in CONDITIONS]
    assert rows[2]["Queries"] == "blur 0.7"
    assert rows[2]["Error, cosine"] == "65.0 ± 190.6"
    assert (rows[0]["Degraded, norm"], rows[1]["Degraded, norm"]) == ("", "50.0 ± 0.0")
    append_result(results / "uncertainty", line("el_nivmf", 0, 0.1))
    assert "EL_NIVMF" in conditions_table(uncertainty_summaries(results)).caption


def test_recipes_can_be_chosen(results):
    assert [summary.recipe for summary in uncertainty_summaries(results, ["supcon"])] == ["supcon"]


def test_without_lines_the_command_is_named(tmp_path):
    with pytest.raises(ValueError, match="results must hold runs measured by the command 'uncertainty', got none"):
        uncertainty_summaries(tmp_path)


def test_every_table_is_markdown_of_one_block(results):
    for make in TABLES.values():
        head, *_ = make(uncertainty_summaries(results)).markdown().split("\n\n")
        assert all(row.startswith("| ") for row in head.splitlines())


def test_norm_trained_is_true_to_the_losses():
    """Doubling the embeddings changes a loss if and only if it looks at the norm."""
    embeddings, labels = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    for recipe in RECIPES.values():
        if recipe.loss is None:
            continue
        sizes = {"num_classes": 3, "embedding_size": 6}
        base = {"proxy_loss": recipe.base.make(**sizes)} if recipe.base else {}
        values = []
        for factor in (1.0, 2.0):
            torch.manual_seed(0)
            loss = recipe.loss.make(**sizes, **base)
            for parameter in loss.parameters():
                if not parameter.any():  # zeros hide the embeddings
                    torch.nn.init.normal_(parameter)
            torch.manual_seed(0)
            values.append(float(loss(factor * embeddings, labels)))
        assert (values[0] != pytest.approx(values[1], rel=1e-4)) == (recipe.name in NORM_TRAINED), recipe.name
