"""The command ``models export``: a tuned encoder as a folder that any library reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rillet.cli.options import AsJson, SettingsFile, opened
from stream.errors import ModelError

__all__ = ["export_model"]


def export_model(
    version: Annotated[str, typer.Argument(help="An encoder, as `rillet models list` names it.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    *,
    registry: Annotated[
        str, typer.Option("--registry", help="Another registry than training.registry.")
    ] = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a tuned text encoder as a Hugging Face folder, its adapter merged in.

    It serves as `encoder.model` of any engine, and as a model of
    sentence-transformers where the one it was tuned from does. The encoder that
    it was tuned from (`encoder.model`) has to be here.

    [bold]Examples[/bold]

      rillet models export 20261124T183000-ab12cd my-encoder

      RILLET_ENCODER__MODEL=./my-encoder rillet replay events.jsonl.gz
    """
    from features.merging import write_merged
    from features.model_folder import find_base
    from models.encoder_packing import read_adapter
    from models.registry import Registry

    settings = opened(settings_file)
    place = Registry(registry or settings.training.registry)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} is there already", "name a folder that is not")
    base = find_base(settings.encoder)
    adapter, _ = read_adapter(place, version, base)
    try:
        write_merged(base, adapter, folder)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error}", "name another folder") from error
    if as_json:
        typer.echo(json.dumps({"version": version, "folder": str(folder), "base": base.name}))
        return
    typer.echo(f"{folder}: {base.name} with {version} in it; RILLET_ENCODER__MODEL={folder}")
