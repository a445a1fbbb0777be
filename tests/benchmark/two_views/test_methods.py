import pytest
import torch

from pml_proxyext.benchmark.two_views.methods import METHODS
from pml_proxyext.losses import CrossCLRLoss

OWN = {name: set(method.own) for name, method in METHODS.items()}


def test_every_method_is_compared_with_one_that_there_is():
    assert {method.compared_with for method in METHODS.values()} == {None, "crossclr", "crossclr_plain"}
    assert METHODS["crossclr_plain"].compared_with is None


def test_all_methods_try_the_same_of_what_they_share():
    trials = {name: method.trials(5) for name, method in METHODS.items()}
    first = trials.pop("ntxent")
    for name, tried in trials.items():
        common = set(first[0]) & set(tried[0])
        assert common == {"lr", "dropout"} | (OWN[name] & {"temperature"})
        assert [{key: one[key] for key in common} for one in tried] == [
            {key: one[key] for key in common} for one in first
        ]


def test_trials_begin_with_what_is_known_and_then_differ():
    trials = METHODS["crossclr"].trials(12)
    assert trials[0] == {
        "lr": 0.003,
        "dropout": 0.3,
        "temperature": 0.1,
        "negative_weight": 0.8,
        "weight_scale": 0.0035,
        "prune_threshold": 0.9,
    }
    assert len({str(trial) for trial in trials}) == 12
    assert METHODS["crossclr"].trials(4) == trials[:4]


@pytest.mark.parametrize("name", METHODS)
def test_every_trial_makes_a_loss_that_has_these_settings(name):
    for trial in METHODS[name].trials(12):
        own = {key: value for key, value in trial.items() if key in OWN[name]}
        loss = METHODS[name].make(**own)
        embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        features = {"input_emb": embeddings + 1, "ref_input_emb": embeddings + 2}
        assert loss(embeddings, torch.arange(6), ref_emb=embeddings.flip(0), **features).isfinite()
        if isinstance(loss, CrossCLRLoss):
            assert {key: getattr(loss, key) for key in own} == own


def test_the_ablation_switches_each_idea_by_itself():
    found = {}
    for name, method in METHODS.items():
        if name.startswith("crossclr"):
            loss = method.make(**{key: value for key, (value, _) in method.own.items()})
            found[name] = (loss.intra_modality, loss.weighting == "normalized", loss.prune_threshold == 0.9)
            assert loss.weighting in ("normalized", "none")
            assert loss.prune_threshold in (0.9, None)
    assert found == {
        "crossclr_plain": (False, False, False),
        "crossclr_intra": (True, False, False),
        "crossclr_weights": (False, True, False),
        "crossclr_pruning": (False, False, True),
        "crossclr_intra_weights": (True, True, False),
        "crossclr": (True, True, True),
    }
