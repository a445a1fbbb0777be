"""Run cross-entropy as metric learning as its release does, and print the published rows beside the measured ones.

    python examples/table_cross_entropy.py --root DATA [--recipes cross_entropy_cub200] [--seeds 5] [--smoke]

CUB200 takes 30 epochs, the others 100. The folder DATA is described in docs/papers.md.
"""

from pml_proxyext.benchmark.paper_tables import main

RECIPES = [f"cross_entropy_{data}" for data in ("cub200", "cars196", "sop", "inshop")]

if __name__ == "__main__":
    main(__doc__, RECIPES)
