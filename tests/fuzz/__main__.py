"""`python -m tests.fuzz --seconds N` fuzzes; `python -m tests.fuzz FILE...` replays what it found.

What is found stays in `found/`, what covers more of the gate in `grown/` for the next run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random

_ROOM = Path(__file__).parent
_FOUND, _GROWN, _SEEDS = _ROOM / "found", _ROOM / "grown", _ROOM / "seeds"

# The longest message that is tried: longer ones are only slower.
_LONGEST = 8192


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="fuzz the gate, or replay inputs"
    )
    parser.add_argument("--seconds", type=int, default=180, help="how long to fuzz (180)")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="inputs to replay instead")
    options = parser.parse_args()
    return _replay(options.files) if options.files else _fuzz(options.seconds)


def _replay(files: list[Path]) -> int:
    from tests.fuzz import promises

    for file in files:
        promises.check(file.read_bytes())
        print(f"{file}: every promise holds")
    return 0


def _fuzz(seconds: int) -> int:
    """Never returns: the fuzzer ends the process, with 77 if it found something."""
    import atheris

    from tests.corpus.mutations import mutate

    # Imported here, so that the gate's branches and comparisons are counted, and nobody else's.
    with atheris.instrument_imports(include=["chatmail_milter.gate"]):
        from tests.fuzz import promises

    def half_knowing(octets: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 (it hides nothing)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(octets, most))
        return mutate(random, octets, random.randrange(1, 4))[:most]

    def attempt(octets: bytes) -> None:
        promises.check(octets)

    for folder in (_FOUND, _GROWN, _SEEDS):
        folder.mkdir(exist_ok=True)
    _sow()
    print(f"what is found will be in {_FOUND}; replay it with: python -m tests.fuzz FILE", flush=True)
    options = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-artifact_prefix={_FOUND}/"]
    options += ["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(_GROWN), str(_SEEDS)], attempt, custom_mutator=half_knowing)
    atheris.Fuzz()
    return 0


def _sow() -> None:
    """The committed samples, and messages of every kind that the gate knows."""
    from tests import messages
    from tests.corpus import committed

    seeds = {sample.name.replace("/", "-"): sample.octets for sample in committed()}
    seeds |= {"report": messages.report(), "setup": messages.setup_message(), "plain": messages.text()}
    for name, octets in seeds.items():
        if len(octets) <= _LONGEST:
            (_SEEDS / name).write_bytes(octets)


if __name__ == "__main__":
    sys.exit(main())
