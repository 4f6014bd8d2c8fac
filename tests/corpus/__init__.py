"""Real ciphertext: messages as chat clients and OpenPGP programs write them, and what they are.

`python -m tests.corpus` (`make corpus`) makes all of it anew. The samples in `samples/` are committed, each a
message as it was submitted, with CRLF; `manifest.json` tells who made it and what is expected, stated by
whoever described the sample, never computed. Large ones stay in `large/`, where they are made.
"""

from tests.corpus.manifest import ALICE, BOB, ENCRYPTED, NONE, SECURE_JOIN, Sample, committed, samples

__all__ = ["ALICE", "BOB", "ENCRYPTED", "NONE", "SECURE_JOIN", "Sample", "committed", "samples"]
