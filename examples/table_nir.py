"""Run NIR as its release does, on ResNet-50, and print the published rows beside the measured ones.

    python examples/table_nir.py --root DATA [--recipes nir_cub200_512] [--seeds 5] [--smoke]

A run on CUB200 is 100 epochs; count in hours of a GPU. The folder DATA is described in docs/papers.md.
"""

from pml_proxyext.benchmark.paper_tables import main

RECIPES = [f"nir_{data}_512{pooling}" for data in ("cub200", "cars196", "sop") for pooling in ("", "_double")]

if __name__ == "__main__":
    main(__doc__, RECIPES)
