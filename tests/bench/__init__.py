"""Benchmarks: ratios of two things measured in the same run, in turns. They never pass or fail on time.

A bench is a module with a `measure(context)` that returns tables; `__main__` knows them by name.
"""
