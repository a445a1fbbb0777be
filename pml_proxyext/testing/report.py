"""What the checks found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Report", "Result"]


@dataclass(frozen=True)
class Result:
    """One check's outcome; ``reason`` says why it failed or does not apply."""

    name: str
    status: Literal["passed", "failed", "not applicable"]
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks of one loss; printing it shows them, ``rich`` in colour."""

    loss: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> dict[str, str]:
        """From the name of each failed check to the reason."""
        return {result.name: result.reason for result in self.results if result.status == "failed"}

    def raise_for_failures(self) -> None:
        """Raise an AssertionError that lists what failed, if anything did."""
        if self.failures:
            raise AssertionError(str(self))

    @property
    def summary(self) -> str:
        count = Counter(result.status for result in self.results)
        return f"{self.loss}: " + ", ".join(f"{count[key]} {key}" for key in ("passed", "failed", "not applicable"))

    def __str__(self) -> str:
        lines = [f"  {r.status:<15} {r.name:<28} {r.reason}".rstrip() for r in self.results if r.status != "passed"]
        return "\n".join([self.summary, *lines])

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table("check", "outcome", "reason", "seconds", title=self.summary)
        colours = {"passed": "green", "failed": "red", "not applicable": "dim"}
        for r in self.results:
            table.add_row(r.name, f"[{colours[r.status]}]{r.status}", r.reason, f"{r.seconds:.2f}")
        return table
