from itertools import pairwise

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pml_proxyext.benchmark.comparison import paired_differences
from pml_proxyext.benchmark.figures import (
    draw_curves,
    draw_differences,
    draw_projection,
    draw_ranks,
    draw_rejection,
    draw_scores,
)
from pml_proxyext.benchmark.plots import write_figures
from pml_proxyext.benchmark.ranks import RankedMethod, Ranking
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


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def dots_and_intervals(axes):
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    (segments,) = [collection.get_segments() for collection in axes.collections]
    return dots.get_xdata(), [segment[:, 0].tolist() for segment in segments]


def test_draw_scores_shows_means_intervals_and_the_untrained_line():
    (axes,) = draw_scores(SUMMARIES).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([75, 60])
    assert labels(axes) == ["supcon", "arcface"]
    low, high = sorted(axes.get_ylim())
    assert axes.get_ylim() == (high, low)  # the first row is on top
    assert [text.get_text().strip() for text in axes.texts] == ["75.0 ± 63.5  (n = 2)", "60.0  (n = 1)"]
    (untrained,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert untrained.get_xdata()[0] == pytest.approx(40)
    (segment,) = [s for c in axes.collections for s in c.get_segments() if len(s) and not np.isnan(s).any()]
    half = 100 * SUMMARIES[0].score.half_width
    np.testing.assert_allclose(segment[:, 0], [75 - half, 75 + half])


def test_draw_scores_gives_thirty_methods_with_long_names_room():
    names = [
        f"a method with a long name, {i} (and={i}, with={i}, settings={i}, to=3e-{i}, tell=4e-{i})" for i in range(30)
    ]
    records = [record(name, seed, 0.5) for name in names for seed in (0, 1)]
    figure = draw_scores(summarise([*records, record("untrained", 0, 0.4, steps=0)]))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    places = [*boxes, *(text.get_window_extent() for text in axes.texts)]
    assert all(0 <= box.x0 < box.x1 <= figure.bbox.x1 for box in places)
    assert axes.get_window_extent().width > 0.25 * figure.bbox.width


def test_draw_curves_shows_the_mean_over_seeds_in_a_panel_of_each_method():
    panels = {axes.get_title(loc="left"): axes for axes in draw_curves(SUMMARIES).axes}
    assert list(panels) == ["supcon", "arcface"]
    shown = {title: axes.lines[-1].get_xydata() for title, axes in panels.items()}
    np.testing.assert_allclose(shown["supcon"], [[200, 37.5], [400, 75]])
    np.testing.assert_allclose(shown["arcface"], [[200, 30], [400, 60]])
    (band,) = [collection.get_paths()[0].vertices for collection in panels["supcon"].collections]
    half = 100 * SUMMARIES[0].score.half_width
    at_the_end = band[band[:, 0] == 400, 1]
    np.testing.assert_allclose([at_the_end.min(), at_the_end.max()], [75 - half, 75 + half])


def test_draw_curves_hides_the_panels_that_are_left_and_labels_every_column():
    panels = draw_curves(summarise([record(f"method {i}", 0, 0.5) for i in range(6)])).axes
    assert [axes.get_visible() for axes in panels] == 6 * [True] + 2 * [False]
    labelled = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels[:6]]
    assert labelled == [False, False, True, True, True, True]


def test_draw_ranks_shows_ranks_intervals_and_what_they_are_of():
    methods = [RankedMethod("supcon", 1.25, 1.0, 1.5), RankedMethod("arcface", 1.75, 1.5, 2.0)]
    figure = draw_ranks(Ranking(methods, ["emoji", "glyphs"], 4, 0.0321))
    (axes,) = figure.axes
    assert labels(axes) == ["supcon", "arcface"]
    dots, intervals = dots_and_intervals(axes)
    assert list(dots) == [1.25, 1.75]
    assert intervals == [[1.0, 1.5], [1.5, 2.0]]
    assert "emoji and glyphs: 4 blocks" in figure.get_suptitle()
    assert axes.get_xlabel().endswith("p = 0.032")


def test_draw_differences_shows_gains_in_points():
    records = [record("nir", seed, 0.7 + gain) for seed, gain in enumerate([0.01, 0.02, 0.03, 0.025])]
    records += [record("anchor", seed, 0.7) for seed in range(4)]
    (difference,) = paired_differences(summarise(records), {"nir": "anchor"})
    (axes,) = draw_differences([difference]).axes
    assert labels(axes) == ["nir vs anchor"]
    dots, intervals = dots_and_intervals(axes)
    change = difference.changes["mean_average_precision_at_r"]
    np.testing.assert_allclose(dots, [2.125])
    np.testing.assert_allclose(intervals, [[100 * change.low, 100 * change.high]])


def test_draw_differences_leaves_small_ones_room_beside_a_failure():
    records = [record("anchor", seed, 0.7) for seed in range(2)]
    records += [record("fails", seed, 0.3 + seed / 100) for seed in range(2)]
    records += [record("gains", seed, 0.702 + seed / 1000) for seed in range(2)]
    differences = paired_differences(summarise(records), {"fails": "anchor", "gains": "anchor"})
    (axes,) = draw_differences(differences).axes
    assert axes.get_xlim()[0] < -35  # also sets the scale that the next line uses
    left, right = axes.transAxes.inverted().transform(axes.transData.transform([[0, 0], [0.25, 0]]))[:, 0]
    assert right - left > 0.02


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
    paths = write_figures(summaries, [tmp_path], tmp_path / "figures")
    assert [path.stem for path in paths] == ["scores", "scores_over_steps", "projection", "rejection"]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 200
        assert 0.005 < (picture[..., :3].min(2) < 0.9).mean() < 0.9  # something is drawn, and something left white
    assert plt.get_fignums() == []


def test_write_figures_without_embeddings_draws_what_the_lines_allow(tmp_path):
    paths = write_figures(SUMMARIES, [tmp_path], tmp_path)
    assert [path.stem for path in paths] == ["scores", "scores_over_steps", "average_rank"]


def test_write_figures_of_two_data_sets_ranks_over_both(tmp_path):
    names = ("proxy_anchor", "nir_proxy_anchor")
    records = [{**record(name, 0, 0.5), "data": data} for name in names for data in ("glyphs", "emoji")]
    paths = write_figures(summarise(records), [tmp_path / "one", tmp_path / "other"], tmp_path)
    assert [path.stem for path in paths] == [
        "scores_emoji",
        "scores_over_steps_emoji",
        "scores_glyphs",
        "scores_over_steps_glyphs",
        "average_rank",
        "differences",
    ]
    assert all(path.exists() for path in paths)
