"""`chatmailctl refusals`: recipients elsewhere that their servers refused for good, until the day is over.

They can't be listed, since the store holds no addresses.
"""

from __future__ import annotations

import click

from chatmail_milter.ctl.context import canonical_address, store
from chatmail_milter.store import refusals as stored
from chatmail_milter.store.pseudonyms import load_key
from chatmail_milter.store.refusals import Refusals


@click.group()
def refusals() -> None:
    """Recipients elsewhere that their servers refused for good.

    They are remembered for a day.
    """


@refusals.command()
@click.argument("address", required=False, callback=canonical_address)
@click.option("--all", "everything", is_flag=True, help="Forget all of them.")
def forget(address: str | None, everything: bool) -> None:
    """Forget that its server refused ADDRESS by mistake, so that the next message to it is sent."""
    if (address is None) != everything:
        raise click.UsageError("name one address, or say --all")
    engine = store()
    number = stored.forget_all(engine) if address is None else Refusals(engine, load_key()).forget(address)
    click.echo(f"Forgot {int(number)} refusal{'' if number == 1 else 's'}.")
