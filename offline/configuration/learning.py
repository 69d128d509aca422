"""What learns, and how."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from offline.augmentation import Augmentation
from offline.configuration.part import Part


class RecurrentCell(Part):
    """Memory from window to window."""

    cell: Literal["gru", "lstm"] = "gru"
    hidden: Annotated[int, Field(ge=1)] = 32


Form = Literal["auto", "windowed", "incremental"]
Metric = Literal["accuracy", "balanced-accuracy", "kappa", "auc", "r2"]
OF_VALUES = ("mse", "huber", "l1", "r2")


class Model(Part):
    """The network and its settings, by their names in its class.

    With `recurrent`, its features feed a recurrent cell that sees the windows one after the other, `window.hop_s`
    apart in training too. `form` is that of the decoder file: `windowed`, `incremental`, or the faster one.
    """

    network: str
    settings: dict[str, Any] = Field(default_factory=dict)
    recurrent: RecurrentCell | None = None
    form: Form = "auto"


class _Named(Part):
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f"a name and its settings are written as {{name: {given}, settings: {{}}}}")
        return given


class Optimizer(_Named):
    """One of torch.optim by its name, and its settings, by their names there; the rate is `learning_rate`."""

    name: str = "adam"

    @model_validator(mode="after")
    def _rate_apart(self) -> Self:
        if "lr" in self.settings:
            raise ValueError("the optimizer's lr is training.learning_rate")
        return self


class Schedule(_Named):
    """How the learning rate goes on; settings by their names in torch.optim.lr_scheduler.

    Attributes
    ----------
    name : str
        `constant`; `cosine` falls to zero over `max_epochs` (CosineAnnealingLR); `one-cycle` rises to the rate and
        falls, batch by batch (OneCycleLR); `plateau` lowers it when what is watched gets no better for half of the
        patience (ReduceLROnPlateau).
    """

    name: Literal["constant", "cosine", "one-cycle", "plateau"] = "constant"


class Training(Part):
    """How the network is fitted: gradient descent, early stopping on an inner validation part, best weights restored.

    Attributes
    ----------
    init_from : str or None
        A decoder file or checkpoint whose weights are begun with, behind its preprocessing; captured parts stand in
        braces, as in `runs/people/all/{subject}.pt`.
    optimizer, schedule : Optimizer, Schedule
        What moves the weights, and how its rate goes on.
    loss : str or None
        `cross-entropy` for classes; `mse`, `huber` or `l1`, of standardised values, for targets. None: the first.
    label_smoothing : float
        Share of a class that is spread over all of them.
    clip_gradient : float or None
        Largest norm of a step's gradient.
    patience : int or None
        Epochs without anything better until it stops; None: all epochs are trained, and the last weights kept.
    watch : str
        What has to get better: `loss`, or one of `metrics`.
    metrics : tuple of str
        What is told of the validation part after every epoch.
    validation : float
        Share of the training trials that early stopping watches. It is never the part that is reported.
    class_weight : str, dict or None
        How much a window of each class counts: all the same, `balanced` (rarer classes more), or numbers by class.
    own_weight : int
        How many times the windows of a decoder's own recordings count where `recordings.others` train too.
    augmentation : tuple of Augmentation
        What is done to windows each time they are learned from, in this order.
    device : str
        Where it is fitted; `auto`: on a GPU if torch finds one. Only a processor gives the same numbers again.
    """

    init_from: str | None = None
    optimizer: Optimizer = Optimizer()
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    schedule: Schedule = Schedule()
    loss: Literal["cross-entropy", "mse", "huber", "l1"] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    max_epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = 3
    watch: str = "loss"
    metrics: tuple[Metric, ...] = ()
    validation: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    class_weight: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    own_weight: Annotated[int, Field(ge=1, le=100)] = 1
    augmentation: tuple[Augmentation, ...] = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.watch not in ("loss", *self.metrics):
            raise ValueError(f"watch is loss, or one of training.metrics: {', '.join(self.metrics) or 'none there'}")
        return self
