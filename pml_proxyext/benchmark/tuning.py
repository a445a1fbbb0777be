"""The same search for every method: as many trials each, scored on validation classes, written down line by line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from pml_proxyext.benchmark.files import write_whole
from pml_proxyext.benchmark.jobs import run_all
from pml_proxyext.benchmark.recipes import get_recipe
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run
from pml_proxyext.benchmark.search_spaces import Dimension, search_space
from pml_proxyext.utils.checks import check_integer

__all__ = [
    "SETTINGS_FILE",
    "choose",
    "draw_settings",
    "read_settings",
    "shipped_settings",
    "trials",
    "tune",
    "write_settings",
]

#: Name of the file of chosen settings in a folder of a search.
SETTINGS_FILE = "settings.json"

_SCORE = "mean_average_precision_at_r"
_SHIPPED = Path(__file__).parent / "settings"

Settings = Mapping[str, Any]


def trials(recipe: str, budget: int, base_settings: Settings | None = None) -> list[dict[str, Any]]:
    """Return the settings to try: the recipe's own first, then points of a scrambled Halton sequence in its space.

    The sequence depends on the name of the recipe and on nothing else, so a search with a larger budget begins with
    the trials of a smaller one.

    Args:
        recipe: its name.
        budget: how many to try; a recipe without anything to search has one trial.
        base_settings: what was chosen for the base, for a loss that keeps it: every trial has them.

    Example:
        >>> trials("supcon", 2)
        [{}, {'lr': 0.00831, 'images_per_class': 4, 'temperature': 0.192}]
    """
    check_integer("budget", budget)
    space = search_space(recipe)
    inherited = get_recipe(recipe).over_base(base_settings or {})
    if not space:
        return [inherited]
    return [inherited, *({**inherited, **trial} for trial in draw_settings(space, budget - 1, recipe))]


def draw_settings(space: Mapping[str, Dimension], count: int, name: str) -> list[dict[str, Any]]:
    """Return the first points of the scrambled Halton sequence that belongs to a name.

    Two spaces that begin with the same settings have the same values of them under one name.

    Example:
        >>> from pml_proxyext.benchmark.search_spaces import LogUniform
        >>> draw_settings({"lr": LogUniform(1e-3, 1e-1)}, 2, "a name")
        [{'lr': 0.0243}, {'lr': 0.00243}]
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    points = qmc.Halton(len(space), scramble=True, seed=seed).random(count)
    return [{key: space[key].at(float(u)) for key, u in zip(space, point, strict=True)} for point in points]


def tune(
    recipes: Sequence[str], data: str, budget: int, directory: Path, *, smoke: bool = False, **options: Any
) -> dict[str, dict[str, Any]]:
    """Try settings for each recipe on the validation classes, with seed 0, and return the best of each.

    Every trial is a run of its own with a line in ``directory``; trials that have one are not repeated, and an
    interrupted search goes on. All recipes have their first trial before any has its second. Losses over a base, and
    others that keep its settings, come last, with the base's best settings; a base not named is searched along.

    Args:
        recipes: their names.
        data: name of the data set.
        budget: trials for each.
        directory: where the lines go, and the chosen settings into :data:`SETTINGS_FILE`.
        smoke: whether to train and evaluate on next to nothing.
        **options: of :func:`~pml_proxyext.benchmark.jobs.run_all`.

    Returns:
        from each recipe to its settings.
    """
    over_base = [name for name in recipes if get_recipe(name).base is not None or get_recipe(name).keeps_settings]
    bases = [str(get_recipe(name).compared_with) for name in over_base]
    alone = list(dict.fromkeys([*(name for name in recipes if name not in over_base), *bases]))
    chosen: dict[str, dict[str, Any]] = {}
    for names in (alone, over_base):
        tried = {
            name: [
                Run(name, data=data, split="validation", overrides=trial, smoke=smoke)
                for trial in trials(name, budget, chosen.get(get_recipe(name).compared_with or ""))
            ]
            for name in names
        }
        rounds = range(max(map(len, tried.values()), default=0))
        run_all([runs[i] for i in rounds for runs in tried.values() if i < len(runs)], directory, **options)
        chosen |= choose(tried, read_results(directory))
    write_settings(directory / SETTINGS_FILE, data, budget, chosen)
    return chosen


def choose(tried: Mapping[str, Sequence[Run]], records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the settings of the best MAP@R among the trials of each recipe; one that diverged is the worst."""
    scores = {record["key"]: record["metrics"].get(_SCORE, math.nan) for record in records}

    def score(run: Run) -> float:
        value = scores.get(run.key, math.nan)
        return -math.inf if math.isnan(value) else value

    return {name: dict(max(runs, key=score).overrides) for name, runs in tried.items()}


def write_settings(path: Path, data: str, budget: int, settings: Mapping[str, Settings]) -> None:
    """Write chosen settings as JSON, whole or not at all."""
    text = json.dumps({"data": data, "trials": budget, "settings": settings}, indent=1, sort_keys=True)
    write_whole(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def read_settings(path: Path, data: str) -> dict[str, dict[str, Any]]:
    """Read chosen settings.

    Raises:
        ValueError: if there is no such file, it does not hold settings, or those of another data set.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored_data, settings = stored["data"], {name: dict(values) for name, values in stored["settings"].items()}
    except OSError as error:
        raise ValueError(f"settings must be a file that 'tune' has written, got {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"settings must be a file that 'tune' has written, got {path}: {error!r}") from None
    if stored_data != data:
        raise ValueError(f"settings must be those of the data set {data!r}, got {path}, of {stored_data!r}")
    return settings


def shipped_settings(data: str) -> dict[str, dict[str, Any]]:
    """Return the settings that our own search chose on a data set; none where there was none."""
    path = _SHIPPED / f"{data}.json"
    return read_settings(path, data) if path.exists() else {}
