"""The command line; the workflow's rules call its commands.

Heavy libraries are imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from smoothcert import __version__, config_files, datasets, methods, models, runs
from smoothcert.errors import UserError, reason, suggestion
from smoothcert.options import (
    Parser,
    add_data_dir,
    add_experiment,
    add_machine,
    add_model,
    add_output,
    add_replace,
    add_section,
    finite,
    read_section,
)
from smoothcert.published import logs
from smoothcert.settings import Training
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.settings import Attack, Prediction

if TYPE_CHECKING:
    import torch

    from smoothcert.checkpoint import Checkpoint
    from smoothcert.datasets import Dataset


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exit with one line on standard error if the user must mend something."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parser = _parser(arguments)
    except UserError as error:
        sys.exit(f"smoothcert: {error}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        method = f" --method {options.method}" if options.command == "train" else ""
        parser.prog += f" {options.command}{method}"
        parser.error(f"unknown options: {' '.join(unknown)}")
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UserError as error:
        sys.exit(f"smoothcert {options.command}: {error}")
    except OSError as error:  # no permission, a full disk, a file server that is gone
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"smoothcert {options.command}: {place}{error.strerror or error}")
    except RuntimeError as error:
        from smoothcert.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        sys.exit(
            f"smoothcert {options.command}: out of memory ({reason(error)}); let fewer processes "
            "share the device"
        )
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = Parser(
        prog="smoothcert", description="Train, certify and compare smoothed classifiers."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (summary, add_options, run) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        add_options(command)
    method = _named_method(arguments)
    if method:
        add_section(commands.choices["train"], methods.load(method), method)
    return parser


def _data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("dataset", choices=[*datasets.names(), logs.NAME])
    add_data_dir(command)
    add_output(command, "JSON file with the data set's sizes and checksum")


def _data(options: argparse.Namespace) -> None:
    from smoothcert import files

    if options.dataset == logs.NAME:
        files.write_json(options.output, logs.fetch(options.data_dir))
        return
    data = datasets.load(options.dataset, options.data_dir)
    record = {
        "dataset": options.dataset,
        "train_images": len(data.train_labels),
        "test_images": len(data.test_labels),
        "checksum": data.checksum,
    }
    files.write_json(options.output, record)


def _train_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", choices=datasets.names(), required=True)
    command.add_argument("--arch", choices=models.names(), required=True)
    command.add_argument(
        "--method",
        choices=methods.names(),
        required=True,
        help="training objective; --method NAME --help lists its own options too",
    )
    command.add_argument(
        "--sigma", type=float, required=True, help="noise: standard deviation, [0, 1] pixel scale"
    )
    command.add_argument(
        "--lambda",
        dest="weight",
        type=finite,
        metavar="LAMBDA",
        help="weight of the method's regularizer, required where it has one",
    )
    command.add_argument(
        "--seed", type=int, default=0, help="of weights, order and noise (default: 0)"
    )
    add_section(command, Training, "training")
    add_data_dir(command)
    add_machine(command)
    add_replace(command, "model of this run from other code, data or start")
    add_output(command, "folder for model.pt and train.tsv")


def _train(options: argparse.Namespace) -> None:
    from smoothcert.device import choose
    from smoothcert.point import Point
    from smoothcert.train import train

    objective = methods.load(options.method)
    if objective.regularized and options.weight is None:
        raise UserError(f"method {options.method} needs --lambda, the weight of its regularizer")
    point = Point(
        dataset=options.dataset,
        arch=options.arch,
        method=options.method,
        sigma=options.sigma,
        weight=options.weight or 0.0,
        seed=options.seed,
        training=read_section(options, Training),
        parameters=read_section(options, objective),
    )
    data = datasets.load(options.dataset, options.data_dir)
    device = choose(options.device, options.threads)
    train(point, data, options.output, device, options.replace)


def _convert_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file",
        type=Path,
        help="what torch.save wrote: a state_dict, bare or under a key, as in released checkpoints",
    )
    command.add_argument(
        "--arch", choices=models.names(), help="network (default: what the file states)"
    )
    command.add_argument("--dataset", choices=datasets.names(), required=True)
    command.add_argument(
        "--normalize",
        choices=get_args(Training.model_fields["normalize"].annotation),
        required=True,
        help="what the network expects: the data set's mean taken off and divided by its standard "
        "deviation (standard), the mean taken off (center), or neither (none)",
    )
    command.add_argument(
        "--sigma", type=float, required=True, help="noise of its training, [0, 1] pixel scale"
    )
    command.add_argument(
        "--seed", type=int, default=0, help="of the noise of certification (default: 0)"
    )
    add_output(command, "the checkpoint to write, as in DIR/model.pt")


def _convert(options: argparse.Namespace) -> None:
    from smoothcert.convert import convert

    convert(
        options.file,
        options.output,
        arch=options.arch,
        dataset=options.dataset,
        normalize=options.normalize,
        sigma=options.sigma,
        seed=options.seed,
    )


def _certify_options(command: argparse.ArgumentParser) -> None:
    add_model(command, Protocol, "protocol")
    command.add_argument(
        "--shard", metavar="K/N", default="1/1", help="certify the K-th of N parts (default: 1/1)"
    )
    add_output(command, "folder for certificates.tsv and certificates.json")


def _certify(options: argparse.Namespace) -> None:
    from smoothcert.smoothing.certify import certify
    from smoothcert.smoothing.shards import Shard

    protocol, shard = read_section(options, Protocol), Shard.read(options.shard)
    trained, data, device = _opened(options)
    certify(trained, data, protocol, options.output, device, shard, options.replace)


def _predict_options(command: argparse.ArgumentParser) -> None:
    add_model(command, Prediction, "prediction")
    add_output(command, "folder for predictions.tsv and predictions.json")


def _predict(options: argparse.Namespace) -> None:
    from smoothcert.smoothing.predict import Predictions

    settings = read_section(options, Prediction)
    trained, data, device = _opened(options)
    Predictions(trained, data, settings, device).write(options.output, options.replace)


def _attack_options(command: argparse.ArgumentParser) -> None:
    add_model(command, Attack, "attack")
    add_output(command, "folder for attacked.tsv and attacked.json")


def _attack(options: argparse.Namespace) -> None:
    from smoothcert.smoothing.attack import Attacked

    settings = read_section(options, Attack)
    trained, data, device = _opened(options)
    Attacked(trained, data, settings, device).write(options.output, options.replace)


def _doctor_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="configuration files, laid over config/config.yaml in turn, or one model.pt",
    )
    command.add_argument("--sigma", type=float, help="noise that the model is to be smoothed with")
    command.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of the model's data set; a configuration names its own (default: data)",
    )


def _doctor(options: argparse.Namespace) -> None:
    from smoothcert.doctor import examine

    found = examine(options.files, options.sigma, options.data_dir)
    for finding in found:
        print(finding)
    if all(finding.level == "note" for finding in found):
        print("nothing to warn of")
    if any(finding.level == "error" for finding in found):
        sys.exit(1)


def _cost_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="configuration files, laid over config/config.yaml in turn",
    )
    add_machine(command, device=None, threads=None)


def _cost(options: argparse.Namespace) -> None:
    from smoothcert import cost
    from smoothcert.device import choose, describe

    settings = config_files.read(config_files.merged(options.files))
    threads = settings.threads if options.threads is None else options.threads
    device = choose(options.device or settings.device, threads)
    rows = cost.estimate(settings, Path(runs.RESULTS), device)
    print(cost.table(rows))
    print(cost.assumptions(settings, describe(device)))


def _merge_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("shards", type=Path, nargs="+", help="folders of all shards")
    add_replace(command)
    add_output(command, "folder for certificates.tsv and certificates.json")


def _merge(options: argparse.Namespace) -> None:
    from smoothcert.smoothing.shards import merge

    merge(options.shards, options.output, options.replace)


def _summarize_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("certificates", type=Path, help="folder that holds certificates.tsv")


def _summarize(options: argparse.Namespace) -> None:
    from smoothcert.analysis.summary import summarize

    print(summarize(options.certificates))


def _import_logs_options(command: argparse.ArgumentParser) -> None:
    add_experiment(command)
    add_data_dir(command, f"holds {logs.NAME}, unless {logs.VARIABLE} names another folder")
    add_output(command, "JSON file that names the logs")


def _import_logs(options: argparse.Namespace) -> None:
    from smoothcert.analysis.import_logs import import_logs

    import_logs(options.experiment, logs.folder(options.data_dir), options.output)


def _tables_options(command: argparse.ArgumentParser) -> None:
    add_experiment(command)
    add_output(command, "folder for the tables: CSV, Markdown, LaTeX and HTML")


def _tables(options: argparse.Namespace) -> None:
    from smoothcert.analysis.write_tables import write_tables

    write_tables(options.experiment, options.output)


def _figures_options(command: argparse.ArgumentParser) -> None:
    add_experiment(command)
    add_output(command, "folder for the figures: SVG, PDF, PNG, and CSV of what they show")


def _figures(options: argparse.Namespace) -> None:
    from smoothcert.analysis.draw_figures import draw_figures

    draw_figures(options.experiment, options.output)


def _compare_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("left", type=Path, metavar="A", help="a folder of results, or a .tsv")
    command.add_argument("right", type=Path, metavar="B", help="the same; a published log too")
    command.add_argument(
        "--images",
        type=int,
        default=10,
        help="list so many of the images that differ most (default: 10)",
    )


def _compare(options: argparse.Namespace) -> None:
    from smoothcert.analysis.compare import compare

    print(compare(options.left, options.right, options.images), end="")


def _report_options(command: argparse.ArgumentParser) -> None:
    add_experiment(command)
    command.add_argument("--tables", type=Path, required=True, help="folder of its tables")
    command.add_argument("--figures", type=Path, required=True, help="folder of its figures")
    add_output(command, "the HTML file, which needs no other")


def _report(options: argparse.Namespace) -> None:
    from smoothcert.report.page import write_report

    write_report(options.experiment, options.tables, options.figures, options.output)


def _index_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("reports", type=Path, help="folder of the experiments' folders")
    add_output(command, "the HTML file")


def _index(options: argparse.Namespace) -> None:
    from smoothcert.report.index import write_index

    write_index(options.reports, options.output)


def _opened(options: argparse.Namespace) -> tuple[Checkpoint, Dataset, torch.device]:
    """Return the model, its data and the device that the options of ``add_model`` name."""
    from smoothcert import checkpoint
    from smoothcert.device import choose

    model = checkpoint.load(options.model)
    data = datasets.load(model.point.dataset, options.data_dir)
    return model, data, choose(options.device, options.threads)


def _named_method(arguments: list[str]) -> str | None:
    """Return the value of --method before all options are known."""
    if arguments[:1] != ["train"]:
        return None
    parser = Parser(add_help=False)
    parser.add_argument("--method", nargs="?")  # without a value, the real parser says so
    name = parser.parse_known_args(arguments)[0].method
    if name is not None and name not in methods.names():
        sys.exit(f"smoothcert train: unknown method {name!r}{suggestion(name, methods.names())}")
    return name


_COMMANDS = {
    "data": ("Fetch a data set and record its checksum.", _data_options, _data),
    "train": ("Train one classifier.", _train_options, _train),
    "convert": ("Convert weights that were trained elsewhere.", _convert_options, _convert),
    "certify": ("Certify a trained classifier.", _certify_options, _certify),
    "predict": ("Predict with a trained classifier.", _predict_options, _predict),
    "attack": ("Predict with a trained classifier under attack.", _attack_options, _attack),
    "doctor": ("Look for problems in a configuration or a model.", _doctor_options, _doctor),
    "cost": ("Estimate the hours that a configuration takes.", _cost_options, _cost),
    "merge": ("Join the shards of a certification.", _merge_options, _merge),
    "summarize": ("Summarise certificates in summary.json.", _summarize_options, _summarize),
    "import-logs": (
        "Take over the published logs of an experiment.",
        _import_logs_options,
        _import_logs,
    ),
    "tables": ("Write an experiment's tables.", _tables_options, _tables),
    "figures": ("Draw an experiment's figures.", _figures_options, _figures),
    "compare": ("Compare two sets of certificates.", _compare_options, _compare),
    "report": ("Write an experiment's report page.", _report_options, _report),
    "index": ("List the experiments that have a report.", _index_options, _index),
}
