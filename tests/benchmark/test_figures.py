import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from pml_proxyext.benchmark.figures import draw_bars, draw_curves, draw_projection, draw_rejection
from pml_proxyext.benchmark.plots import write_figures
from pml_proxyext.benchmark.rejection import RejectionCurve
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.run import Run, execute
from pml_proxyext.benchmark.summaries import select, summarise


def record(recipe, seed, score, steps=400):
    metrics = [{"mean_average_precision_at_r": score * part} for part in (0.5, 1.0)]
    curve = [[steps // 2, metrics[0]], [steps, metrics[1]]] if steps else []
    common = {"data": "glyphs", "split": "test", "steps": steps, "overrides": {}, "key": f"{recipe}{seed}"}
    return {"recipe": recipe, "title": recipe, "seed": seed, "metrics": metrics[1], "curve": curve, **common}


SUMMARIES = summarise(
    [
        record("supcon", 0, 0.7),
        record("supcon", 1, 0.8),
        record("arcface", 0, 0.6),
        record("untrained", 0, 0.4, steps=0),
    ]
)


def test_draw_bars_shows_means_intervals_and_the_untrained_line():
    (axes,) = draw_bars(SUMMARIES).axes
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([60, 75])  # the best on top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["arcface  (n = 1)", "supcon  (n = 2)"]
    assert axes.lines[0].get_xdata()[0] == pytest.approx(40)
    ((_, (segment, *_)),) = [(0, [s for s in c.get_segments() if len(s)][-1:]) for c in axes.collections]
    half = 100 * SUMMARIES[0].score.half_width
    np.testing.assert_allclose(segment[:, 0], [75 - half, 75 + half])


def test_draw_curves_shows_the_mean_over_seeds():
    (axes,) = draw_curves(SUMMARIES).axes
    shown = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_allclose(shown["supcon"], [[200, 37.5], [400, 75]])
    np.testing.assert_allclose(shown["arcface"], [[200, 30], [400, 60]])
    assert "untrained" not in shown


def test_draw_rejection_shows_each_curve_in_percent():
    curve = RejectionCurve("EL-nivMF", np.array([0, 0.5]), np.array([0.2, 0.1]))
    (axes,) = draw_rejection([curve]).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0, 20], [50, 10]])


def test_draw_projection_places_every_image():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 6)
    embeddings = np.eye(3)[labels] + 0.01 * generator.normal(size=(18, 3))
    figure = draw_projection([("one", embeddings), ("two", embeddings)], generator.random((18, 8, 8)), labels)
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    assert all(len(axes.artists) == 18 for axes in figure.axes)


def test_write_figures_of_real_runs(tmp_path):
    for name in ("untrained", "el_nivmf"):
        execute(Run(name, smoke=True), tmp_path)
    summaries = summarise(select(read_results(tmp_path), "test", smoke=True))
    paths = write_figures(summaries, tmp_path, tmp_path / "figures")
    assert [path.stem for path in paths] == ["scores", "scores_over_steps", "projection", "rejection"]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 200
        assert 0.005 < (picture[..., :3].min(2) < 0.9).mean() < 0.9  # something is drawn, and something left white
    assert plt.get_fignums() == []


def test_write_figures_without_embeddings_draws_what_the_lines_allow(tmp_path):
    assert [path.stem for path in write_figures(SUMMARIES, tmp_path, tmp_path)] == ["scores", "scores_over_steps"]
