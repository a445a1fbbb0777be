import json

import pytest

from pml_proxyext.benchmark.__main__ import main
from pml_proxyext.benchmark.commands import COMMANDS
from pml_proxyext.benchmark.results import RESULTS_FILE, read_results
from pml_proxyext.benchmark.tuning import shipped_settings


def run(directory, *arguments):
    return main(["run", "--quiet", "--smoke", "--steps", "1", "--results", str(directory), *arguments])


def test_run_table_plot_from_end_to_end(tmp_path, capsys):
    assert run(tmp_path, "--recipes", "supcon", "--seeds", "0", "1") == 0
    assert "3 of 3 runs carried out" in capsys.readouterr().out
    assert sorted((r["recipe"], r["seed"]) for r in read_results(tmp_path)) == [
        ("supcon", 0),
        ("supcon", 1),
        ("untrained", 0),
    ]
    lines = (tmp_path / RESULTS_FILE).read_bytes()

    assert run(tmp_path, "--recipes", "supcon", "--seeds", "0", "1") == 0
    assert "0 of 3 runs carried out" in capsys.readouterr().out
    assert (tmp_path / RESULTS_FILE).read_bytes() == lines

    markdown = tmp_path / "docs" / "table.md"
    assert main(["table", "--smoke", "--results", str(tmp_path), "--markdown", str(markdown)]) == 0
    assert "SupCon" in capsys.readouterr().out
    assert markdown.read_text().startswith("| Method | R@1")

    assert main(["plot", "--smoke", "--results", str(tmp_path)]) == 0
    paths = capsys.readouterr().out.split()
    assert paths[0] == str(tmp_path / "figures" / "scores.png")
    assert (tmp_path / "figures" / "scores.png").stat().st_size > 1000


def test_run_overrides_enter_the_results(tmp_path):
    assert run(tmp_path, "--recipes", "supcon", "--set", "temperature=0.2", "trunk=small_cnn") == 0
    by_recipe = {r["recipe"]: r["overrides"] for r in read_results(tmp_path)}
    assert by_recipe == {"supcon": {"temperature": 0.2, "trunk": "small_cnn"}, "untrained": {}}


def test_run_in_two_processes_loses_nothing(tmp_path, capsys):
    recipes = ["supcon", "contrastive", "proxy_anchor"]
    assert run(tmp_path, "--recipes", *recipes, "--jobs", "2", "--threads", "1") == 0
    assert {r["recipe"] for r in read_results(tmp_path)} == {"untrained", *recipes}
    assert all(r["threads"] == 1 for r in read_results(tmp_path))
    alone = tmp_path / "alone"
    assert run(alone, "--recipes", "proxy_anchor") == 0
    curves = [r["curve"] for d in (tmp_path, alone) for r in read_results(d) if r["recipe"] == "proxy_anchor"]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipes", "proxy_ancor"], "recipe must be one of .* did you mean 'proxy_anchor'"),
        (["--data", "glyhps"], "data must be one of .* got 'glyhps'; did you mean 'glyphs'?"),
        (["--split", "tets"], "did you mean 'test'?"),
        (["--recipes", "supcon", "--set", "temperatur=1"], "did you mean 'temperature'"),
        (["--recipes", "supcon", "--set", "batch_size=100000"], "at most the number of images"),
        (["--jobs", "0"], "jobs must be an integer >= 1, got 0"),
        (["--threads", "0"], "threads must be an integer >= 1, got 0"),
    ],
)
def test_run_bad_arguments_are_named(tmp_path, capsys, arguments, message):
    command = ["run", "--quiet", "--results", str(tmp_path / "new"), *arguments]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert all(part in error for part in message.split(" .* "))
    assert not (tmp_path / "new").exists()  # nothing ran before the error


def test_run_setting_without_a_value_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--set", "temperature"])
    assert "a setting must be key=value, got 'temperature'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["table", "plot"])
