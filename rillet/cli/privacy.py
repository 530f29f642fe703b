"""The commands ``privacy key``, ``id`` and ``rotate``."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from rillet.cli.options import AsJson, SettingsFile, opened
from stream.errors import LogError, SettingsError

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _privacy() -> None:
    """Name users by pseudonyms, so that neither Kafka, Redis nor the archive hold an id.

    Where RILLET_PRIVACY__KEY is set, whoever publishes or reads through Rillet
    maps ids by HMAC-SHA-256. The secret is taken from the environment alone.

    [bold]Examples[/bold]

      export RILLET_PRIVACY__KEY="$(rillet privacy key)"

      redis-cli GET "rillet:1:recs:$(rillet privacy id alice)"

      rillet privacy rotate --users users.txt

    Each explains itself: rillet privacy COMMAND --help
    """


@app.command()
def key() -> None:
    """Print a new secret, 256 bits of chance.

    [bold]Examples[/bold]

      export RILLET_PRIVACY__KEY="$(rillet privacy key)"
    """
    typer.echo(secrets.token_urlsafe(32))


@app.command("id")
def show_id(
    user: Annotated[str, typer.Argument(help="Whose pseudonym.")],
    *,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a user's pseudonym; with privacy.old_key a second line has the one before.

    [bold]Examples[/bold]

      rillet privacy id alice
    """
    from stream.pseudonyms import pseudonyms_of

    names = pseudonyms_of(opened(settings_file).privacy).all_of(user)
    typer.echo(json.dumps(names) if as_json else "\n".join(names))


@app.command()
def rotate(
    *,
    users: Annotated[str, typer.Option(metavar="FILE", help="Users' ids, one a line; - is stdin.")],
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="They lie under their raw ids: pseudonyms are new.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many it is.")] = False,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Hand each user's state over from his old pseudonym to the new one.

    Set RILLET_PRIVACY__KEY to the new secret and RILLET_PRIVACY__OLD_KEY to the
    one before, for the applications too: both are read meanwhile, and new
    events go under the new one. A pseudonym does not tell whose it is, so that
    the ids come from you. For each an `identify` event is published, which hands
    over what the state holds; the old state is emptied, and the archive knows
    the two for one. Twice does no harm. Then unset the old secret.

    [bold]Examples[/bold]

      psql -Atc 'select id from users' | rillet privacy rotate --users -

      rillet privacy rotate --users users.txt --from-raw
    """
    from stream.events import Identify, Millis, encode
    from stream.kafka import KafkaSink
    from stream.pseudonyms import pseudonyms_of
    from stream.records import Outgoing

    settings = opened(settings_file)
    names = pseudonyms_of(settings.privacy)
    if not names.active or (settings.privacy.old_key is None and not from_raw):
        mend = "set RILLET_PRIVACY__KEY and RILLET_PRIVACY__OLD_KEY; or give --from-raw"
        raise SettingsError("there is nothing to go from, or to", mend)
    now, count = Millis(time.time_ns() // 1_000_000), 0
    sink = None if dry_run else KafkaSink(settings.kafka)
    try:
        for user in _lines(users):
            new, *old = names.all_of(user)
            for before in [user] if from_raw and user != new else old:
                count += 1
                event = Identify(timestamp=now, user=new, anonymous=before)
                if sink is not None:
                    topic = settings.kafka.events
                    sink.send(Outgoing(topic, encode(event), key=before.encode()))
        if sink is not None:
            sink.flush()
    finally:
        if sink is not None:
            sink.close()
    word = "would be handed over" if dry_run else "are handed over as the consumers read on"
    typer.echo(json.dumps({"users": count}) if as_json else f"{count:,} users {word}")


def _lines(path: str) -> Iterator[str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path} cannot be read: {error}", "one id a line, in UTF-8") from error
    yield from (line for line in text.splitlines() if line)
