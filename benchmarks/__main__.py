"""Run speed benchmarks and write their figures into docs/speed/ and docs/speed.md.

    python -m benchmarks [NAME ...]

without names: all of them.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch

from benchmarks import chunked, codes, ensemble, nir_flow, nivmf_speed, optimal_transport, profiles, sharded, two_views

DOCS = Path(__file__).parents[1] / "docs"
PROGRAMS = {
    "nivmf": nivmf_speed,
    "nir_flow": nir_flow,
    "two_views": two_views,
    "codes": codes,
    "chunked": chunked,
    "ensemble": ensemble,
    "optimal_transport": optimal_transport,
    "profiles": profiles,
    "sharded": sharded,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROGRAMS)}")
    names = parser.parse_args().names or list(PROGRAMS)
    if unknown := set(names) - set(PROGRAMS):
        parser.error(f"NAME must be one of {', '.join(PROGRAMS)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    (DOCS / "speed").mkdir(exist_ok=True)
    page = DOCS / "speed.md"
    for name in names:
        program = PROGRAMS[name]
        figures: dict[str, Any] = {"torch": torch.__version__, "threads": 1, "cases": program.run()}
        (DOCS / "speed" / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
        table = program.markdown(figures["cases"])
        print(table)
        markers = rf"(<!-- speed:{name} -->\n).*?(<!-- /speed:{name} -->)"
        page.write_text(
            re.sub(markers, lambda match, table=table: match[1] + table + match[2], page.read_text(), flags=re.S)
        )


if __name__ == "__main__":
    main()
