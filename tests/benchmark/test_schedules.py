import math

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from pml_proxyext.benchmark.regimes import Regime
from pml_proxyext.benchmark.schedules import MultiStep, OneCycle, WarmUpCosine

RATES = (0.1, 3.0)


def rates(schedule, steps, epochs):
    """Return the learning rates of two parameter groups in each step."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES]
    optimizer = torch.optim.SGD(groups)
    scheduler = schedule.scheduler(optimizer, steps, epochs)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def expect(factors, seen):
    assert len(factors) == len(seen)
    for factor, row in zip(factors, seen, strict=True):
        assert row == pytest.approx([rate * factor for rate in RATES], rel=1e-12)


def test_multi_step_lowers_the_rates_at_the_end_of_its_epochs():
    # Six epochs of four steps; after two and five of them the rates fall to a tenth of what they were.
    expect([1.0] * 8 + [0.1] * 12 + [0.01] * 4, rates(MultiStep((2, 5), 0.1), steps=24, epochs=6))


def test_multi_step_beyond_the_last_epoch_changes_nothing():
    expect([1.0] * 10, rates(MultiStep((5, 100), 0.1), steps=10, epochs=5))
    expect([1.0] * 10, rates(MultiStep(), steps=10, epochs=5))


def test_multi_step_stretches_with_the_run():
    short, long = rates(MultiStep((1,), 0.5), 4, 2), rates(MultiStep((1,), 0.5), 40, 2)
    assert [row for row in short for _ in range(10)] == long


def test_multi_step_needs_no_whole_number_of_steps_in_an_epoch():
    # Three epochs of 10/3 steps: the first ends before step 4, the second before step 7.
    expect([1.0] * 4 + [0.5] * 3 + [0.25] * 3, rates(MultiStep((1, 2), 0.5), steps=10, epochs=3))


def test_warm_up_cosine_follows_the_formula_step_by_step():
    steps = 250
    factors = [min((i + 1) / 100, (1 + math.cos(math.pi * i / steps)) / 2) for i in range(steps)]
    seen = rates(WarmUpCosine(), steps, epochs=30)
    expect(factors, seen)
    assert seen[0][0] == pytest.approx(0.1 / 100)
    assert max(row[0] for row in seen) < 0.1 * 0.8  # the cosine has begun to fall before the line is up


def test_one_cycle_is_that_of_torch():
    steps = 30
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES])
    reference = OneCycleLR(optimizer, list(RATES), total_steps=steps + 1)
    for row in rates(OneCycle(), steps, epochs=5):
        assert row == pytest.approx([group["lr"] for group in optimizer.param_groups], rel=1e-12)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiStep((1,), 0.0), "factor must be a finite number > 0 and <= 1, got 0.0"),
        (lambda: MultiStep((1,), 1.5), "factor must be"),
        (lambda: MultiStep((-1,)), "milestones must be"),
        (lambda: WarmUpCosine(0), "warm_up_steps must be an integer >= 1, got 0"),
        (lambda: Regime(epochs=0), "epochs must be an integer >= 1, got 0"),
        (lambda: Regime(epochs=3, warm_up_epochs=4), "warm_up_epochs must be a finite number >= 0 and <= 3, got 4"),
        (lambda: Regime(sampling="balanced"), "sampling must be one of 'per_class', 'shuffled', got 'balanced'"),
        (lambda: Regime(device="gpu"), "device must be one of 'auto', 'cpu', 'cuda', got 'gpu'"),
        (lambda: Regime(precision="float16"), "precision must be one of 'float32', 'bfloat16', got 'float16'"),
        (lambda: Regime(clip_value=0), "clip_value must be"),
        (lambda: Regime(workers=-1), "workers must be an integer >= 0"),
        (lambda: Regime().with_option("epoch", 3), "option of regime must be one of .* did you mean 'epochs'"),
        (lambda: Regime().with_option("schedule", 3), "option of regime must be one of"),
    ],
)
def test_settings_out_of_range_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_warm_up_steps_are_a_share_of_the_run_and_at_least_one():
    assert Regime(epochs=100, warm_up_epochs=1).warm_up_steps(6500) == 65
    assert Regime(epochs=100, warm_up_epochs=1).warm_up_steps(4) == 1
    assert Regime(epochs=4, warm_up_epochs=4).warm_up_steps(10) == 10
    assert Regime().warm_up_steps(10) == 0


def test_departures_name_what_differs_and_nothing_else():
    assert Regime().departures() == {}
    changed = Regime(epochs=7, schedule=MultiStep((2,), 0.5))
    assert changed.departures() == {"epochs": "7", "schedule": "MultiStep(milestones=(2,), factor=0.5)"}
    assert Regime().with_option("epochs", 7).departures() == {"epochs": "7"}


def test_device_auto_looks_at_the_machine(monkeypatch):
    assert Regime().torch_device() == torch.device("cpu")
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert Regime(device="auto").torch_device().type == ("cuda" if there else "cpu")
