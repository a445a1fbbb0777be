"""Run nivMF guided by Proxy Anchor as its release does, on ResNet-50, and print the published rows beside the measured.

    python examples/table_nivmf.py --root DATA [--recipes nivmf_cub200_512] [--seeds 5] [--smoke]

A run is 250 or 300 epochs; count in many hours of a GPU. The folder DATA is described in docs/papers.md.
"""

from pml_proxyext.benchmark.paper_tables import main

RECIPES = ["nivmf_cub200_512", "nivmf_cars196_512"]

if __name__ == "__main__":
    main(__doc__, RECIPES)
