"""`pibench networks`: the networks of the zoo, as a list, as text, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pibench.cli import options as opt
from pibench.cli.output import print_json, say
from pibench.report.text import one_line, visible

app = typer.Typer(
    help="The networks of the paper: list them, print one, write files.", no_args_is_help=True
)


def _rows() -> list[dict[str, object]]:
    """Return one row per network of the zoo. Sizes in MB (10^6 bytes), input in pixels."""
    from pibench import networks

    loaded = [(entry, networks.load(entry.name)) for entry in networks.catalog_entries()]
    return [
        {
            "name": entry.name,
            "slug": entry.slug,
            "paper_row": entry.paper_row,
            "paper_name": entry.paper_name,
            "variant_of": entry.variant_of,
            "aliases": list(entry.aliases),
            "parameters": network.parameter_count,
            "weights_file_mb": round(network.weights_file_bytes / 1e6, 3),
            "input_size": entry.input_size,
            "source": entry.source,
        }
        for entry, network in loaded
    ]


def _remark(row: dict[str, object]) -> str:
    if row["variant_of"]:
        return f"variant of {row['variant_of']}"
    if row["paper_row"]:
        return f"row {row['paper_row']}"
    return "did not run"


@app.command("list")
def list_networks(
    as_json: bool = opt.switch("--json", "Print JSON, one array."),
) -> None:
    """List the networks with parameters, weights file and input size.

    Example: pibench networks list --json
    """
    rows = _rows()
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    from pibench.report.tables import console

    table = Table("network", "in the paper", "parameters", "file MB", "input", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        parameters, file_mb = f"{row['parameters']:,}", f"{row['weights_file_mb']:.1f}"
        table.add_row(str(row["name"]), _remark(row), parameters, file_mb, str(row["input_size"]))
    console().print(table)


@app.command("show")
def show(
    name: opt.Spec,
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
) -> None:
    """Print the prototxt of a network.

    Example: pibench networks show squeezenet-v1.1
    """
    network = opt.run_options(locals()).load(name)
    for sentence in network.repairs:
        typer.echo(f"# repaired: {one_line(sentence)}")
    typer.echo(network.prototxt, nl=False)


@app.command("export")
def export(
    name: opt.Spec,
    directory: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder for the files; made if missing.")
    ],
    weights: bool = opt.switch("--weights", "Write seeded random weights too."),
    seed: int = opt.amount(0, "--seed", "N", "Seed of the random weights.", 0),
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    force: opt.Force = False,
) -> None:
    """Write a network's prototxt, and on request weights of the published size.

    Example: pibench networks export alexnet out --weights --seed 1
    """
    from pibench.networks.network import write_network

    options = opt.run_options(
        {
            "batch": batch,
            "input_size": input_size,
            "repair": repair,
            "repair_as_paper": repair_as_paper,
        }
    )
    (network,) = opt.load_networks([name], options, check=False)
    resized = input_size is not None
    for path in write_network(
        network, directory, weights=weights, seed=seed, resized=resized, force=force
    ):
        typer.echo(visible(str(path)))


@app.command("fold-bn")
def fold_bn(
    name: opt.Spec,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="The folder for the files.")
    ],
    weights: Path | None = opt.value("The network's .caffemodel, to be folded too."),
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    force: opt.Force = False,
) -> None:
    """Fold BatchNorm and Scale into the layers before them: the same outputs, less memory.

    Example: pibench networks fold-bn deploy.prototxt --weights my.caffemodel -o folded
    """
    from pibench.networks import fold_bn as folding

    options = opt.run_options({**locals(), "protocol": "inference"})
    (network,) = opt.load_networks([name], options)
    paths = folding.write(network, out, force=force)
    count = len(folding.find(network.shapes_under("inference").layers))
    say(f"{network.name}: {count} BatchNorms folded; written as {network.name} folded")
    for path in paths:
        typer.echo(visible(str(path)))


@app.command("convert")
def convert(
    name: opt.Spec,
    to: Annotated[Literal["onnx", "ncnn"], typer.Option("--to", help="The format to write.")],
    out: Path | None = opt.value(
        "The file to write; ncnn has two, .param and .bin.  [default: NAME in this folder]",
        "-o", "--out",
    ),
    weights: Path | None = opt.value("The network's .caffemodel; random if none is given."),
    seed: int = opt.amount(0, "--seed", "N", "Seed of the random weights.", 0),
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    force: opt.Force = False,
) -> None:  # fmt: skip
    """Write a network as a file of ONNX or ncnn that computes exactly what Caffe does.

    Example: pibench networks convert deploy.prototxt --weights my.caffemodel --to onnx -o my.onnx
    """
    from pibench.engines import convert as converting
    from pibench.runner.model_files import seeded_weights

    options = opt.run_options({**locals(), "protocol": "inference"})
    (network,) = opt.load_networks([name], options)
    stem = converting.stem_of(out or Path(network.slug), to, force=force)
    values = network.weights or seeded_weights(network, seed)
    found = network.shapes_under("inference")
    for path in converting.convert(found, values, to, stem, path=network.place):
        typer.echo(visible(str(path)))
