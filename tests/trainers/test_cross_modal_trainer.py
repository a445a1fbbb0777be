"""The trainer of two modalities against loops by hand, with losses that note what they get, and end to end."""

import csv

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, NTXentLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.utils import logging_presets
from torch import nn
from torch.utils.data import Dataset, StackDataset

from pml_proxyext.losses import CrossCLRLoss, HammingAlignmentLoss, JointCrossEntropyLoss
from pml_proxyext.miners import InfluentialNegativeMiner
from pml_proxyext.models import DBELayer
from pml_proxyext.testers import CrossModalTester, HammingKNN, MultiLabelAccuracyCalculator
from pml_proxyext.trainers import CrossModalTrainer
from pml_proxyext.wrappers import CrossModalMemory, DistributedLossWrapper

CPU = torch.device("cpu")
IN_ORDER = list(range(24))  # as a sampler


class Note(nn.Module):
    """A loss that keeps the arguments of its last call."""

    def forward(self, embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None):
        self.got = {"embeddings": embeddings, "labels": labels, "indices_tuple": indices_tuple}
        self.got |= {"ref_emb": ref_emb, "ref_labels": ref_labels}
        return embeddings.sum() if ref_emb is None else (embeddings * ref_emb).sum()


class NoteFeatures(Note):
    def forward(self, *args, input_emb=None, ref_input_emb=None):
        loss = super().forward(*args)
        self.got |= {"input_emb": input_emb, "ref_input_emb": ref_input_emb}
        return loss


class Rows(Dataset):
    """Mappings, a row of each tensor under its name."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}


def views(rows=24, seed=0):
    """A hidden point seen in two ways."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 4, generator=generator)
    ways = torch.Generator().manual_seed(99)
    return hidden @ torch.randn(4, 6, generator=ways), hidden @ torch.randn(4, 5, generator=ways)


def make_networks(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk, embedder = nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3)
        return {"trunk": trunk, "embedder": embedder, "ref_trunk": nn.Linear(5, 3)}


def make_trainer(loss_funcs, data, models=None, lr=0.1, **options):
    models = make_networks() if models is None else models
    learning = {**models, **loss_funcs}
    optimizers = {
        f"{name}_optimizer": torch.optim.SGD(part.parameters(), lr=lr)
        for name, part in learning.items()
        if any(parameter.requires_grad for parameter in part.parameters())
    }
    defaults = {"sampler": IN_ORDER, "dataloader_num_workers": 0, "data_device": CPU, "optimizers": optimizers}
    return CrossModalTrainer(
        models=models, batch_size=8, loss_funcs=loss_funcs, dataset=data, **{**defaults, **options}
    )


def first_batch(loss_funcs, data, **options):
    """Train on one batch; the losses note what they got."""
    trainer = make_trainer(loss_funcs, data, iterations_per_epoch=1, **options)
    trainer.train()
    return trainer


