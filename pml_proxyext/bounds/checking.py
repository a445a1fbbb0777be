"""What the relations say about a batch of one's own."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

import torch
from rich.box import SIMPLE
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pml_proxyext.bounds.batch import BoundBatch
from pml_proxyext.bounds.registry import REGISTRY
from pml_proxyext.bounds.relation import Evaluation, Kind, Relation

__all__ = ["CheckReport", "Finding", "Selection", "Verdict", "check", "chosen", "evaluated_apart", "rendered"]

Selection = str | Relation | Iterable[str | Relation]
"""Relations, or patterns of their ids such as ``"graf.*"``."""


class Verdict(Enum):
    """What a relation turned out to be on a batch."""

    HOLDS = "holds"
    VIOLATED = "violated"
    NOT_FINITE = "not finite"
    NOT_APPLICABLE = "not applicable"
    CLAIM_FAILS = "claim fails here"
    CLAIM_HOLDS = "claim happens to hold here"

    @property
    def colour(self) -> str:
        """The style that ``rich`` shows it in."""
        return _COLOURS[self]


_COLOURS = {
    Verdict.HOLDS: "green",
    Verdict.VIOLATED: "bold red",
    Verdict.NOT_FINITE: "bold magenta",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.CLAIM_FAILS: "yellow",
    Verdict.CLAIM_HOLDS: "yellow",
}


@dataclass(frozen=True)
class Finding:
    """One relation on one batch.

    Attributes:
        relation: which one.
        evaluation: both sides; None if the relation says nothing about the batch.
        reason: why it says nothing.
    """

    relation: Relation
    evaluation: Evaluation | None
    reason: str = ""

    @property
    def lhs(self) -> float:
        """Value of the left-hand side, NaN where the relation does not apply."""
        return self.evaluation.lhs if self.evaluation else math.nan

    @property
    def rhs(self) -> float:
        """Value of the right-hand side, NaN where the relation does not apply."""
        return self.evaluation.rhs if self.evaluation else math.nan

    @property
    def slack(self) -> float:
        """``rhs - lhs``."""
        return self.rhs - self.lhs

    @property
    def verdict(self) -> Verdict:
        """What came out. Two sides that are no finite numbers are never said to hold."""
        if self.evaluation is None:
            return Verdict.NOT_APPLICABLE
        if not (math.isfinite(self.lhs) and math.isfinite(self.rhs)):
            return Verdict.NOT_FINITE
        if self.relation.kind is Kind.REFUTED:
            return Verdict.CLAIM_HOLDS if self.evaluation.holds else Verdict.CLAIM_FAILS
        return Verdict.HOLDS if self.evaluation.holds else Verdict.VIOLATED


@dataclass(frozen=True)
class CheckReport:
    """The findings of :func:`check`; printing it shows a table, ``rich.print`` in colour.

    Attributes:
        findings: one for each relation, in the order of the registry.
        subject: what was checked, for the title.
    """

    findings: tuple[Finding, ...]
    subject: str = "the batch"

    @property
    def ok(self) -> bool:
        """Whether every relation that applies holds; refuted claims do not count."""
        return not self.violated and not self.not_finite

    @property
    def violated(self) -> tuple[Finding, ...]:
        """The findings that must not be."""
        return self._with(Verdict.VIOLATED)

    @property
    def not_finite(self) -> tuple[Finding, ...]:
        """The findings with a NaN or an infinity on a side."""
        return self._with(Verdict.NOT_FINITE)

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of a relation by its id, or raise a KeyError."""
        return {finding.relation.id: finding for finding in self.findings}[name]

    @property
    def summary(self) -> str:
        """How often there was which verdict."""
        counts = {verdict: len(self._with(verdict)) for verdict in Verdict}
        parts = [f"{count} {verdict.value}" for verdict, count in counts.items() if count]
        return f"{self.subject}: {', '.join(parts) or 'no relation applies'}"

    def __rich__(self) -> Table:
        table = Table(title=self.summary, title_justify="left", box=SIMPLE)
        table.add_column("relation")
        for name in ("lhs", "rhs", "slack"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("verdict")
        for finding in self.findings:
            table.add_row(*_cells(finding))
        return table

    def __str__(self) -> str:
        return rendered(self)

    def _with(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is verdict)


def check(batch: BoundBatch, relations: Selection | None = None) -> CheckReport:
    r"""Evaluate relations on a batch.

    Both sides are computed on a detached copy in float64 on the CPU; gradients, autocast and the state of torch's
    generator stay as they are.

    Args:
        batch: embeddings, labels, and proxies and hyper-parameters if there are any.
        relations: patterns of ids such as ``"graf.*"``, or relations; those that say nothing about the batch are shown
            with the reason. None: all that do say something about it.

    Raises:
        ValueError: if a pattern fits no relation.

    Example:
        >>> batch = BoundBatch(torch.eye(4), torch.tensor([0, 0, 1, 1]), hyper={"temperature": 0.5})
        >>> report = check(batch, "graf.sc_*")
        >>> report.ok, report["graf.sc_balanced"].verdict.value
        (True, 'holds')
    """
    findings = [_finding(relation, batch) for relation in chosen(relations)]
    if relations is None:
        findings = [finding for finding in findings if finding.verdict is not Verdict.NOT_APPLICABLE]
    return CheckReport(tuple(findings), f"{len(batch)} samples")


def chosen(relations: Selection | None) -> list[Relation]:
    """Return the relations that a user means: patterns look into the registry, None means all of it.

    Raises:
        ValueError: if a pattern fits no relation.
    """
    if relations is None:
        return REGISTRY.select()
    parts = [relations] if isinstance(relations, str | Relation) else list(relations)
    found = {relation.id: relation for part in parts for relation in _fitting(part)}
    return list(found.values())


def evaluated_apart(relation: Relation, batch: BoundBatch) -> Evaluation:
    """Evaluate a relation such that the surrounding program does not notice.

    The losses of PML that the sides are made of draw parameters when they are made, and put them on the default device.
    Neither may concern a training that is only watched. Autocast leaves float64 alone.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        return relation.evaluate(_copy(batch))


def rendered(table: RenderableType) -> str:
    """Return what ``rich`` would show, without colours, as wide as the terminal."""
    text = io.StringIO()
    Console(file=text, width=shutil.get_terminal_size((100, 24)).columns).print(table)
    return text.getvalue().rstrip()


def _fitting(part: str | Relation) -> list[Relation]:
    return [part] if isinstance(part, Relation) else REGISTRY.select(part)


def _finding(relation: Relation, batch: BoundBatch) -> Finding:
    if objections := relation.objections(batch):
        return Finding(relation, None, "; ".join(objections))
    return Finding(relation, evaluated_apart(relation, batch))


def _copy(batch: BoundBatch) -> BoundBatch:
    proxies = None if batch.proxies is None else batch.proxies.detach().cpu()
    embeddings, labels = batch.embeddings.detach().cpu(), batch.labels.cpu()
    return replace(batch, embeddings=embeddings, labels=labels, proxies=proxies)


def _cells(finding: Finding) -> list[RenderableType]:
    relation, verdict = finding.relation, finding.verdict
    name = Text.assemble((relation.id, "bold"), "\n", (relation.title, "dim"))
    note = finding.reason or (relation.nan_because if verdict is Verdict.NOT_FINITE else "")
    told = Text.assemble((verdict.value, verdict.colour), f"\n{note}" if note else "")
    if finding.evaluation is None:
        return [name, "", "", "", told]
    return [name, f"{finding.lhs:.6g}", f"{finding.rhs:.6g}", f"{finding.slack:.3g}", told]
