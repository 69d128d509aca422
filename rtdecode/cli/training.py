"""Commands whose work is in the package `offline`, which needs an extra and is loaded when called."""

import sys
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from rtdecode.errors import ConfigurationError

_EXTRA = "pip install 'rtdecode[offline,cpu]'"
OwnNetwork = Annotated[
    str | None,
    typer.Option(
        help="The network of somebody's own that the file speaks of: its code is run only if it is named here.",
        metavar="MODULE:CLASS",
    ),
]


def offline_module(module: str) -> Any:
    """Import a module of `offline`, or say in one sentence why it cannot be."""
    try:
        package = import_module("offline")
    except ModuleNotFoundError:
        raise ConfigurationError(f"The package `offline` is not installed. {_EXTRA}") from None
    home = Path(package.__file__ or "").parent
    if not (home / "recipes.py").exists():
        where = package.__file__ or ", ".join(map(str, getattr(package, "__path__", [])))
        raise ConfigurationError(
            f"Another module called `offline` ({where}) hides rtdecode's. Start from another folder, or rename it."
        )
    try:
        return import_module(f"offline.{module}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Training needs {error.name!r}, which is not installed. {_EXTRA}") from None


def train(
    configurations: Annotated[
        list[str], typer.Argument(help="A YAML file, or the name of a shipped one; several are compared.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of the recordings, or mne:NAME, a data set that MNE downloads (say, mne:eegbci).",
            envvar="RTDECODE_DATA",
            metavar="DIR",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to keep the run in; a run that is there goes on.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Train only this decoder (say, 007); may be repeated.")
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(help="Fit this decoder on all of its runs and write its .onnx; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes of this machine that fit folds.", min=1)] = 1,
    dask: Annotated[
        str | None, typer.Option(help="A Dask scheduler whose workers fit folds instead.", metavar="tcp://HOST:PORT")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Tell the run to this MLflow server or store, too.", metavar="URI")
    ] = None,
) -> None:
    """Train decoders on recordings, score them on what they were not trained on, and export.

    The run's folder keeps the configuration, the partition, the scores, and a checkpoint per fold, which
    `rtdecode export` turns into a decoder file. Several configurations are trained and tested on the same trials, and
    compared. A run that was ended goes on with the same command: what is done is not done again.
    """
    if dask and jobs > 1:
        raise ConfigurationError("--jobs and --dask: folds are fitted here, or by the scheduler's workers. Give one.")
    # A mistake is told before what takes seconds is loaded.
    settings = [offline_module("configuration").read_configuration(name) for name in configurations]
    folder = offline_module("sources").data_folder(data, settings)
    offline_module("workflow")
    offline_module("commands").train(settings, folder, output, only or [], export or [], dask or jobs, mlflow)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file in the folder of a training run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    subject: Annotated[str | None, typer.Option(help="Whose decoder, of a network that tells people apart.")] = None,
    form: Annotated[
        str | None,
        typer.Option(help="windowed, incremental, or auto: the faster one.", show_default="as it was trained"),
    ] = None,
    network: OwnNetwork = None,
) -> None:
    """Turn a checkpoint into a decoder file, proven: torch = ONNX Runtime, chunked = one-shot."""
    offline_module("commands").export(checkpoint, output, subject, form, network)


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, with all folders below.")] = Path("runs"),
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only those with network=eegnet, 'score>0.7', 'began>=2026-11-01', training.seed=1; may be repeated."
        ),
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Tell in what they differ, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Tell everything as JSON instead.")] = False,
) -> None:
    """List, filter and compare the training runs that were kept.

    A condition may ask for whatever the list tells, and for every setting by its path in the configuration.
    """
    from rich.console import Console

    catalogue = offline_module("catalogue")
    found = catalogue.matching(catalogue.find_runs(folder), where or [])
    if json:
        print(catalogue.as_json(found))
    elif not found:
        print(f"No run in {folder}{' meets all conditions' if where else ''}.")
    else:
        # Not a terminal: wide enough for the table.
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(catalogue.table(found, folder))
        if compare:
            console.print(catalogue.comparison(found))


def tune(
    model: Annotated[Path, typer.Argument(help="The decoder file (.onnx).")],
    recordings: Annotated[list[Path], typer.Argument(help="Recordings it was not trained on, with their events.")],
    false_per_minute: Annotated[
        float, typer.Option(help="False activations per minute outside of trials, at most.", min=0)
    ] = 2.0,
    rest: Annotated[
        list[str] | None, typer.Option(help="A class that stands for doing nothing; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the decoder here.", show_default="the file itself")
    ] = None,
    curve: Annotated[Path | None, typer.Option(help="Write all policies that were tried here (.csv).")] = None,
) -> None:
    """Find the policy that decides most trials right at a rate of false activations, and write it into the file.

    Every recording is decoded once, as live; some 300 policies are tried on what that gave. The curve shows what
    other thresholds do. Its figures are those of the recordings that chose: score the policy with `replay` on others.
    """
    offline_module("commands").tune(model, recordings, false_per_minute, tuple(rest or ()), output or model, curve)


def adapt(
    model: Annotated[Path, typer.Argument(help="A decoder file, or the checkpoint (.pt) of its training.")],
    recording: Annotated[Path, typer.Argument(help="A new recording with events of the same classes.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .onnx to write.", show_default="MODEL-adapted.onnx")
    ] = None,
    trained_on: Annotated[
        list[Path] | None,
        typer.Option(help="What it was trained on, for what is fitted in closed form; may be repeated."),
    ] = None,
    rate: Annotated[float, typer.Option(help="Learning rate, relative to that of its training.", min=1e-6)] = 0.1,
    network: OwnNetwork = None,
) -> None:
    """Fit a decoder further on a new recording, and tell how good it was and is on trials it never saw."""
    offline_module("adaptation").adapt(model, recording, trained_on or [], output, rate, network)


