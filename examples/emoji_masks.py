"""Look at where the learners of ABE look: their masks on drawings of emoji, with and without the divergence.

    python -m pml_proxyext.benchmark prepare emoji
    python examples/emoji_masks.py [--smoke] [--figures DIR]

The first call needs the extra emoji, and fetches and draws; a trial (--smoke) does without, and leaves no file. The
ensembles are those of examples/emoji_ensemble.py, trained with what its search chose.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pml_proxyext.benchmark.datasets.emoji import load_emoji_images, prepared_emoji
from pml_proxyext.benchmark.datasets.emoji_sources import VENDORS
from pml_proxyext.benchmark.ensembles import METHODS, image_stand_in, train
from pml_proxyext.benchmark.mask_figure import draw_masks, let_through
from pml_proxyext.benchmark.results import read_results
from pml_proxyext.benchmark.trainer import seeded
from pml_proxyext.benchmark.two_views.report import best_settings
from pml_proxyext.regularizers import LearnerDivergenceRegularizer

SEARCHED = Path(__file__).parents[1] / "docs" / "results" / "search_emoji_ensemble"
SHOWN, STEPS, SMOKE_STEPS, VENDOR = ("abe_plain", "abe"), 200, 2, "noto"
NAMES = ("fox", "thinking face", "bicycle", "hamburger", "snowman", "musical note")  # of the test classes


def drawings() -> Tensor:
    """Return one vendor's drawings of some test classes, ``(N, 3, 32, 32)``: all under one licence, Apache-2.0."""
    arrays = prepared_emoji("images")
    vendor, names = [one.name for one in VENDORS].index(VENDOR), arrays["names"].tolist()
    rows = [(arrays["vendors"] == vendor) & (arrays["classes"] == names.index(name)) for name in NAMES]
    images = torch.cat([torch.from_numpy(arrays["images"][row]) for row in rows])
    return avg_pool2d(images.permute(0, 3, 1, 2).float() / 255, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a trial in a few seconds that leaves no files")
    parser.add_argument(
        "--figures", type=Path, default=Path("figures"), metavar="DIR", help="for the figure (default: %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = image_stand_in() if options.smoke else load_emoji_images()
    images = data.evaluation.images[:3] if options.smoke else drawings()
    chosen = best_settings(read_results(SEARCHED)) if SEARCHED.is_dir() else {}
    networks = {}
    for name in SHOWN:
        method = METHODS[name]
        with seeded(0, part=0):
            settings = chosen.get(name, method.trials(1)[0])
            network = train(method, data.train, SMOKE_STEPS if options.smoke else STEPS, **settings).eval()
        networks[method.title] = network
        with torch.no_grad():
            cosine = LearnerDivergenceRegularizer(network.num_learners).learner_cosines(network(images)).mean()
        shares = ", ".join(f"{100 * share:.0f} %" for share in let_through(network, images).nanmean((0, 2, 3)))
        print(f"{method.title}: learners let {shares} of the features through; cosine of two on an image {cosine:.2f}")
    if not options.smoke:
        options.figures.mkdir(parents=True, exist_ok=True)
        draw_masks(networks, images).savefig(options.figures / "emoji_masks.png")


if __name__ == "__main__":
    main()
