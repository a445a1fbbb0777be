"""The command line: what it shows, and what it returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pml_proxyext.bounds import REGISTRY, BoundBatch, Kind, check
from pml_proxyext.bounds.__main__ import main

EMBEDDINGS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
PROXIES = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def batch_file(tmp_path):
    np.savez(tmp_path / "batch.npz", embeddings=EMBEDDINGS.numpy(), labels=LABELS.numpy(), proxies=PROXIES.numpy())
    torch.save({"embeddings": EMBEDDINGS, "labels": LABELS, "epoch": 3}, tmp_path / "batch.pt")
    return tmp_path / "batch.npz"


def test_list_shows_every_relation(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in REGISTRY)
    assert f"{len(REGISTRY)} relations" in shown


def test_list_takes_patterns(capsys):
    assert main(["list", "supcon.*_pairs"]) == 0
    shown = capsys.readouterr().out
    assert "2 relations" in shown
    assert "supcon.eq_nca_pairs" in shown
    assert "pairs" in shown
    assert REGISTRY["supcon.eq_nca_pairs"].title[:40] in shown
    assert "ntxent.range_hi" not in shown


def test_list_shows_latex_as_it_is(capsys, monkeypatch):
    """Also where it looks like the markup of rich, which has square brackets."""
    monkeypatch.setenv("COLUMNS", "2000")
    assert main(["list", "--latex"]) == 0
    shown = capsys.readouterr().out
    assert [name for name, relation in REGISTRY.items() if relation.statement not in shown] == []


def test_check_without_a_file_takes_the_witnesses(capsys):
    assert main(["check"]) == 0
    shown = capsys.readouterr().out
    assert all((name in shown.split()) == (relation.witness is not None) for name, relation in REGISTRY.items())
    refuted = [relation for relation in REGISTRY.values() if relation.kind is Kind.REFUTED]
    assert shown.count("claim fails here") == len(refuted) + 1  # and in the title


def test_witnesses_take_hyper_parameters(capsys):
    shown = []
    for temperature in ("0.5", "0.7"):
        assert main(["check", "--relations", "supcon.ge_ntxent", "--set", f"temperature={temperature}"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] != shown[1]


def test_check_reads_arrays(capsys, batch_file):
    assert main(["check", str(batch_file), "--set", "temperature=0.5", "--relations", "supcon.ge_ntxent"]) == 0
    finding = check(BoundBatch(EMBEDDINGS, LABELS, hyper={"temperature": 0.5}), "supcon.ge_ntxent").findings[0]
    shown = capsys.readouterr().out
    assert f"{finding.lhs:.6g}" in shown
    assert f"{finding.rhs:.6g}" in shown


def test_check_reads_tensors_and_misses_no_proxies(capsys, batch_file):
    assert main(["check", str(batch_file.with_suffix(".pt")), "--relations", "proxynca.eq_cosface0"]) == 0
    assert "there are no proxies" in capsys.readouterr().out
    assert main(["check", str(batch_file), "--relations", "proxynca.eq_cosface0"]) == 0
    assert "1 holds" in capsys.readouterr().out


def test_everything_applies_to_a_random_batch(capsys):
    assert main(["check", "--random", "0"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in REGISTRY)
    assert main(["check", "--random", "0"]) == 0
    assert capsys.readouterr().out == shown
    assert main(["check", "--random", "1"]) == 0
    assert capsys.readouterr().out != shown


def test_the_exit_status_tells_of_what_does_not_hold(tmp_path, capsys):
    embeddings = EMBEDDINGS.clone()
    embeddings[0, 0] = float("nan")
    torch.save({"embeddings": embeddings, "labels": LABELS}, tmp_path / "nan.pt")
    assert main(["check", str(tmp_path / "nan.pt")]) == 1
    assert "not finite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "missing.npz"], "No such file"),
        (["check", "missing.csv"], "must end in .npz or .pt, got missing.csv"),
        (["check", "batch.npz", "--random", "0"], "a file or --random"),
        (["check", "bad.npz"], "cannot read tensors from bad.npz"),
        (["check", "bad.pt"], "cannot read tensors from bad.pt"),
        (["check", "list.pt"], "a dictionary of tensors is needed, got list"),
        (["check", "code.pt"], "cannot read tensors from code.pt"),  # loading must not run what is in a file
        (["check", "nothing.npz"], "must hold 'embeddings' and 'labels', got 'labels'"),
        (["check", "float.npz"], "labels must be integers, got torch.float32"),
        (["check", "batch.npz", "--relations", "graf.nothing"], "relation must be"),
        (["list", "nothing*"], "relation must be"),
        (["plot", "supcon.eq*", "--out", "figure.nothing"], "nothing"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys, batch_file, monkeypatch):
    monkeypatch.chdir(batch_file.parent)
    batch_file.with_name("bad.npz").write_text("nothing")
    batch_file.with_name("bad.pt").write_text("nothing")
    torch.save([EMBEDDINGS], "list.pt")
    torch.save({"embeddings": EMBEDDINGS, "labels": LABELS, "more": np.random.default_rng(0)}, "code.pt")
    np.savez("nothing.npz", labels=LABELS.numpy())
    np.savez("float.npz", embeddings=EMBEDDINGS.numpy(), labels=LABELS.float().numpy())
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert message in output.err


@pytest.mark.parametrize("setting", ["temperature", "temperature=warm", "=1"])
def test_settings_must_be_numbers(setting, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", "--set", setting])
    assert stop.value.code == 2
    assert "must be NAME=NUMBER" in capsys.readouterr().err


def test_plot_draws(tmp_path, capsys):
    path = tmp_path / "new" / "lattice.svg"
    assert main(["plot", "supcon.*", "--out", str(path)]) == 0
    assert "<svg" in path.read_text()
    assert capsys.readouterr().out.strip() == str(path)
