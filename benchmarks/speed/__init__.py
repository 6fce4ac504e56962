"""The parts of benchmarks/latency.py: what is measured, how, and how it is shown."""
