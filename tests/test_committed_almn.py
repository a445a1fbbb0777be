"""What the page of ALMN says of shares, gradients, and N-pairs with as many trials as both had, is in the files."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.tuning import SETTINGS_FILE, read_settings, shipped_settings, trials

RESULTS = Path(__file__).parents[1] / "docs" / "results"
DATA = [pytest.param("glyphs", 16, 5, id="glyphs"), pytest.param("emoji", 24, 10, id="emoji")]
FORMS = ["", "_normalized"]


def score(record: dict[str, Any]) -> float:
    return float(record["metrics"]["mean_average_precision_at_r"])


def of(folder: str, recipe: str) -> list[dict[str, Any]]:
    return [record for record in read_results(RESULTS / folder) if record["recipe"] == recipe]


@pytest.mark.parametrize(("data", "budget", "seeds"), DATA)
@pytest.mark.parametrize("form", FORMS)
def test_npairs_had_as_many_trials_as_both_together(data: str, budget: int, seeds: int, form: str) -> None:
    tried = of(f"search_npairs_{data}", f"npairs{form}")
    first, own = of(f"search_{data}", f"npairs{form}"), of(f"search_{data}", f"almn{form}")
    assert [record["overrides"] for record in tried] == trials(f"npairs{form}", budget)
    assert len(tried) == len(first) + len(own)
    assert [score(record) for record in tried[: len(first)]] == [score(record) for record in first]
    chosen = read_settings(RESULTS / f"search_npairs_{data}" / SETTINGS_FILE, data)[f"npairs{form}"]
    assert chosen == max(tried, key=score)["overrides"]
    assert {str(record["environment"]) for record in tried} == {str(record["environment"]) for record in own}


@pytest.mark.parametrize(("data", "budget", "seeds"), DATA)
@pytest.mark.parametrize("form", FORMS)
def test_what_the_longer_search_chose_has_all_seeds_or_is_what_the_shorter_one_did(
    data: str, budget: int, seeds: int, form: str
) -> None:
    chosen = read_settings(RESULTS / f"search_npairs_{data}" / SETTINGS_FILE, data)[f"npairs{form}"]
    if chosen == shipped_settings(data)[f"npairs{form}"]:
        assert (data, form) != ("emoji", "_normalized")  # the page shows it
        return
    runs, both = of(f"npairs_{data}", f"npairs{form}"), of(f"npairs_{data}", f"almn{form}")
    assert [record["seed"] for record in runs] == [record["seed"] for record in both] == list(range(seeds))
    assert all(record["tuned"] == chosen for record in runs)
    share = shipped_settings(data)[f"almn{form}"]["beta"]
    assert all(record["overrides"] == {**chosen, "beta": share} for record in both)
    assert {record["split"] for record in runs + both} == {"test"}


@pytest.mark.parametrize(
    ("folder", "form"), [*((data, form) for data in ("glyphs", "emoji") for form in FORMS), ("npairs_emoji", FORMS[1])]
)
def test_the_margin_gains(folder: str, form: str) -> None:
    npairs, almn = (mean(map(score, of(folder, f"{name}{form}"))) for name in ("npairs", "almn"))
    assert almn > npairs + 0.003


@pytest.mark.parametrize("data", ["glyphs", "emoji"])
@pytest.mark.parametrize("form", FORMS)
def test_differentiated_margins_harm_the_more_the_larger_the_share(data: str, form: str) -> None:
    base = max(map(score, of(f"search_{data}", f"npairs{form}")))
    own = of(f"search_{data}", f"almn{form}")
    through = [r for r in own if r["overrides"].get("detach_margin") is False]
    by_share = [score(r) for r in sorted(through, key=lambda r: r["overrides"]["beta"])]
    assert by_share == sorted(by_share, reverse=True)
    assert by_share[-1] < base
    assert all(score(r) < base for r in through if r["overrides"]["beta"] > 0.3)
    assert shipped_settings(data)[f"almn{form}"].get("detach_margin", True) is True
