"""Attacks by strangers on one relay of the lab, each while other people use it: `make test-attacks`.

An attack is a context manager that is given a `trial.Scene`: it comes to its height before it yields, stays
there until it is left, and then ends by itself. Meanwhile the trial makes every probe (`probes.PROBES`) round
after round, from an address that the attack doesn't use: login, submission, delivery, a peer's message by
HTTPS and on port 25, a fresh account, and a login by WebIMAP. A probe that was refused, failed or wasn't
answered within `probes.DEADLINE` makes the row red, and so does a relay that is not as before within
`trial.NORMAL_SECONDS` after the attack.

To add a row, add a file with `ATTACKS` and name it in `table.py`:

    @contextmanager
    def hammer(scene: Scene) -> Iterator[str]:
        with strangers.kept(scene.ipv4(20), 50, scene.host, 25, talk) as tally:
            yield f"{tally.open} connections from 20 addresses"

    ATTACKS = (Attack("hammer on port 25", hammer),)

What is yielded is what the attacker achieved, in words; the table shows it. `strangers.kept` keeps so many
connections from each address, opens those anew that the relay closes (a bounded number of times), and has the
coroutine `talk(reader, writer)` say something on each. A worker that isn't asyncio fits into
`strangers.flooding`. An AssertionError from the attack is a breach too: what must hold afterwards (a victim's
mail is still there) is asserted after the `yield`, or polled by `Attack.normal` until the minute is over.
`Attack.shared` makes the probes come from `strangers.SHARED`, as the attack then does, too: people behind one
carrier's address.

An attack is bounded in number and in time, and goes to the lab's own hosts. Its addresses (`scene.ipv4`,
`scene.networks6`, `scene.addresses6`) exist in the lab alone.
"""
