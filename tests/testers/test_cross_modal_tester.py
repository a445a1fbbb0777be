"""Retrieval between two modalities with two networks, against loops, and through PML's interface."""

import math

import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import Dataset, StackDataset

from pml_proxyext.testers import CrossModalTester, RankCalculator

CPU = torch.device("cpu")


class Rows(Dataset):
    """Mappings, a row of each tensor under its name."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}


def make_networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5)), nn.Linear(8, 3), nn.Linear(5, 8), nn.Linear(8, 3)


def make_data(seed=0, rows=30):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 6, generator=generator), torch.randn(rows, 5, generator=generator)


def make_tester(*ref_models, **options):
    defaults = {"accuracy_calculator": RankCalculator(device=CPU), "dataloader_num_workers": 0, "data_device": CPU}
    return CrossModalTester(*ref_models, **{**defaults, "batch_size": 7, **options})


def naive(query, labels, reference, among):
    """Scores by a loop over queries, for embeddings without ties; ``labels`` are sets."""
    ranks, precisions = [], []
    for point, own in zip(query, labels, strict=True):
        cosines = [float(torch.cosine_similarity(point, other, dim=0)) for other in reference]
        order = sorted(range(len(reference)), key=lambda i: -cosines[i])
        places = [place for place, i in enumerate(order, 1) if own & among[i]]
        if places:
            ranks.append(places[0])
            precisions.append(sum(i / place for i, place in enumerate(places, 1)) / len(places))
    scores = {f"recall_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)}
    half = len(ranks) // 2
    ranks = sorted(ranks)
    median = ranks[half] if len(ranks) % 2 else (ranks[half - 1] + ranks[half]) / 2
    return {**scores, "median_rank": median, "mean_average_precision": sum(precisions) / len(precisions)}


def check(found, a_to_b, b_to_a, level="_level0"):
    for name in a_to_b:
        assert found[f"a_to_b_{name}{level}"] == pytest.approx(a_to_b[name], rel=1e-9), name
        assert found[f"b_to_a_{name}{level}"] == pytest.approx(b_to_a[name], rel=1e-9), name
        assert found[f"{name}{level}"] == pytest.approx((a_to_b[name] + b_to_a[name]) / 2, rel=1e-9), name


def embedded(a, b):
    trunk, embedder, ref_trunk, ref_embedder = make_networks()
    with torch.no_grad():
        return embedder(trunk.eval()(a)), ref_embedder(ref_trunk(b))


@pytest.mark.parametrize("normalize", [True, False])
def test_both_directions_with_two_networks_and_ids_that_repeat(normalize):
    (a, b), ids = make_data(), torch.arange(30) // 2
    trunk, embedder, *ref_models = make_networks()
    tester = make_tester(*ref_models, normalize_embeddings=normalize)
    scores = tester.test({"val": StackDataset(StackDataset(a, b), ids)}, 3, trunk, embedder)["val"]
    emb, ref_emb = embedded(a, b)
    sets = [{int(i)} for i in ids]
    check(scores, naive(emb, sets, ref_emb, sets), naive(ref_emb, sets, emb, sets))
    assert scores["epoch"] == 3
    assert scores["a_to_b_recall_at_5_level0"] != scores["b_to_a_recall_at_5_level0"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_multi_hot_labels(dtype):
    a, b = make_data()
    labels = torch.rand(30, 6, generator=torch.Generator().manual_seed(1)) < 0.2
    labels[0] = False  # a query without classes does not count
    trunk, embedder, *ref_models = make_networks()
    data = Rows(data=a, ref_data=b, labels=labels.to(dtype))
    scores = make_tester(*ref_models).test({"val": data}, 1, trunk, embedder)["val"]
    emb, ref_emb = embedded(a, b)
    sets = [set(row.nonzero().flatten().tolist()) for row in labels]
    check(scores, naive(emb, sets, ref_emb, sets), naive(ref_emb, sets, emb, sets))


def test_references_come_from_the_splits_that_are_named():
    (a, b), (c, d), (e, f) = make_data(0, 20), make_data(1, 30), make_data(2, 15)
    trunk, embedder, *ref_models = make_networks()
    ids = {"query": torch.arange(20) % 9, "gallery": torch.arange(30) % 7, "more": torch.arange(15) % 11}
    views = {"query": (a, b), "gallery": (c, d), "more": (e, f)}
    data = {name: StackDataset(StackDataset(*pair), ids[name]) for name, pair in views.items()}
    tester = make_tester(*ref_models)
    scores = tester.test(data, 1, trunk, embedder, [("query", ["gallery", "more"]), ("more", ["more", "query"])])
    points = {name: embedded(*pair) for name, pair in views.items()}
    sets = {name: [{int(i)} for i in of] for name, of in ids.items()}
    for query, references in (("query", ("gallery", "more")), ("more", ("more", "query"))):
        among = [label for name in references for label in sets[name]]
        both = [torch.cat([points[name][view] for name in references]) for view in (1, 0)]
        directions = [naive(points[query][view], sets[query], both[view], among) for view in (0, 1)]
        check(scores[query], *directions)


def test_without_labels_partners_are_the_rows_of_one_split():
    data = {"a": Rows(**dict(zip(("data", "ref_data"), make_data(0, 12), strict=True)))}
    data["b"] = Rows(**dict(zip(("data", "ref_data"), make_data(1, 16), strict=True)))
    trunk, embedder, *ref_models = make_networks()
    scores = make_tester(*ref_models).test(data, 1, trunk, embedder, [("a", ["a", "b"]), ("b", ["a"])])
    points = [embedded(*make_data(seed, rows)) for seed, rows in ((0, 12), (1, 16))]
    both, rows = [torch.cat([points[0][view], points[1][view]]) for view in (0, 1)], [{i} for i in range(28)]
    check(scores["a"], *(naive(points[0][view], rows[:12], both[1 - view], rows) for view in (0, 1)))
    assert math.isnan(scores["b"]["recall_at_10_level0"])  # the partners of b are not among the references


def test_levels_of_labels_and_their_average():
    a, b = make_data()
    levels = torch.stack([torch.arange(30) // 2, torch.arange(30) % 4 * 10], dim=1)
    trunk, embedder, *ref_models = make_networks()
    options = {"label_hierarchy_level": "all", "set_min_label_to_zero": True, "dataset_labels": levels.numpy()}
    data = StackDataset(StackDataset(a, b), levels)
    scores = make_tester(*ref_models, **options).test({"val": data}, 1, trunk, embedder)["val"]
    emb, ref_emb = embedded(a, b)
    for level in (0, 1):
        sets = [{int(i)} for i in levels[:, level]]
        check(scores, naive(emb, sets, ref_emb, sets), naive(ref_emb, sets, emb, sets), f"_level{level}")
    for name in ("recall_at_1", "a_to_b_median_rank"):
        assert scores[f"AVERAGE_{name}"] == pytest.approx((scores[f"{name}_level0"] + scores[f"{name}_level1"]) / 2)


def test_any_calculator_of_pml_will_do():
    (a, b), ids = make_data(), torch.arange(30) % 6
    trunk, embedder, *ref_models = make_networks()
    calculator = AccuracyCalculator(include=("precision_at_1", "mean_average_precision"), k=30, device=CPU)
    data = {"val": StackDataset(StackDataset(a, b), ids)}
    theirs = make_tester(*ref_models, accuracy_calculator=calculator).test(data, 1, trunk, embedder)["val"]
    ours = make_tester(*ref_models).test(data, 1, trunk, embedder)["val"]
    for direction in ("a_to_b_", "b_to_a_", ""):
        one, other = f"{direction}precision_at_1_level0", f"{direction}recall_at_1_level0"
        assert theirs[one] == pytest.approx(ours[other])
        average = f"{direction}mean_average_precision_level0"
        assert theirs[average] == pytest.approx(ours[average], rel=1e-6)


def test_networks_are_evaluated_in_eval_mode_and_trunk_output_can_be_used():
    (a, b), ids = make_data(), torch.arange(30)
    trunk, ref_trunk = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)), nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5))
    tester = make_tester(ref_trunk, nn.Linear(4, 2), use_trunk_output=True)
    found, labels = tester.get_all_embeddings(StackDataset(StackDataset(a, b), ids), trunk, nn.Linear(4, 3))
    with torch.no_grad():
        expected = torch.cat([trunk.eval()(a), ref_trunk.eval()(b)])
    torch.testing.assert_close(found, nn.functional.normalize(expected))
    assert labels.flatten().tolist() == [*range(30), *range(30)]


def test_nan_of_one_network_is_visible():
    (a, b), ids = make_data(), torch.arange(30)
    trunk, embedder, ref_trunk, ref_embedder = make_networks()
    with torch.no_grad():
        ref_embedder.weight[0, 0] = math.nan
    tester = make_tester(ref_trunk, ref_embedder)
    scores = tester.test({"val": StackDataset(StackDataset(a, b), ids)}, 1, trunk, embedder)["val"]
    assert all(math.isnan(score) for name, score in scores.items() if name != "epoch")


@pytest.mark.parametrize(
    ("a", "b", "labels", "message"),
    [
        (
            torch.ones(3, 2),
            torch.ones(3, 4),
            torch.arange(3),
            r"embeddings of one shape, .* \(3, 2\), \(3, 4\) and \(3, 1\)",
        ),
        (torch.ones(3, 2), torch.ones(2, 2), torch.arange(3), r"\(3, 2\), \(2, 2\) and \(3, 1\)"),
        (torch.ones(3, 2), torch.ones(3, 2), torch.arange(4), r"\(3, 2\), \(3, 2\) and \(4, 1\)"),
    ],
)
def test_batches_that_do_not_fit_are_named(a, b, labels, message):
    tester = make_tester(nn.Identity(), data_and_label_getter=lambda _: (a, b, labels))
    with pytest.raises(ValueError, match=message):
        tester.test({"val": Rows(data=torch.ones(3, 1))}, 1, nn.Identity())
