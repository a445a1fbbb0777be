"""The benchmark: data sets, recipes, runs, tables and figures. Start it with ``python -m pml_proxyext.benchmark``."""
