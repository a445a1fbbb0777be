"""Speed and memory against honest baselines; `python -m benchmarks` runs them all."""
