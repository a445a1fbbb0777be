"""Methods of thirteen papers as drop-in parts for pytorch-metric-learning."""

__version__ = "0.1.0"
