"""Learning by gradient descent as the configuration says: optimizer, loss, schedule, metrics, stopping, going on."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, r2_score, roc_auc_score
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import Tensor, nn, optim
from torch.utils.data import Dataset as Examples

from offline.configuration import Metric, Training, TrainingConfiguration
from offline.models import Network
from offline.state import Kept
from rtdecode.errors import ConfigurationError

Progress = Callable[[str], None]
Curves = tuple[dict[str, float], ...]
_Measure = Callable[[NDArray[Any], NDArray[np.float32]], float]

_OPTIMIZERS: dict[str, Any] = {
    name.lower(): each
    for name, each in vars(optim).items()
    if isinstance(each, type) and issubclass(each, optim.Optimizer) and each is not optim.Optimizer
}
_LOSSES = {"cross-entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss, "huber": nn.HuberLoss, "l1": nn.L1Loss}


def _auc(truth: NDArray[Any], raw: NDArray[np.float32]) -> float:
    proba = torch.from_numpy(raw).softmax(dim=1).numpy()
    labels = np.arange(proba.shape[1])
    given = proba[:, 1] if len(labels) == 2 else proba
    return float(roc_auc_score(truth, given, multi_class="ovr", labels=labels))


_MEASURES: dict[Metric, _Measure] = {
    "accuracy": lambda truth, raw: accuracy_score(truth, raw.argmax(axis=1)),
    "balanced-accuracy": lambda truth, raw: balanced_accuracy_score(truth, raw.argmax(axis=1)),
    "kappa": lambda truth, raw: cohen_kappa_score(truth, raw.argmax(axis=1)),
    "auc": _auc,
    "r2": r2_score,
}


class PenalisedNet(NeuralNet):  # type: ignore[misc]
    """A network that learns by a criterion and its own penalty."""

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False) -> Tensor:
        """Return the criterion of outputs (batch, n_outputs), or of sequences of them, plus the penalty."""
        if self.module_.state_names:
            # Sequences of windows, each of which counts.
            y_pred, y_true = y_pred.flatten(0, 1), y_true.flatten(0, 1)
        loss: Tensor = super().get_loss(y_pred, y_true, X=X, training=training)
        penalty = self.module_.penalty() if training else None
        return loss if penalty is None else loss + penalty


class _Constrain(Callback):  # type: ignore[misc]
    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training:
            net.module_.constrain()


class _Metrics(Callback):  # type: ignore[misc]
    """Measures what the network gives for all validation windows of an epoch."""

    def __init__(self, names: tuple[Metric, ...]) -> None:
        self.names = names

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, y_pred: Any = None, **kwargs: Any
    ) -> None:
        if not training:
            truth, raw = batch[1], y_pred.cpu()
            self.parts.append((truth.flatten(0, 1), raw.flatten(0, 1)) if net.module_.state_names else (truth, raw))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        truth, raw = (torch.cat(part).numpy() for part in zip(*self.parts, strict=True))
        # A training that diverges is told of at its end.
        sound = np.isfinite(raw).all()
        for name in self.names:
            net.history.record(f"valid_{name}", float(_MEASURES[name](truth, raw)) if sound else np.nan)


class _Tell(Callback):  # type: ignore[misc]
    def __init__(self, tell: Progress, training: Training) -> None:
        self.tell, self.training = tell, training

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row, n_epochs = net.history[-1], self.training.max_epochs
        measured = "".join(f", {name} {row[f'valid_{name}']:.3f}" for name in self.training.metrics)
        left = timedelta(seconds=round(np.mean(net.history[:, "dur"]) * (n_epochs - row["epoch"])))
        self.tell(
            f"epoch {row['epoch']} of {n_epochs}, loss {row['train_loss']:.3f}, validation {row['valid_loss']:.3f}"
            f"{measured}, at most {left} left"
        )


def refuse_unfit(network: Network, training: Training) -> None:
    """Raise ConfigurationError unless there is such an optimizer, schedule and device, with such settings."""
    # Of what nobody set it is known; torch needs more than a second to make its first optimizer.
    usual = Training()
    unset = (training.optimizer, training.schedule) == (usual.optimizer, usual.schedule)
    if not unset or not any(True for _ in network.parameters()):
        _try_out(network, training)
    if training.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("training.device is cuda, and torch finds no GPU. Take cpu, or auto.")


def _try_out(network: Network, training: Training) -> None:
    name = training.optimizer.name
    if name not in _OPTIMIZERS:
        raise ConfigurationError(f"training.optimizer: torch has no {name!r}; it has {', '.join(_OPTIMIZERS)}.")
    what = f"optimizer: {name}"
    try:
        # With copies of the weights, which are moved once: some settings are looked at no sooner.
        weights = [nn.Parameter(weight.detach().clone()) for weight in network.parameters()]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        make = partial(_OPTIMIZERS[name], weights, lr=training.learning_rate, **training.optimizer.settings)
        make().step()
        if schedule := _schedule(training, 1):
            what = f"schedule: {training.schedule.name}"
            optimizer = make()
            policy = schedule.policy(optimizer, **schedule.kwargs)
            optimizer.step()
            policy.step(*([1.0] if training.schedule.name == "plateau" else []))
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigurationError(f"training.{what} cannot be had with these settings: {error}.") from None


def learn(
    network: Network,
    train: Examples[Any],
    watched: Examples[Any],
    weights: NDArray[np.float64] | None,
    configuration: TrainingConfiguration,
    progress: Progress | None,
    state: Path | None,
) -> Curves:
    """Fit on `train`, stop early by `watched`; return what was measured in each epoch.

    Parameters
    ----------
    network : Network
        Which is changed.
    train, watched : datasets of torch
        Windows or sequences of them, with their truth.
    weights : array, (n_classes,), or None
        How much a window of each class counts.
    configuration : TrainingConfiguration
        How.
    progress : callable or None
        Is told of every epoch.
    state : Path or None
        A file that keeps how far it is. A training that was killed goes on from there, and on a processor ends with
        the numbers, to the last bit, of one that was not.

    Raises
    ------
    ConfigurationError
        It diverged, or `state` is damaged.
    KeyboardInterrupt
        Somebody did not wait for the end.
    """
    training = configuration.training
    schedule, stopping = _schedule(training, -(-len(train) // training.batch_size)), _stopping(training)  # type: ignore[arg-type]
    kept = Kept(state, schedule, stopping) if state else None
    callbacks = {
        "constrain": _Constrain(),
        "clip": training.clip_gradient and GradientNormClipping(training.clip_gradient),
        "metrics": _Metrics(training.metrics) if training.metrics else None,
        "schedule": schedule,
        "stopping": stopping,
        "kept": kept,
        "tell": progress and _Tell(progress, training),
    }
    net = PenalisedNet(
        network,
        criterion=_LOSSES[training.loss or ("cross-entropy" if configuration.targets is None else "mse")],
        **({} if weights is None else {"criterion__weight": torch.from_numpy(weights.astype(np.float32))}),
        **({"criterion__label_smoothing": training.label_smoothing} if training.label_smoothing else {}),
        optimizer=_OPTIMIZERS[training.optimizer.name],
        **{f"optimizer__{name}": value for name, value in training.optimizer.settings.items()},
        lr=training.learning_rate,
        batch_size=training.batch_size,
        max_epochs=training.max_epochs,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=_as_it_is,
        iterator_valid__collate_fn=_as_it_is,
        train_split=predefined_split(watched),
        callbacks=[(name, callback) for name, callback in callbacks.items() if callback],
        callbacks__print_log=None,
        device="cuda" if training.device != "cpu" and torch.cuda.is_available() else "cpu",
        verbose=0,
    )
    net.fit(train, epochs=training.max_epochs - (kept.n_epochs if kept else 0))
    # skorch ends quietly on Ctrl-C, as it does when its own stopping says so: only the latter gives a model.
    finished = len(net.history) == training.max_epochs and "valid_loss" in net.history[-1]
    if not finished and (stopping is None or stopping.misses_ < training.patience):
        raise KeyboardInterrupt
    network.load_state_dict(net.module_.state_dict())
    network.cpu()
    names = ("train_loss", "valid_loss", *(f"valid_{name}" for name in training.metrics))
    curves = tuple({name: float(row[name]) for name in names} for row in net.history if "valid_loss" in row)
    losses = [row["valid_loss"] for row in curves]
    if not np.isfinite(losses).all() or not all(torch.isfinite(p).all() for p in network.parameters()):
        raise ConfigurationError(
            "Training diverged: the loss is not a number. Lower training.learning_rate, or standardise the data."
        )
    return curves


def _stopping(training: Training) -> EarlyStopping | None:
    if training.patience is None:
        return None
    return EarlyStopping(
        f"valid_{training.watch}",
        patience=training.patience,
        lower_is_better=training.watch == "loss",
        load_best=True,
        sink=_silent,
    )


def _schedule(training: Training, n_batches: int) -> LRScheduler | None:
    name, epochs = training.schedule.name, training.max_epochs
    if name == "constant":
        return None
    if name == "cosine":
        made = {"policy": optim.lr_scheduler.CosineAnnealingLR, "T_max": epochs}
    elif name == "one-cycle":
        rate = training.learning_rate
        made = {"policy": optim.lr_scheduler.OneCycleLR, "max_lr": rate, "total_steps": epochs * n_batches}
    else:
        mode = "min" if training.watch == "loss" else "max"
        patience = training.patience // 2 if training.patience else 10
        made = {"policy": optim.lr_scheduler.ReduceLROnPlateau, "mode": mode, "patience": patience}
    return LRScheduler(
        monitor=f"valid_{training.watch}",
        step_every="batch" if name == "one-cycle" else "epoch",
        **{**made, **training.schedule.settings},
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _silent(text: str) -> None:
    pass
