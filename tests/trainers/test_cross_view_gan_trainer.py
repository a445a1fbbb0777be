"""Cross-GAN's trainer against loops by hand, bit for bit after a stop, and end to end on views of a hidden point."""

import logging

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.utils import common_functions as c_f
from torch import nn
from torch.nn.functional import mse_loss, softplus
from torch.utils.data import StackDataset

from pml_proxyext.losses import CrossViewAlignmentLoss
from pml_proxyext.models import JointDiscriminator, LatentAligner, LatentMean, mlp_decoder, mlp_encoder
from pml_proxyext.testers import CrossModalTester, RankCalculator
from pml_proxyext.trainers import CrossViewGANTrainer
from tests.trainers.test_resumable_trainer import different, run, seed_everything

CPU = torch.device("cpu")
ROWS, BATCH, A, B, Z = 48, 8, 6, 5, 3
ALL = ["recon_loss", "kl_loss", "align_loss", "cross_recon_loss", "adv_loss"]
READINGS = ["mapped", "shuffled", "prior"]


def views(rows=ROWS, seed=0):
    """A hidden point seen in two ways."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, Z, generator=generator)
    ways = torch.Generator().manual_seed(99)
    return hidden @ torch.randn(Z, A, generator=ways), hidden @ torch.randn(Z, B, generator=ways)


def make_networks(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = {"trunk": mlp_encoder(A, Z, 8), "ref_trunk": mlp_encoder(B, Z, 8)}
        networks |= {"decoder": mlp_decoder(Z, A, 8), "ref_decoder": mlp_decoder(Z, B, 8)}
        networks |= {"aligner": LatentAligner(Z), "ref_aligner": LatentAligner(Z)}
        return networks | {"discriminator": JointDiscriminator(Z, 8)}


def make_trainer(models=None, kind=torch.optim.Adam, lr=0.01, data=None, loss_funcs=None, **options):
    models = make_networks() if models is None else models
    optimizers = {f"{name}_optimizer": kind(part.parameters(), lr=lr) for name, part in models.items()}
    a, b = views() if data is None else data
    defaults = {"dataset": StackDataset(StackDataset(a, b), torch.arange(len(a))), "optimizers": optimizers}
    defaults |= {"dataloader_num_workers": 0, "data_device": CPU, "batch_size": BATCH}
    return CrossViewGANTrainer(models, loss_funcs=loss_funcs or {}, **{**defaults, **options})


def amounts(trainer):
    return {name: float(torch.as_tensor(value).detach()) for name, value in trainer.losses.items()}


def weights(*names, **others):
    return {name: 1.0 if name in names else 0.0 for name in ALL} | others


@pytest.mark.parametrize("reading", READINGS)
def test_three_steps_are_those_of_a_loop_by_hand(reading):
    a, b = views(24)
    models, generator = make_networks(), torch.Generator().manual_seed(5)
    weighted = {"recon_loss": 2.0, "kl_loss": 0.3, "align_loss": 0.5, "cross_recon_loss": 0.7, "adv_loss": 0.4}
    trainer = make_trainer(
        models,
        torch.optim.SGD,
        0.05,
        (a, b),
        sampler=list(range(24)),
        reading=reading,
        generator=generator,
        loss_weights=weighted,
    )
    totals = []
    trainer.end_of_iteration_hook = lambda trainer: totals.append(amounts(trainer))
    trainer.train()

    m, generator = make_networks(), torch.Generator().manual_seed(5)
    critic = m["discriminator"]
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.05)
    rest = torch.optim.SGD([p for name, part in m.items() if part is not critic for p in part.parameters()], lr=0.05)
    expected = []
    for rows in torch.arange(24).chunk(3):
        x, y = a[rows], b[rows]
        (mu, v), (ref_mu, ref_v) = m["trunk"](x).chunk(2, 1), m["ref_trunk"](y).chunk(2, 1)
        z = mu + (v / 2).exp() * torch.randn(mu.shape, generator=generator)
        ref_z = ref_mu + (ref_v / 2).exp() * torch.randn(mu.shape, generator=generator)
        mapped = m["aligner"](z)
        if reading == "mapped":
            true, fake = (z, ref_z), (z, mapped)
        elif reading == "shuffled":
            distance = torch.randint(1, BATCH, (), generator=generator).item()
            true, fake = (z, ref_z), (z, torch.cat([ref_z[-distance:], ref_z[:-distance]]))
        else:
            prior = torch.randn(mu.shape, generator=generator)
            true, fake = (prior, prior), (mapped, ref_z)

        def of_the_critic(true, fake):
            return softplus(-critic(*true)).mean() + softplus(critic(*fake)).mean()

        critic_loss = of_the_critic([part.detach() for part in true], [part.detach() for part in fake])
        of_critic.zero_grad()
        critic_loss.backward()
        of_critic.step()
        recon = mse_loss(m["decoder"](z), x) + mse_loss(m["ref_decoder"](ref_z), y)
        crossed = mse_loss(m["ref_decoder"](mapped), y) + mse_loss(m["decoder"](m["ref_aligner"](ref_z)), x)
        kl = sum((p.exp() + q**2 - 1 - p).sum(1).mean() / 2 for q, p in ((mu, v), (ref_mu, ref_v)))
        align = (mapped - ref_z).square().sum(1).mean()
        adversarial = of_the_critic(true, fake) if reading == "shuffled" else softplus(-critic(*fake)).mean()
        terms = 2 * recon, 0.3 * kl, 0.5 * align, 0.7 * crossed, 0.4 * adversarial
        rest.zero_grad()
        sum(terms).backward()
        rest.step()
        expected.append([*map(float, terms), float(sum(terms)), float(critic_loss)])
    found = [[step[name] for name in (*ALL, "total_loss", "discriminator_loss")] for step in totals]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    for name, part in m.items():
        for key, value in part.state_dict().items():
            torch.testing.assert_close(models[name].state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_the_critic_learns_by_its_own_step_alone():
    """With a rate of 0 for all others, and by Adam, which would move a parameter for any gradient at all."""
    models = make_networks()
    before = {name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in models.items()}
    optimizers = {
        f"{name}_optimizer": torch.optim.Adam(part.parameters(), lr=0.01 if name == "discriminator" else 0.0)
        for name, part in models.items()
    }
    steps = []
    own = optimizers["discriminator_optimizer"]
    own.register_step_pre_hook(lambda *_: steps.append([p.grad.clone() for p in models["discriminator"].parameters()]))
    trainer = make_trainer(models, optimizers=optimizers, iterations_per_epoch=3)
    trainer.train()
    assert len(steps) == 3
    # What the encoders' side did after the step has left no gradient in the critic.
    for mine, parameter in zip(steps[-1], models["discriminator"].parameters(), strict=True):
        assert torch.equal(mine, parameter.grad)
        assert parameter.requires_grad
    changed = {
        n for n, part in models.items() if any(not torch.equal(v, before[n][k]) for k, v in part.state_dict().items())
    }
    assert changed == {"discriminator"}


@pytest.mark.parametrize("reading", READINGS)
def test_the_adversarial_term_alone_reaches_the_encoders(reading):
    trainer = make_trainer(loss_weights=weights("adv_loss"), reading=reading, iterations_per_epoch=1)
    trainer.train()
    reached = {
        name
        for name, part in trainer.models.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    }
    everyone = {"trunk", "ref_trunk", "aligner", "discriminator"}
    assert reached == everyone - {"mapped": {"ref_trunk"}, "shuffled": {"aligner"}, "prior": set()}[reading]


def test_schedules_switch_terms_on():
    epochs = {}
    trainer = make_trainer(
        vae_alone_epochs=1, align_alone_epochs=2, iterations_per_epoch=1, loss_funcs={"metric_loss": NTXentLoss()}
    )

    def note(trainer):
        epochs[trainer.epoch] = {name for name, value in trainer.losses.items() if value != 0}

    trainer.end_of_iteration_hook = note
    trainer.train(num_epochs=4)
    alone = {"recon_loss", "kl_loss", "total_loss"}
    aligned = alone | {"align_loss", "metric_loss"}
    everything = {*ALL, "metric_loss", "total_loss", "discriminator_loss"}
    assert epochs == {1: alone, 2: aligned, 3: aligned, 4: everything}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("own_generator", [False, True])
def test_two_halves_are_the_whole(reading, own_generator):
    def make():
        generator = torch.Generator().manual_seed(17) if own_generator else None
        options = {"reading": reading, "generator": generator, "iterations_per_epoch": 2}
        return make_trainer(vae_alone_epochs=1, align_alone_epochs=1, **options)

    with torch.random.fork_rng():
        seed_everything(0)
        losses, states = run(make(), 5)
        assert len(set(losses)) == 10
        seed_everything(1)
        resumed = make()
        if own_generator:
            torch.randn(3, generator=resumed.generator)  # a new process need not have drawn as much
        start = resumed.load_state_dict(states[3])
        seed_everything(2)
        later_losses, later_states = run(resumed, 5, start)
    assert later_losses == losses[6:]
    assert different(later_states[5], states[5]) == []


def test_alignment_finds_partners_of_unseen_points_and_autoencoders_alone_do_not():
    """Chance is 1/40; the unaligned encoders find what their initial weights find."""
    found = {}
    a, b = views(256)
    unseen, ids = views(40, seed=1), torch.arange(40)
    for name, weighted in {"aligned": {}, "alone": {"align_loss": 0, "cross_recon_loss": 0, "adv_loss": 0}}.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trainer = make_trainer(data=(a, b), batch_size=64, loss_weights=weighted, iterations_per_epoch=250)
            trainer.train()
        with torch.no_grad():
            rows = trainer.compute_embeddings(unseen[0]), trainer.compute_ref_embeddings(unseen[1])
        scores = RankCalculator(device=CPU).get_accuracy(rows[0], ids, rows[1], ids)
        found[name] = scores["recall_at_1"]
    assert found["aligned"] > 0.6
    assert found["alone"] < 0.25


def test_other_losses_take_the_place_of_the_defaults():
    losses = {"recon_loss": nn.L1Loss(), "align_loss": CrossViewAlignmentLoss("mmd"), "metric_loss": NTXentLoss()}
    names = "recon_loss", "align_loss"
    trainer = make_trainer(loss_funcs=losses, loss_weights=weights(*names, metric_loss=1.0), sampler=list(range(ROWS)))
    trainer.iterations_per_epoch = 1
    models = make_networks()
    trainer.generator = torch.Generator().manual_seed(1)
    noted = {}
    trainer.end_of_iteration_hook = lambda trainer: noted.update(amounts(trainer))
    trainer.train()
    generator = torch.Generator().manual_seed(1)
    x, y = (part[:BATCH] for part in views())
    (mu, v), (ref_mu, ref_v) = models["trunk"](x).chunk(2, 1), models["ref_trunk"](y).chunk(2, 1)
    z, ref_z = (m + (s / 2).exp() * torch.randn(m.shape, generator=generator) for m, s in ((mu, v), (ref_mu, ref_v)))
    ids = torch.arange(BATCH)
    expected = {
        "recon_loss": (models["decoder"](z) - x).abs().mean() + (models["ref_decoder"](ref_z) - y).abs().mean(),
        "align_loss": CrossViewAlignmentLoss("mmd")(z, ref_emb=ref_z),
        "metric_loss": NTXentLoss()(mu, ids, None, ref_mu, ids.clone()),
    }
    for name, value in expected.items():
        assert noted[name] == pytest.approx(value.item(), rel=1e-5)


def test_an_evaluation_by_the_tester_is_one_by_hand():
    trainer = make_trainer(iterations_per_epoch=3)
    trainer.train()
    a, b = views(20, seed=3)
    models = trainer.models
    tester = CrossModalTester(
        models["ref_trunk"],
        LatentMean(),
        accuracy_calculator=RankCalculator(device=CPU),
        dataloader_num_workers=0,
        data_device=CPU,
    )
    data = {"val": StackDataset(StackDataset(a, b), torch.arange(20))}
    found = tester.test(data, 1, models["trunk"], nn.Sequential(LatentMean(), models["aligner"]))["val"]
    for part in models.values():
        part.eval()
    with torch.no_grad():
        rows = trainer.compute_embeddings(a), trainer.compute_ref_embeddings(b)
    ids = torch.arange(20)
    expected = RankCalculator(device=CPU).get_accuracy(rows[0], ids, rows[1], ids)["mean_average_precision"]
    assert expected < 0.999
    assert found["a_to_b_mean_average_precision_level0"] == pytest.approx(expected)


def test_terms_of_weight_zero_need_no_networks():
    models = {name: part for name, part in make_networks().items() if "trunk" in name}
    trainer = make_trainer(models, loss_weights=weights("kl_loss", "align_loss"), iterations_per_epoch=2)
    trainer.train()
    z = trainer.compute_embeddings(views()[0])
    assert z.shape == (ROWS, Z)  # without an aligner both views share a space


def test_collapse_is_told_once(caplog):
    models = make_networks()
    with torch.no_grad():
        models["ref_trunk"].head.weight.zero_()
    trainer = make_trainer(models, torch.optim.SGD, 1e-9, iterations_per_epoch=3)
    assert trainer.spread.trace != trainer.spread.trace  # nothing has been seen
    c_f.LOGGER.propagate = True
    with caplog.at_level(logging.WARNING, logger=c_f.LOGGER.name):
        trainer.train(num_epochs=2)
    told = [record.getMessage() for record in caplog.records if "variance" in record.getMessage()]
    assert len(told) == 1
    assert "latents of view B have nearly no variance: LatentSpread(trace=0" in told[0]
    assert trainer.ref_spread.trace < 1e-9 < 1e-2 < trainer.spread.trace
    assert 1 <= trainer.spread.effective_rank <= Z


def test_a_frozen_critic_judges_and_does_not_learn():
    models = make_networks()
    before = {key: value.clone() for key, value in models["discriminator"].state_dict().items()}
    optimizers = {
        f"{n}_optimizer": torch.optim.SGD(p.parameters(), lr=0.1) for n, p in models.items() if n != "discriminator"
    }
    trainer = make_trainer(models, optimizers=optimizers, freeze_these=("discriminator",), iterations_per_epoch=2)
    noted = []
    trainer.end_of_iteration_hook = lambda trainer: noted.append(amounts(trainer)["adv_loss"])
    trainer.train()
    assert all(value > 0 for value in noted)
    assert all(torch.equal(value, before[key]) for key, value in models["discriminator"].state_dict().items())


def test_the_critics_clipper_comes_before_its_step():
    models = make_networks()
    optimizers = {f"{name}_optimizer": torch.optim.SGD(part.parameters(), lr=0.1) for name, part in models.items()}
    norms = []
    critic = list(models["discriminator"].parameters())
    optimizers["discriminator_optimizer"].register_step_pre_hook(
        lambda *_: norms.append(torch.cat([p.grad.flatten() for p in critic]).norm().item())
    )
    clip = {"discriminator_grad_clipper": lambda: nn.utils.clip_grad_norm_(critic, 1e-3)}
    make_trainer(models, optimizers=optimizers, gradient_clippers=clip, iterations_per_epoch=2).train()
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def without(name):
    return {key: part for key, part in make_networks().items() if key != name}


def test_both_sides_of_the_game_in_one_optimizer_are_refused():
    models = make_networks()
    one = torch.optim.SGD([p for part in models.values() for p in part.parameters()], lr=0.1)
    for optimizers in ({"trunk_optimizer": one}, {"discriminator_optimizer": one}):
        with pytest.raises(ValueError, match="of 'discriminator' in 'discriminator_optimizer', with no others"):
            make_trainer(models, optimizers=optimizers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reading": "mapping"}, "reading must be one of .*; did you mean 'mapped'"),
        ({"vae_alone_epochs": -1}, "vae_alone_epochs must be an integer >= 0, got -1"),
        ({"align_alone_epochs": 0.5}, "align_alone_epochs must be an integer >= 0, got 0.5"),
        ({"collapse_below": -1.0}, "collapse_below must be a finite number >= 0"),
        ({"models": without("trunk")}, "models must have 'trunk', which every term needs"),
        ({"models": without("ref_decoder")}, "models must have 'ref_decoder', which"),
        ({"models": without("discriminator")}, "models must have 'discriminator', which adv_loss needs"),
        ({"models": make_networks() | {"generator": nn.Linear(2, 2)}}, "the keys of models must be one of"),
        ({"loss_funcs": {"adversarial": nn.MSELoss()}}, "the keys of loss_funcs must be one of"),
        ({"loss_weights": {"align": 1.0}}, "the keys of loss_weights must be one of .*; did you mean 'align_loss'"),
        ({"loss_weights": {"metric_loss": 1.0}}, "the keys of loss_weights must be one of"),
        ({"loss_weights": {"kl_loss": -1.0}}, "the weight of kl_loss must be a finite number >= 0"),
        ({"mining_funcs": {"tuple_miner": None}}, "mining_funcs is not supported"),
        ({"optimizers": {}}, "optimizers must hold all parameters of 'trunk'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**options)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda a, b: ((a, b[:-1]), torch.arange(BATCH)), "ref_data must have one row for each row of data"),
        (lambda a, b: ((a[:1], b[:1]), torch.arange(1)), "a batch must have at least two pairs, got 1"),
        (lambda a, b: ((a[:0], b[:0]), torch.arange(0)), "a batch must have at least two pairs, got 0"),
        (lambda a, b: ((a * torch.nan, b), torch.arange(BATCH)), "data must be finite, got NaN or infinity"),
        (lambda a, b: ((a, b / 0), torch.arange(BATCH)), "ref_data must be finite, got NaN or infinity"),
        (lambda a, b: ((a, b[:1].expand(BATCH, B)), torch.arange(BATCH)), "ref_data must differ from row to row"),
        (lambda a, b: ((a, b), torch.arange(BATCH - 1)), "labels must have one row for each row of data"),
        (lambda a, b: ((a.long(), b), torch.arange(BATCH)), "data must be a floating-point tensor"),
        (lambda a, b: ((a, ["words"] * BATCH), torch.arange(BATCH)), "ref_data must be a floating-point tensor"),
        (lambda a, b: (a, b), "a batch must be"),
    ],
)
def test_batches_without_pairs_are_refused_and_nothing_learns(batch, message):
    models = make_networks()
    before = {name: [p.clone() for p in part.parameters()] for name, part in models.items()}
    trainer = make_trainer(models, data_and_label_getter=lambda rows: batch(*rows[0]))
    with pytest.raises(ValueError, match=message):
        trainer.train()
    for name, part in models.items():
        assert all(torch.equal(p, q) for p, q in zip(part.parameters(), before[name], strict=True))


def test_a_decoder_of_another_shape_is_named():
    models = make_networks() | {"ref_decoder": mlp_decoder(Z, 1, 8)}
    with pytest.raises(ValueError, match=r"'ref_decoder' must return the shape of the data, \(8, 5\), got \(8, 1\)"):
        make_trainer(models).train()


def test_an_encoder_of_odd_width_is_named():
    models = make_networks() | {"ref_trunk": nn.Linear(B, 5)}
    with pytest.raises(ValueError, match=r"what 'ref_trunk' returns must be \[mu \| log-variance\]"):
        make_trainer(models).train()
