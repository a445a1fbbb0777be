import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from pml_proxyext.benchmark.datasets.degraded import LEVELS
from pml_proxyext.benchmark.summaries import summarise
from pml_proxyext.benchmark.uncertainty import REJECTED
from pml_proxyext.benchmark.uncertainty_figures import draw_error_rejection, draw_norms, write_uncertainty_figures


def line(recipe, seed, error, norm):
    conditions = [f"{kind}_{level:g}" for kind, levels in LEVELS.items() for level in levels]
    norms = {f"{condition}/median_norm": norm * (index + 1) for index, condition in enumerate(conditions)}
    common = {"recipe": recipe, "title": recipe, "data": "glyphs", "split": "test", "steps": 300, "overrides": {}}
    metrics = {"mean_average_precision_at_r": 0.5, "clean/median_norm": 10.0, **norms}
    curves = {"norm": (error * (1 - REJECTED)).tolist(), "similarity": [error] * len(REJECTED)}
    return {**common, "key": f"{recipe}{seed}", "seed": seed, "metrics": metrics, "rejection": curves}


@pytest.fixture
def summaries():
    return summarise([line("el_vmf", 0, 0.2, 1.0), line("el_vmf", 1, 0.4, 2.0), line("supcon", 0, 0.5, 3.0)])


def lines_of(axes):
    return {each.get_label(): each for each in axes.lines}


def test_draw_error_rejection_shows_means_by_both_certainties(summaries):
    by_norm, by_cosine = draw_error_rejection(summaries).axes
    shown = lines_of(by_norm)["el_vmf"]
    np.testing.assert_allclose(shown.get_xydata().T, [100 * REJECTED, 30 * (1 - REJECTED)])
    np.testing.assert_allclose(lines_of(by_cosine)["supcon"].get_ydata(), 50)
    assert [shown.get_linestyle(), lines_of(by_norm)["supcon"].get_linestyle()] == ["-", "--"]
    assert lines_of(by_cosine)["el_vmf"].get_color() == shown.get_color()


def test_draw_norms_shows_them_in_parts_of_the_clean_norm(summaries):
    panels = draw_norms(summaries).axes
    assert len(panels) == len(LEVELS)
    np.testing.assert_allclose(
        lines_of(panels[0])["el_vmf"].get_xydata().T, [[0, *LEVELS["blur"]], [1, 0.15, 0.3, 0.45]]
    )
    np.testing.assert_allclose(lines_of(panels[2])["supcon"].get_ydata(), [1, 2.1, 2.4, 2.7])
    band = panels[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.45 + 12.7062 * 0.15)  # standard error of 0.3 and 0.6, times t's quantile


def test_write_uncertainty_figures_draws_something(summaries, tmp_path):
    paths = write_uncertainty_figures(summaries, tmp_path / "figures")
    assert [path.name for path in paths] == ["uncertainty_error_rejection.png", "uncertainty_norms.png"]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert 0.005 < (picture[..., :3].min(2) < 0.9).mean() < 0.5
    assert plt.get_fignums() == []
