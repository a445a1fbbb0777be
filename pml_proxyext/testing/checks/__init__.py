"""The checks, by topic: each takes a subject, and raises an AssertionError that says what is wrong."""

from collections.abc import Callable

from pml_proxyext.testing.checks import (
    bad_input,
    compilation,
    distributed,
    gradients,
    integration,
    invariance,
    miners,
    odd_batches,
    precision,
    records,
    reducers,
    regularizers,
    state,
)
from pml_proxyext.testing.subject import Subject

__all__ = ["CHECKS"]

_TOPICS = (
    precision,
    gradients,
    state,
    reducers,
    regularizers,
    miners,
    invariance,
    odd_batches,
    bad_input,
    records,
    integration,
    compilation,
    distributed,
)

#: Every check by its name, in the order they run: from the ordinary to the costly.
CHECKS: dict[str, Callable[[Subject], None]] = {
    name.removeprefix("check_"): getattr(topic, name) for topic in _TOPICS for name in topic.__all__
}
