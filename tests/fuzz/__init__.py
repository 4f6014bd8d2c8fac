"""Coverage-guided fuzzing of the gate (atheris): `make fuzz`, or `python -m tests.fuzz FILE` to replay.

An input is a message. Two promises are asserted of each, in `promises`; the seeds are the samples of
`tests/corpus`, and half of the mutations know what a message looks like.
"""