def collect(
    output: Annotated[
        Path | None, typer.Argument(help="The .npz to write.", show_default="collected-DATE.npz")
    ] = None,
    classes: Annotated[str, typer.Option(help="What is cued, with commas.")] = "left,right",
    trials: Annotated[int, typer.Option(help="Trials of each class.", min=1)] = 20,
    cue_s: Annotated[float, typer.Option(help="Seconds of a cue.")] = 4.0,
    rest_s: Annotated[tuple[float, float], typer.Option(help="Shortest and longest rest between cues.")] = (2.0, 3.0),
    check_s: Annotated[
        float, typer.Option(help="Seconds that the stream must be without fault before the first cue.", min=0)
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the order and the rests.", min=0)] = 0,
    train: Annotated[
        str | None, typer.Option(help="Then train with this configuration, for example `collected`.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="The decoder file to write.", show_default="OUTPUT.onnx")] = None,
    stream: Annotated[str | None, typer.Option(help="Name of the stream to record.")] = None,
    type: Annotated[str | None, typer.Option(help="Its type; EEG or MEG when not given.")] = None,
    source_id: Annotated[str | None, typer.Option(help="Its source_id.")] = None,
    host: Annotated[str | None, typer.Option(help="The host it comes from.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to look for the stream.")] = 30.0,
    ch_names: Annotated[str | None, typer.Option(help="Channels, with commas, of a stream that names none.")] = None,
    units: Annotated[str | None, typer.Option(help="Unit of all channels of a stream that declares none.")] = None,
) -> None:
    """Record a live stream while cues are shown, and train a decoder from it.

    Cues are shown here and published as STREAM-cues. What is wrong with the stream is told before the first one.
    Ctrl-C ends it; what was recorded is kept.
    """
    from rich.console import Console

    from rtdecode.collector import Collector, CollectSettings
    from rtdecode.configuration import validate
    from rtdecode.files import refuse_output
    from rtdecode.interrupts import Interrupts
    from rtdecode.prompter import Prompter

    output = output or Path(f"collected-{datetime.now():%Y%m%d-%H%M%S}.npz")
    document = {
        "stream": {"name": stream, "type": type, "source_id": source_id, "host": host},
        "ch_names": ch_names.split(",") if ch_names else None, "units": units, "wait_s": wait, "check_s": check_s,
        "cues": {
            "classes": [name.strip() for name in classes.split(",")],
            "trials": trials, "cue_s": cue_s, "rest_s": rest_s, "seed": seed,
        },
    }  # fmt: skip
    settings = validate(CollectSettings, document, "Options")
    model = model or output.with_suffix(".onnx")
    trainer = None
    if train:
        # Whatever is wrong with it is better told before somebody sat through the session.
        refuse_output(model, ".onnx")
        trainer = offline_module("collected").Trainer(train, output, model, settings.cues)
    console, interrupts = Console(), Interrupts().listen()
    try:
        with Prompter(console, trials * len(settings.cues.classes)) as screen:
            collected = Collector(output, settings, screen, interrupts=interrupts).run()
    finally:
        interrupts.ignore()
    cued = ", ".join(f"{n} {name}" for name, n in collected.cued.items())
    print(f"{output}: {collected.n_samples} samples, {cued}; faults: {dict(collected.incidents) or 'none'}")
    if trainer and collected.complete:
        interrupts.leave()
        trainer.train(collected.stream.name)
    elif trainer:
        print(f"Not trained: the session was interrupted. To train on it: rtdecode train {train} --data DIR")


def config(
    name: Annotated[str | None, typer.Argument(help="Which one; the list without it.")] = None,
) -> None:
    """Print a shipped training configuration, to copy and change."""
    configuration = offline_module("configuration")
    print(configuration.shipped_text(name) if name else "\n".join(configuration.shipped()))


def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which ones, also by import path; all that are shipped without it.")
    ] = None,
    channels: Annotated[int, typer.Option(help="Channels of the signal.", min=1, max=4096)] = 22,
    times: Annotated[int, typer.Option(help="Samples of a window.", min=1, max=1_000_000)] = 1000,
    outputs: Annotated[int, typer.Option(help="Classes.", min=2, max=10_000)] = 4,
    sfreq: Annotated[float, typer.Option(help="Rate of the samples in Hz.", min=0.1, max=1e6)] = 250.0,
    settings: Annotated[bool, typer.Option("--settings", help="Tell the networks' settings instead.")] = False,
) -> None:
    """List the networks: parameters, how far they look, and their latency on this machine.

    Each is built with its default settings, exported as a decoder would be, and run by ONNX Runtime on one thread.
    """
    if settings:
        offline_module("commands").settings(names or [])
    else:
        offline_module("commands").models(names or [], channels, times, outputs, sfreq)


def store(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove all of it; it is made again when it is needed.")
    ] = False,
) -> None:
    """Tell where preprocessed recordings are kept and how much room they take, or remove them.

    RTDECODE_STORE names another folder.
    """
    kept = offline_module("store")
    told = f"{len(kept.folders())} parts of recordings, {kept.size_bytes() / 2**20:.1f} MiB"
    if clear:
        kept.clear()
    print(f"{told}, {'removed from' if clear else 'in'} {kept.place()}")


def demo(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep recordings and decoder in this folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated subject.")] = 0,
) -> None:
    """Show everything once, with simulated data: train, export, play, decode live, compare with replay.

    Needs no hardware and no download; takes about a minute. LSL stays on this machine.
    """
    offline_module("demo").demo(output, seed)
