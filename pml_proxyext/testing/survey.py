"""PML's own losses held against the checks: ``python -m pml_proxyext.testing.survey pml_conformance.json``."""

from __future__ import annotations

import argparse
import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytorch_metric_learning import losses
from tqdm import tqdm

from pml_proxyext.testing.describe import describe_loss
from pml_proxyext.testing.report import Report
from pml_proxyext.testing.runner import check_loss

__all__ = ["ROWS", "Row", "main", "render", "survey"]

_SIZES = {"num_classes": 6, "embedding_size": 8}
_STATUSES = ("passed", "failed", "not applicable")


@dataclass(frozen=True)
class Row:
    """A loss class of PML, its arguments, and what is known of its profile."""

    loss: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.loss} (learnt beta)" if "learn_beta" in self.arguments else self.loss


def _with_proxies(loss: str, **arguments: Any) -> Row:
    return Row(loss, _SIZES | arguments, _SIZES)


ROWS: tuple[Row, ...] = (
    _with_proxies("ProxyAnchorLoss"),
    _with_proxies("ProxyNCALoss"),
    _with_proxies("NormalizedSoftmaxLoss"),
    _with_proxies("ArcFaceLoss"),
    _with_proxies("CosFaceLoss"),
    _with_proxies("SoftTripleLoss"),
    _with_proxies("LargeMarginSoftmaxLoss"),
    _with_proxies("SphereFaceLoss"),
    _with_proxies("SubCenterArcFaceLoss"),
    Row("P2SGradLoss", {"num_classes": 6, "descriptors_dim": 8}, _SIZES),
    Row(
        "MarginLoss",
        {"learn_beta": True, "num_classes": 6},
        {"num_classes": 6, "fullgraph": False, "exempt": {"wrong_width": "the loss has no width of its own"}},
    ),
    Row("RankedListLoss", {"margin": 1.0, "Tn": 0.0}),
    *map(
        Row,
        (
            "AngularLoss",
            "CircleLoss",
            "ContrastiveLoss",
            "DynamicSoftMarginLoss",
            "FastAPLoss",
            "GeneralizedLiftedStructureLoss",
            "HistogramLoss",
            "InstanceLoss",
            "IntraPairVarianceLoss",
            "LiftedStructureLoss",
            "MarginLoss",
            "MultiSimilarityLoss",
            "NCALoss",
            "NPairsLoss",
            "NTXentLoss",
            "PNPLoss",
            "SignalToNoiseRatioContrastiveLoss",
            "SmoothAPLoss",
            "SupConLoss",
            "ThresholdConsistentMarginLoss",
            "TripletMarginLoss",
            "TupletMarginLoss",
        ),
    ),
    Row("VICRegLoss", known={"labels": False, "ref_emb": "required", "tuples": False}),
)


def survey(rows: tuple[Row, ...] = ROWS) -> dict[str, Any]:
    """Return the reports of all rows whose class the installed PML has, with the versions that gave them."""
    logging.disable(logging.WARNING)
    reports = {}
    for row in tqdm([row for row in rows if hasattr(losses, row.loss)], unit="loss"):
        factory = partial(getattr(losses, row.loss), **row.arguments)
        reports[row.title] = _as_json(check_loss(factory, describe_loss(factory, **row.known)))
    versions = {name: version(name) for name in ("pytorch-metric-learning", "torch")}
    return {"versions": versions | {"python": platform.python_version()}, "losses": reports}


def _as_json(report: Report) -> dict[str, dict[str, str]]:
    """Return, for each status, the checks with their reasons."""
    return {key: {r.name: r.reason for r in report.results if r.status == key} for key in _STATUSES}


def render(found: Mapping[str, Any]) -> str:
    """Return the Markdown page of what :func:`survey` found."""
    made_with = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [
        "# PML's own losses held against the checks",
        "",
        f"Written by `python -m pml_proxyext.testing.survey` ({made_with}, CPU). Do not edit.",
        "",
        "| loss | passed | failed | not applicable | failing checks |",
        "|---|---|---|---|---|",
    ]
    for loss, results in found["losses"].items():
        counts = " | ".join(str(len(results[status])) for status in _STATUSES)
        lines.append(f"| {loss} | {counts} | {', '.join(results['failed']) or '-'} |")
    for loss, results in found["losses"].items():
        if results["failed"]:
            lines += ["", f"## {loss}", ""]
            lines += [f"- **{name}**: {_as_code(reason)}" for name, reason in results["failed"].items()]
    return "\n".join(lines) + "\n"


def _as_code(message: str) -> str:
    """Show an error message as it is: no emphasis, no links, no HTML."""
    return "`" + message.replace("`", "'") + "`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="JSON file to write; the page is written beside it as .md")
    parser.add_argument("--render", action="store_true", help="only write the page, from a file that is there")
    arguments = parser.parse_args()
    if not arguments.render:
        arguments.results.write_text(json.dumps(survey(), indent=1) + "\n", encoding="utf-8")
    found = json.loads(arguments.results.read_text(encoding="utf-8"))
    arguments.results.with_suffix(".md").write_text(render(found), encoding="utf-8")


if __name__ == "__main__":
    main()
