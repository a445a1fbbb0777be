from __future__ import annotations

import json
import re
from pathlib import Path

from pytorch_metric_learning import losses as pml_losses

from pml_proxyext.testing import CHECKS
from pml_proxyext.testing.survey import ROWS, render

DOCS = Path(__file__).parents[2] / "docs"


def test_rows_build_their_losses() -> None:
    for row in ROWS:
        if hasattr(pml_losses, row.loss):
            getattr(pml_losses, row.loss)(**row.arguments)


def test_page_shows_counts_and_reasons() -> None:
    results = {"passed": {"float32": ""}, "failed": {"repr": "repr does not show `margin`"}, "not applicable": {}}
    page = render({"versions": {"torch": "2.0"}, "losses": {"SomeLoss": results}})
    assert "| SomeLoss | 1 | 1 | 0 | repr |" in page
    assert "- **repr**: `repr does not show 'margin'`" in page


def test_committed_page_is_what_the_committed_results_give() -> None:
    found = json.loads((DOCS / "pml_conformance.json").read_text(encoding="utf-8"))
    assert (DOCS / "pml_conformance.md").read_text(encoding="utf-8") == render(found)
    for loss, results in found["losses"].items():
        assert set().union(*results.values()) == set(CHECKS), loss


def test_documentation_lists_every_check() -> None:
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    table = page[page.index("## The checks") :]
    first_column = "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("|"))
    assert sorted(re.findall(r"`(\w+)`", first_column)) == sorted(CHECKS)
