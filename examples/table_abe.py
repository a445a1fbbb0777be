"""Run ABE-8 on GoogLeNet and print the published rows beside the measured ones.

    python examples/table_abe.py --root DATA [--recipes abe_cub200] [--seeds 5] [--smoke]

No official code is known: learning rate, epochs and more are ours (see pml_proxyext/benchmark/papers/abe.py), so a
measured row that differs says little about the paper. The folder DATA is described in docs/papers.md.
"""

from pml_proxyext.benchmark.paper_tables import main

RECIPES = [f"abe_{data}" for data in ("cub200", "cars196", "sop", "inshop")]

if __name__ == "__main__":
    main(__doc__, RECIPES)
