"""An existing decoder fitted further on a new recording: `rtdecode adapt`."""

from dataclasses import asdict, replace
from pathlib import Path

from offline.calibration import fit_calibrated
from offline.checkpoint import configuration_for_files, make_checkpoint, network_with, read_weights
from offline.commands import export
from offline.dataset import Dataset, Trial, load_dataset
from offline.evaluation import FoldResult, decode
from offline.models import NETWORKS, Network
from offline.models.closed_form import ClosedForm
from offline.partition import Fold, make_folds
from offline.sources import named_sources
from offline.training import Fitted, as_fitted
from rtdecode.contract import Contract, Score
from rtdecode.errors import ConfigurationError
from rtdecode.files import refuse_output
from rtdecode.scoring import Figure

# The last third of the new trials is what both decoders are judged on.
_N_BLOCKS = 3


def adapt(
    model: Path,
    recording: Path,
    trained_on: list[Path],
    output: Path | None,
    rate: float,
    network: str | None = None,
) -> None:
    """Fit a decoder further, tell how good it was and is on trials it never saw, and write it.

    A network goes on from its weights with `rate` times its learning rate, behind the preprocessing it has. What is
    fitted in closed form is fitted anew on all it was trained on, which must be given, and the new trials.

    Raises
    ------
    ConfigurationError
        It cannot be adapted, the file is there already, or its network is somebody's own module and not `network`.
    ModelError
        The checkpoint is missing or another decoder's.
    RecordingError
        The recording does not fit the decoder.
    """
    output = output or model.with_name(f"{model.stem}-adapted.onnx")
    refuse_output(output, ".onnx")
    for path in (output, output.with_suffix(".pt")):
        if path.exists():
            raise ConfigurationError(f"{path} exists already. Give another --output; nothing is overwritten.")
    contract, weights = read_weights(model)
    dataset = _dataset(contract, model, recording, trained_on, rate)
    for note in dataset.notes:
        print(note)
    fold = make_folds(dataset)[-1]
    by_id = {trial.id: trial for trial in dataset.trials}
    train, validation, test = ([by_id[i] for i in ids] for ids in (fold.train, fold.validation, fold.test))
    before = as_fitted(contract, network_with(weights, contract, model, dataset.positions, named=network))
    after = fit_calibrated(dataset, train, validation, start=None if trained_on else before)
    split = f"the last third of {recording.name}, {len(test)} trials that neither decoder learned from"
    figures = {name: _figures(dataset, fold, fitted, test) for name, fitted in (("before", before), ("after", after))}
    print(f"On {split}:")
    for name, found in figures.items():
        print("\n".join(f"{name}: {figure.name} {figure}" for figure in found))
    if figures["after"][0].value <= figures["before"][0].value:
        print("Adapting did not help on these trials: the old decoder may serve as well.")
    scores = [Score(**asdict(figure), split=split) for figure in figures["after"]]
    checkpoint = make_checkpoint(dataset, after, {t.recording for t in train}, scores)
    checkpoint.save(output.with_suffix(".pt"))
    if contract.policy != checkpoint.contract.policy:
        print(
            "The policy was tuned for the old probabilities; that of the training configuration, or none, takes its "
            "place: run `rtdecode tune` anew."
        )
    export(output.with_suffix(".pt"), output, network=network)


def _dataset(contract: Contract, model: Path, recording: Path, trained_on: list[Path], rate: float) -> Dataset:
    document = contract.provenance.configuration
    closed_form = issubclass(NETWORKS.get(contract.provenance.network, Network), ClosedForm)
    if contract.targets or document["recordings"].get("subject"):
        what = "continuous targets" if contract.targets else "people told apart"
        raise ConfigurationError(f"{model} cannot be adapted: it is a decoder of {what}. Train anew with `train`.")
    if closed_form and not trained_on:
        raise ConfigurationError(
            f"{model} is fitted in closed form, which cannot go on from its result: give what it was trained on with "
            "--trained-on, and it is fitted to all of it."
        )
    if trained_on and not closed_form:
        raise ConfigurationError(
            f"{model} goes on from its weights; --trained-on is for what is fitted in closed form."
        )
    configuration = configuration_for_files(
        contract,
        model,
        split={"kind": "stratified-blocks", "n_folds": _N_BLOCKS},
        training={"learning_rate": rate * document["training"]["learning_rate"]},
    )
    *others, own = named_sources([*trained_on, recording])
    sources = [*(replace(other, own=False) for other in others), own]
    dataset = replace(load_dataset(configuration, sources), signal=contract.signal)
    *given, new = [fingerprint[:16] for fingerprint in dataset.fingerprints]
    known = set(contract.provenance.data_fingerprint.split("+"))
    if new in known:
        raise ConfigurationError(f"{model} was trained on {recording} already. Give a new recording.")
    if len(set(given)) < len(given):
        raise ConfigurationError("--trained-on names a recording twice, and it would count twice. Name each once.")
    if closed_form and set(given) != known:
        raise ConfigurationError(
            f"--trained-on is not what {model} was trained on: {', '.join(contract.provenance.recordings)}."
        )
    return dataset


def _figures(dataset: Dataset, fold: Fold, fitted: Fitted, test: list[Trial]) -> list[Figure]:
    truth, decided = decode(dataset, fitted, test)
    return FoldResult(fold, fitted, truth, decided, None, 0.0).figures(dataset.configuration)
