"""Benchmarks: ratios within one run, seeds and machine stated, results as JSON in .bench/."""
