from pml_proxyext.benchmark.report import print_recipes, results_table
from pml_proxyext.benchmark.summaries import summarise


def record(recipe, seed, score, **more):
    metrics = {"precision_at_1": score + 0.1, "r_precision": score, "mean_average_precision_at_r": score - 0.1}
    common = {"data": "glyphs", "split": "test", "steps": 400, "title": recipe.title()}
    return {"recipe": recipe, "seed": seed, "metrics": metrics, **common, **more}


SEEDS = [record("supcon", seed, score) for seed, score in enumerate([0.70, 0.74, 0.72])]
UNTRAINED = record("untrained", 0, 0.40, steps=0)


def table(*records):
    return results_table(summarise(records))


def test_rows_are_means_intervals_and_seeds():
    shown = table(*SEEDS, UNTRAINED)
    assert shown.header == ["Method", "R@1", "R-precision", "MAP@R", "Seeds"]
    assert [list(row) for row in shown.rows] == [
        ["Supcon", "82.0 ± 5.0", "72.0 ± 5.0", "62.0 ± 5.0", "3"],  # the half width by hand: test_summaries
        ["Untrained", "50.0", "40.0", "30.0", "1"],
    ]


def test_columns_appear_where_there_is_something_to_tell():
    assert table(*SEEDS, record("supcon", 0, 0.5, steps=100)).header[1] == "Steps"
    assert table(*SEEDS, record("supcon", 0, 0.5, data="emoji")).header[1] == "Data"
    with_nmi = record("supcon", 0, 0.5)
    with_nmi["metrics"]["NMI"] = 0.9
    assert table(with_nmi).header[-2] == "NMI"


def test_cost_per_step_is_shown_where_it_is_known():
    shown = table(record("supcon", 0, 0.7, cpu_seconds_training=5.0), record("arcface", 0, 0.6), UNTRAINED)
    assert shown.header[-2] == "ms/step"
    assert [row[-2] for row in shown.rows] == ["12.5", "", ""]
    assert "CPU time of a training step" in shown.caption


def test_diverged_runs_are_shown():
    assert list(table(record("supcon", 0, float("nan"))).rows[0]) == ["Supcon", "nan", "nan", "nan", "1"]


def test_caption_says_what_was_measured_and_where():
    old = record("arcface", 0, 0.6, versions={"torch": "2.13.0"}, commit="abc")
    new = record("supcon", 0, 0.7, environment={"torch": "2.14.0", "machine": "Linux, a processor"}, commit="def")
    assert table(old, new).caption == (
        "glyphs, test classes; 400 steps; percent, mean ± 95% confidence interval over seeds (Student's t); "
        "torch 2.13.0; torch 2.14.0; Linux, a processor; commit abc, def."
    )


def test_print_recipes_names_all(capsys):
    print_recipes()
    shown = capsys.readouterr().out
    assert "proxy_anchor" in shown
    assert "el_nivmf" in shown
