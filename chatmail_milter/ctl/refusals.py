"""`chatmailctl refusals`: forgets recipients at peers that their servers refused permanently in the last day.

They can't be listed, because the store has no addresses, only pseudonyms.
"""

from __future__ import annotations

import click

from chatmail_milter.ctl.context import canonical_address, store
from chatmail_milter.store import refusals as stored
from chatmail_milter.store.pseudonyms import load_key
from chatmail_milter.store.refusals import Refusals


@click.group()
def refusals() -> None:
    """Recipients at peers that their servers refused permanently.

    The relay remembers them for a day.
    """


@refusals.command()
@click.argument("address", required=False, callback=canonical_address)
@click.option("--all", "everything", is_flag=True, help="Forget all of them.")
def forget(address: str | None, everything: bool) -> None:
    """Forget that a server refused ADDRESS, so that the next message to it is sent."""
    if (address is None) != everything:
        raise click.UsageError("name one address, or say --all")
    engine = store()
    number = stored.forget_all(engine) if address is None else Refusals(engine, load_key()).forget(address)
    click.echo(f"Forgot {int(number)} refusal{'' if number == 1 else 's'}.")