def test_results_that_are_not_there_are_an_error(tmp_path, capsys, command):
    assert main([command, "--results", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main([command, "--results", str(tmp_path)]) == 2
    assert "must be a finished run" in capsys.readouterr().err


def test_table_of_a_damaged_file_shows_the_rest(tmp_path, capsys):
    run(tmp_path, "--recipes", "supcon")
    path = tmp_path / RESULTS_FILE
    whole = path.read_text()
    path.write_text(whole[:-40] + "\n" + json.dumps({"no": "result"}) + "\n")
    capsys.readouterr()
    with pytest.warns(UserWarning, match=r"line [23]"):
        assert main(["table", "--smoke", "--results", str(tmp_path)]) == 0
    assert "Untrained" in capsys.readouterr().out


def test_tune_then_run_with_what_it_chose(tmp_path, capsys):
    search, results = tmp_path / "search", tmp_path / "results"
    tune = ["tune", "--recipes", "supcon", "--trials", "2", "--smoke", "--quiet", "--results", str(search)]
    assert main(tune) == 0
    shown = capsys.readouterr().out
    assert "SupCon" in shown
    assert "cost: 3 runs," in shown  # two trials and the untrained line
    chosen = json.loads((search / "settings.json").read_text())
    assert (chosen["data"], chosen["trials"], set(chosen["settings"])) == ("glyphs", 2, {"supcon", "untrained"})
    assert main(tune) == 0

    settings = search / "settings.json"
    assert run(results, "--recipes", "supcon", "--seeds", "0", "1", "--settings", str(settings)) == 0
    tuned = [record["tuned"] for record in read_results(results) if record["recipe"] == "supcon"]
    assert tuned == [chosen["settings"]["supcon"]] * 2
    assert run(results, "--recipes", "supcon", "--settings", "none", "--set", "lr=0.01") == 0
    assert [r["tuned"] for r in read_results(results) if r["overrides"]] == [{}]

    page = tmp_path / "page.md"
    page.write_text("<!-- search:search -->\n<!-- /search:search -->\n")
    command = ["table", "--kind", "search", "--smoke", "--results", str(search), "--into", str(page)]
    assert main(command) == 0
    assert "| SupCon | 2 |" in page.read_text()


def test_run_takes_the_settings_of_our_own_search_by_default(tmp_path):
    assert run(tmp_path, "--recipes", "supcon") == 0
    (record,) = [record for record in read_results(tmp_path) if record["recipe"] == "supcon"]
    assert record["tuned"] == shipped_settings("glyphs").get("supcon", {})


def test_run_with_settings_of_another_data_set_is_an_error(tmp_path, capsys):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"data": "emoji", "trials": 1, "settings": {}}))
    assert run(tmp_path / "new", "--recipes", "supcon", "--settings", str(path)) == 2
    assert "settings must be those of the data set 'glyphs'" in capsys.readouterr().err


def test_table_of_differences(tmp_path, capsys):
    assert run(tmp_path, "--recipes", "cosine", "el_vmf", "--seeds", "0", "1", "2", "3") == 0
    capsys.readouterr()
    assert main(["table", "--kind", "differences", "--smoke", "--results", str(tmp_path)]) == 0
    assert "EL-vMF" in capsys.readouterr().out


def test_prepare_names_what_there_is(capsys):
    assert main(["prepare", "glyphs"]) == 0
    assert "glyphs needs no preparation" in capsys.readouterr().out
    assert main(["prepare", "emojis"]) == 2
    assert "did you mean 'emoji'" in capsys.readouterr().err


def test_missing_package_is_one_line(tmp_path, capsys, monkeypatch):
    def missing(options):
        raise ImportError("this needs 'resvg_py'; install it with: pip install 'pml-proxyext[emoji]'")

    monkeypatch.setitem(COMMANDS, "prepare", missing)
    assert main(["prepare", "emoji"]) == 1
    assert capsys.readouterr().err == (
        "error: this needs 'resvg_py'; install it with: pip install 'pml-proxyext[emoji]'\n"
    )


def test_list_names_recipes_and_data(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "nir_proxy_anchor" in shown
    assert "glyphs" in shown