def test_three_steps_are_those_of_a_loop_by_hand():
    a, b = views()
    classes = torch.arange(24) % 4
    torch.manual_seed(1)
    arcface = ArcFaceLoss(4, 3)
    weights = {"metric_loss": 1.0, "ref_metric_loss": 0.5, "class_loss": 0.1, "ref_class_loss": 0.2}
    classifier = arcface.state_dict()["W"].clone()
    loss_funcs = {"metric_loss": NTXentLoss(), "ref_metric_loss": NTXentLoss(0.2)}
    loss_funcs |= {"class_loss": arcface, "ref_class_loss": arcface}
    data = Rows(data=a, ref_data=b, labels=classes)
    models = make_networks()
    parameters = [p for part in (*models.values(), arcface) for p in part.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    trainer = make_trainer(loss_funcs, data, models, loss_weights=weights, optimizers={"trunk_optimizer": optimizer})
    trainer.train()

    by_hand, other = make_networks(), ArcFaceLoss(4, 3)
    other.load_state_dict({"W": classifier})
    optimizer = torch.optim.SGD([p for part in (*by_hand.values(), other) for p in part.parameters()], lr=0.1)
    for rows in torch.arange(24).chunk(3):
        emb, ref_emb = by_hand["embedder"](by_hand["trunk"](a[rows])), by_hand["ref_trunk"](b[rows])
        ids, copied = classes[rows], classes[rows].clone()
        loss = NTXentLoss()(emb, ids, None, ref_emb, copied) + 0.5 * NTXentLoss(0.2)(ref_emb, ids, None, emb, copied)
        loss = loss + 0.1 * other(emb, ids) + 0.2 * other(ref_emb, ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, model in by_hand.items():
        for key, expected in model.state_dict().items():
            torch.testing.assert_close(models[name].state_dict()[key], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(arcface.W, other.W, rtol=1e-5, atol=1e-6)
    assert not torch.equal(classifier, other.W)


@pytest.mark.parametrize("form", ["pair", "three", "mapping"])
def test_each_loss_gets_its_views(form):
    a, b = views()
    ids = torch.arange(24) // 2
    data = {
        "pair": StackDataset(StackDataset(a, b), ids),
        "three": StackDataset(a, b, ids),
        "mapping": Rows(data=a, ref_data=b, labels=ids),
    }[form]
    losses = {
        name: Note() for name in ("metric_loss", "ref_metric_loss", "alignment_loss", "class_loss", "ref_class_loss")
    }
    models = make_networks()
    with torch.no_grad():
        emb, ref_emb = models["embedder"](models["trunk"](a[:8])), models["ref_trunk"](b[:8])
    first_batch(losses, data, models=models)
    for name, first, second, labels in (
        ("metric_loss", emb, ref_emb, ids[:8]),
        ("ref_metric_loss", ref_emb, emb, ids[:8]),
        ("alignment_loss", emb, ref_emb, torch.arange(8)),
        ("class_loss", emb, None, ids[:8]),
        ("ref_class_loss", ref_emb, None, ids[:8]),
    ):
        got = losses[name].got
        torch.testing.assert_close(got["embeddings"], first)
        torch.testing.assert_close(got["labels"], labels)
        assert got["indices_tuple"] is None
        if second is not None:
            torch.testing.assert_close(got["ref_emb"], second)
            torch.testing.assert_close(got["ref_labels"], labels)
            assert got["ref_labels"] is not got["labels"]  # or PML would drop all positives


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_multi_hot_labels_reach_class_losses_whole_and_pair_losses_get_ids(dtype):
    a, b = views()
    labels = torch.rand(24, 5, generator=torch.Generator().manual_seed(0))
    labels = labels if dtype == torch.float32 else labels > 0.5  # soft labels are not cut to integers
    ids = torch.arange(24) + 100
    losses = {name: Note() for name in ("metric_loss", "alignment_loss", "class_loss", "ref_class_loss")}
    first_batch(losses, Rows(data=a, ref_data=b, labels=labels, ids=ids))
    for name in ("class_loss", "ref_class_loss"):
        assert torch.equal(losses[name].got["labels"], labels[:8])
        assert losses[name].got["labels"].dtype == dtype
    for name in ("metric_loss", "alignment_loss"):
        assert torch.equal(losses[name].got["labels"], ids[:8])


def test_ids_are_for_alignment_and_class_labels_for_the_rest():
    a, b = views()
    classes, ids = torch.arange(24) % 3, torch.arange(24) // 2
    losses = {"metric_loss": Note(), "alignment_loss": Note()}
    first_batch(losses, Rows(data=a, ref_data=b, labels=classes, ids=ids))
    assert torch.equal(losses["metric_loss"].got["labels"], classes[:8])
    assert torch.equal(losses["alignment_loss"].got["labels"], ids[:8])


def test_labels_of_several_levels_and_of_any_names_are_those_of_pml():
    a, b = views()
    levels = torch.stack([torch.arange(24) % 2, 10 * (torch.arange(24) % 3)], dim=1)
    loss = Note()
    options = {"label_hierarchy_level": 1, "set_min_label_to_zero": True, "dataset_labels": levels.numpy()}
    first_batch({"metric_loss": loss}, StackDataset(StackDataset(a, b), levels), **options)
    assert loss.got["labels"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_without_labels_each_row_is_its_own():
    a, b = views()
    loss = Note()
    first_batch({"metric_loss": loss}, Rows(data=a, ref_data=b))
    assert torch.equal(loss.got["labels"], torch.arange(8))


def test_raw_features_go_to_the_losses_that_take_them():
    a, b = views()
    plain, features, wrapped = Note(), NoteFeatures(), CrossCLRLoss()
    losses = {"metric_loss": plain, "ref_metric_loss": features, "alignment_loss": DistributedLossWrapper(wrapped)}
    trainer = first_batch(losses, Rows(data=a, ref_data=b, input_emb=a + 1, ref_input_emb=b + 1))
    torch.testing.assert_close(features.got["input_emb"], b[:8] + 1)  # from B to A, the views change places
    torch.testing.assert_close(features.got["ref_input_emb"], a[:8] + 1)
    with torch.no_grad():
        models = make_networks()
        emb, ref_emb = models["embedder"](models["trunk"](a[:8])), models["ref_trunk"](b[:8])
        expected = wrapped(emb, ref_emb=ref_emb, input_emb=a[:8] + 1, ref_input_emb=b[:8] + 1)
        without = wrapped(emb, ref_emb=ref_emb)
    noted = {}
    hook = {"end_of_iteration_hook": lambda trainer: noted.update(trainer.losses)}
    first_batch(losses, trainer.dataset, **hook)
    assert noted["alignment_loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected.item() != pytest.approx(without.item(), rel=1e-3)


def test_memory_fills_with_batches():
    a, b = views()
    memory = CrossModalMemory(CrossCLRLoss(), 3, 6, 5, memory_size=20)
    data = Rows(data=a, ref_data=b, labels=torch.arange(24), input_emb=a, ref_input_emb=b)
    make_trainer({"metric_loss": memory}, data).train()
    assert len(memory) == 20
    torch.testing.assert_close(memory.input_memory[4:], a[4:20])  # the rows 20 to 23 are in the place of the first


def test_miners_look_at_the_view_of_each_direction():
    a, b = views()
    labels = torch.arange(24) // 2
    losses, miner = {"metric_loss": Note(), "ref_metric_loss": Note()}, MultiSimilarityMiner(epsilon=0.5)
    first_batch(losses, StackDataset(StackDataset(a, b), labels), mining_funcs={"tuple_miner": miner})
    for loss in losses.values():
        got = loss.got
        expected = miner(got["embeddings"], labels[:8], got["ref_emb"], labels[:8].clone())
        assert len(expected[0]) > 8
        assert all(torch.equal(*pair) for pair in zip(got["indices_tuple"], expected, strict=True))
    assert not torch.equal(
        losses["metric_loss"].got["indices_tuple"][3], losses["ref_metric_loss"].got["indices_tuple"][3]
    )


def test_a_miner_of_raw_features_looks_at_these():
    a, b = views()
    labels = torch.arange(24)
    miner, losses = InfluentialNegativeMiner(0.5), {"metric_loss": Note(), "ref_metric_loss": Note()}
    data = Rows(data=a, ref_data=b, labels=labels, input_emb=a.abs(), ref_input_emb=b.abs())
    first_batch(losses, data, mining_funcs={"input_tuple_miner": miner})
    for loss, features in (("metric_loss", a), ("ref_metric_loss", b)):
        expected = miner(features[:8].abs(), labels[:8], features[:8], labels[:8].clone())
        assert all(torch.equal(*pair) for pair in zip(losses[loss].got["indices_tuple"], expected, strict=True))
    assert losses["metric_loss"].got["labels"].shape == (8,)


def test_data_may_be_tokens_and_dtype_leaves_them_integers():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.EmbeddingBag(11, 3)

        def forward(self, tokens):
            assert tokens["ids"].dtype == torch.int64
            return self.words(tokens["ids"])

    a, _ = views()
    tokens = torch.randint(0, 11, (24, 4), generator=torch.Generator().manual_seed(0))
    models = {"trunk": nn.Linear(6, 3).double(), "ref_trunk": Bag().double()}
    data = StackDataset(StackDataset(a, Rows(ids=tokens)), torch.arange(24))
    loss = Note()
    first_batch({"metric_loss": loss}, data, models=models, dtype=torch.float64)
    assert loss.got["embeddings"].dtype == loss.got["ref_emb"].dtype == torch.float64


def test_weight_zero_leaves_a_loss_out():
    a, b = views()
    losses = {"metric_loss": Note(), "class_loss": Note()}
    first_batch(
        losses, StackDataset(StackDataset(a, b), torch.arange(24)), loss_weights={"metric_loss": 1, "class_loss": 0}
    )
    assert not hasattr(losses["class_loss"], "got")


def test_frozen_networks_stay_and_need_no_optimizer():
    a, b = views()
    models = {"trunk": nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), "ref_trunk": nn.Linear(5, 3)}
    before = {name: {key: value.clone() for key, value in net.state_dict().items()} for name, net in models.items()}
    optimizers = {"ref_trunk_optimizer": torch.optim.SGD(models["ref_trunk"].parameters(), lr=0.1)}
    data = StackDataset(StackDataset(a, b), torch.arange(24))
    make_trainer({"metric_loss": NTXentLoss()}, data, models, optimizers=optimizers, freeze_these=["trunk"]).train()
    assert all(torch.equal(value, before["trunk"][key]) for key, value in models["trunk"].state_dict().items())
    assert not torch.equal(models["ref_trunk"].weight, before["ref_trunk"]["weight"])


def test_batchnorm_of_both_trunks_can_be_frozen():
    a, b = views()
    models = {name: nn.Sequential(nn.Linear(n, 3), nn.BatchNorm1d(3)) for name, n in (("trunk", 6), ("ref_trunk", 5))}
    data = StackDataset(StackDataset(a, b), torch.arange(24))
    make_trainer({"metric_loss": NTXentLoss()}, data, models, freeze_trunk_batchnorm=True).train()
    for name in ("trunk", "ref_trunk"):
        assert torch.equal(models[name][1].running_mean, torch.zeros(3))


def test_training_finds_the_partners_and_pml_keeps_records(tmp_path):
    train, val = (
        StackDataset(StackDataset(*views(rows, seed)), torch.arange(rows)) for rows, seed in ((96, 1), (40, 2))
    )
    models = {"trunk": nn.Linear(6, 4), "ref_trunk": nn.Linear(5, 4)}
    keeper, *_ = logging_presets.get_record_keeper(str(tmp_path / "csv"), str(tmp_path / "tensorboard"))
    hooks = logging_presets.get_hook_container(keeper, primary_metric="recall_at_1", log_freq=1)
    tester = CrossModalTester(
        models["ref_trunk"], end_of_testing_hook=hooks.end_of_testing_hook, dataloader_num_workers=0, data_device=CPU
    )
    trainer = CrossModalTrainer(
        models,
        {f"{name}_optimizer": torch.optim.Adam(net.parameters(), lr=0.02) for name, net in models.items()},
        batch_size=32,
        loss_funcs={"metric_loss": NTXentLoss(), "ref_metric_loss": NTXentLoss()},
        dataset=train,
        dataloader_num_workers=0,
        data_device=CPU,
        end_of_iteration_hook=hooks.end_of_iteration_hook,
        end_of_epoch_hook=hooks.end_of_epoch_hook(tester, {"val": val}, str(tmp_path / "models"), test_interval=10),
    )
    before = tester.test({"val": val}, 0, models["trunk"])["val"]["recall_at_1_level0"]
    trainer.train(num_epochs=20)
    after = tester.all_accuracies["val"]["recall_at_1_level0"]
    assert before < 0.2
    assert after > 0.8  # the views are linear in one another; chance is 0.025
    (table,) = [path for path in (tmp_path / "csv").glob("*CrossModalTester*.csv") if "VAL" in path.name]
    rows = list(csv.DictReader(table.open()))
    assert [int(row["epoch"]) for row in rows[-2:]] == [10, 20]
    assert float(rows[-1]["recall_at_1_level0"]) == pytest.approx(after)
    losses = list(csv.DictReader((tmp_path / "csv" / "loss_histories.csv").open()))
    assert float(losses[-1]["ref_metric_loss"]) < float(losses[0]["ref_metric_loss"])
    saved = torch.load(tmp_path / "models" / "ref_trunk_20.pth", weights_only=True)
    assert torch.equal(saved["weight"], models["ref_trunk"].weight)
    with torch.no_grad():
        models["ref_trunk"].weight.zero_()
    assert hooks.load_latest_saved_models(trainer, str(tmp_path / "models"), CPU) == 21
    assert torch.equal(saved["weight"], models["ref_trunk"].weight)


def test_codes_of_two_views_with_several_labels_are_trained_and_found():
    a, b = views(96, seed=1)
    labels = torch.stack([a[:, 0] > 0, a[:, 1] > 0, a[:, 2] > 0.5], dim=1)  # functions of the hidden point
    data = Rows(data=a, ref_data=b, labels=labels.float())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = {"trunk": DBELayer(6, 16), "ref_trunk": DBELayer(5, 16)}
        losses = {name: JointCrossEntropyLoss(3, 16) for name in ("class_loss", "ref_class_loss")}
        losses["alignment_loss"] = HammingAlignmentLoss()
    knn = HammingKNN()
    calculator = MultiLabelAccuracyCalculator(include=["mean_average_precision"], knn_func=knn, device=CPU)
    tester = CrossModalTester(
        models["ref_trunk"],
        accuracy_calculator=calculator,
        normalize_embeddings=False,
        dataloader_num_workers=0,
        data_device=CPU,
    )
    name = "mean_average_precision_level0"
    before = tester.test({"train": data}, 0, models["trunk"])["train"][name]
    optimizers = {
        f"{name}_optimizer": torch.optim.Adam(part.parameters(), lr=0.02)
        for name, part in {**models, **losses}.items()
        if name != "alignment_loss"
    }
    weights = {"class_loss": 1, "ref_class_loss": 1, "alignment_loss": 4}
    options = {"sampler": list(range(96)), "optimizers": optimizers, "loss_weights": weights}
    make_trainer(losses, data, models, **options).train(num_epochs=15)
    after = tester.test({"train": data}, 1, models["trunk"])["train"][name]
    assert 1 - after < (1 - before) / 2


def test_one_module_may_serve_both_modalities():
    a, _ = views()
    trunk, classifier = nn.Linear(6, 3), ArcFaceLoss(24, 3)
    optimizer = torch.optim.SGD([*trunk.parameters(), *classifier.parameters()], lr=0.1)
    losses = {"metric_loss": NTXentLoss(), "class_loss": classifier, "ref_class_loss": classifier}
    data = StackDataset(StackDataset(a, a + 0.1), torch.arange(24))
    models, before = {"trunk": trunk, "ref_trunk": trunk}, trunk.weight.detach().clone()
    make_trainer(losses, data, models, optimizers={"trunk_optimizer": optimizer}).train()
    assert not torch.equal(trunk.weight, before)


def without(name):
    return {key: model for key, model in make_networks().items() if key != name}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": without("ref_trunk")}, "models must have 'trunk' and 'ref_trunk', got"),
        ({"models": without("trunk")}, "models must have 'trunk' and 'ref_trunk', got"),
        (
            {"models": {**make_networks(), "trunk_b": nn.Identity()}},
            "the keys of models must be one of .* got 'trunk_b'",
        ),
        ({"loss_funcs": {"metric_los": Note()}}, "the keys of loss_funcs .* did you mean 'metric_loss'"),
        ({"mining_funcs": {"subset_batch_miner": None}}, "the keys of mining_funcs must be one of 'tuple_miner'"),
        ({"mining_funcs": {"tuple_miner": None, "input_tuple_miner": None}}, "mining_funcs must be one of .* got both"),
        ({"optimizers": {}}, "optimizers must hold all parameters of 'trunk', but '0.weight' is in none"),
    ],
)
def test_bad_arguments_are_named(options, message):
    a, b = views()
    arguments = {"loss_funcs": {"metric_loss": Note()}, "data": StackDataset(StackDataset(a, b), torch.arange(24))}
    with pytest.raises(ValueError, match=message):
        make_trainer(**{**arguments, **options})


def test_parameters_of_a_loss_without_optimizer_are_named():
    a, b = views()
    models = make_networks()
    optimizers = {f"{name}_optimizer": torch.optim.SGD(net.parameters(), lr=0.1) for name, net in models.items()}
    data = StackDataset(StackDataset(a, b), torch.arange(24))
    with pytest.raises(ValueError, match="'class_loss', but 'W' is in none; add a 'class_loss_optimizer'"):
        make_trainer({"class_loss": ArcFaceLoss(24, 3)}, data, models, optimizers=optimizers)


@pytest.mark.parametrize(
    ("losses", "batch", "options", "message"),
    [
        ("class_loss", {}, {}, "labels are required for class_loss"),
        ("metric_loss", {"ref_data": torch.ones(6, 5)}, {}, r"ref_data must have one row for each row of data, got"),
        ("metric_loss", {"labels": torch.arange(7)}, {}, r"labels must have one row for each row of data"),
        ("metric_loss", {"ids": torch.arange(9)}, {}, r"ids must have one row for each row of data"),
        (
            "metric_loss",
            {},
            {"mining_funcs": {"input_tuple_miner": InfluentialNegativeMiner()}},
            "input_emb and ref_input_emb are required for input_tuple_miner",
        ),
    ],
)
def test_batches_that_do_not_fit_are_named(losses, batch, options, message):
    a, b = views()
    given = {"data": a[:8], "ref_data": b[:8], **batch}
    with pytest.raises(ValueError, match=message):
        first_batch({losses: Note()}, Rows(data=a), data_and_label_getter=lambda _: given, **options)


def test_a_loss_that_takes_no_tuples_says_so():
    a, b = views()
    data, miner = StackDataset(StackDataset(a, b), torch.arange(24)), MultiSimilarityMiner()
    with pytest.raises(ValueError, match="indices_tuple is not supported"):
        first_batch({"metric_loss": CrossCLRLoss()}, data, mining_funcs={"tuple_miner": miner})
