"""What the page of very many classes shows is rendered from committed result files, and says what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.committed import assert_complete, assert_page_shows, assert_tables_are_rendered, load_example, records

PAGE = "cost_model.md"
SCRIPT = load_example("cost_model")


def test_the_page_shows_every_table_once_and_the_figure() -> None:
    assert_page_shows(PAGE, [SCRIPT.EXPERIMENT], ["cost_model"])


def test_tables_are_rendered_from_a_complete_committed_file(tmp_path: Path) -> None:
    assert_tables_are_rendered(PAGE, SCRIPT.EXPERIMENT, tmp_path)
    assert_complete(SCRIPT.EXPERIMENT)
    assert all(setting.items() <= record.items() for setting, record in zip(_in_order(), _ordered(), strict=True))


def _in_order() -> list[dict[str, object]]:
    return sorted(SCRIPT.EXPERIMENT.settings, key=lambda one: ", ".join(f"{k} {v}" for k, v in one.items()))


def _ordered() -> list[dict[str, object]]:
    return sorted(records("cost_model"), key=lambda one: one["key"])


def test_modes_and_ranks_find_the_same_value() -> None:
    """To rounding of float32: at a temperature of 1/100, logits of EL-vMF are thousands."""
    values: dict[tuple[object, ...], list[float]] = {}
    for record in records("cost_model"):
        if record["recipe"] != "machine":
            case = tuple(record[name] for name in ("recipe", "seed", "batch", "classes", "dim"))
            values.setdefault(case, []).append(record["metrics"]["value"])
    assert len(values) == 3 * SCRIPT.SEEDS * (len(SCRIPT.SHAPES) + 1)
    for found in values.values():
        assert len(found) in (2, 5)
        assert found == pytest.approx([found[0]] * len(found), rel=1e-4)


def test_chunks_and_ranks_need_less_memory() -> None:
    """Chunks where the similarities are large, and every further rank."""
    found = records("cost_model")

    def megabytes(**wanted: object) -> list[float]:
        return [r["metrics"]["megabytes"] for r in found if wanted.items() <= r.items()]

    large = {"batch": 256, "classes": 64_000, "dim": 128}
    for name in SCRIPT.TITLES:
        whole, chunked = (megabytes(recipe=name, mode=mode, **large) for mode in ("whole", "chunked"))
        assert max(chunked) < min(whole) / 2, name
        means = [sum(megabytes(recipe=name, mode="sharded", ranks=ranks)) / SCRIPT.SEEDS for ranks in (1, 2, 4)]
        assert means[0] > means[1] > means[2], name


def test_the_model_says_what_was_measured() -> None:
    """Within a factor that the page shows: half of the measurements are nearer than this."""
    for name, mode, fit in SCRIPT.fits(records("cost_model")):
        assert fit.time_error < 0.35, (name, mode)
        assert fit.memory_error < 0.35, (name, mode)
        assert 0 < fit.efficiency <= 1
