"""`pibench board`: check what a board provides, and remove what pibench keeps there."""

from __future__ import annotations

from typing import Annotated

import typer

from pibench.cli.options import AsJson, Identity, ProtocolName, RemoteDir

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Url = Annotated[str, typer.Argument(metavar="ssh://USER@HOST", help="The board.")]


@app.command()
def check(
    url: Url,
    protocol: ProtocolName = "caffe-time",
    identity: Identity = None,
    remote_dir: RemoteDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a board has and lacks for a run; nothing remains on the board.

    Exit code: 0 it can run networks, 3 it cannot.

    Example: pibench board check ssh://pi@raspberrypi.local
    """
    from pibench.cli.boards import check_board

    raise typer.Exit(
        check_board(
            url, protocol=protocol, identity=identity, remote_dir=remote_dir, as_json=as_json
        )
    )


@app.command()
def clean(url: Url, identity: Identity = None, remote_dir: RemoteDir = None) -> None:
    """Remove from a board what is kept there between runs: pibench's Caffe.

    Interrupted runs are removed too; a running one is not.

    Example: pibench board clean ssh://pi@raspberrypi.local
    """
    from pibench.cli.boards import clean_board

    raise typer.Exit(clean_board(url, identity=identity, remote_dir=remote_dir))
