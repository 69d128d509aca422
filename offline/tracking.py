"""Runs told to MLflow, where that is installed; it is no dependency."""

from importlib import import_module
from typing import Any

from offline.catalogue import flat
from offline.configuration import TrainingConfiguration
from offline.evaluation import FoldResult
from offline.workflow import Run
from rtdecode.errors import ConfigurationError

# As many as a server takes at once.
_AT_ONCE = 1000


class Tracker:
    """Tells finished runs to MLflow: parameters, figures, curves, and all files.

    Parameters
    ----------
    uri : str
        A tracking server, or a store that MLflow can open itself (`sqlite:///runs.db`).

    Raises
    ------
    ConfigurationError
        MLflow is not installed.
    """

    def __init__(self, uri: str) -> None:
        try:
            self._mlflow: Any = import_module("mlflow")
        except ModuleNotFoundError:
            raise ConfigurationError(
                "--mlflow needs the package `mlflow`, which is not installed: pip install mlflow. Without it every "
                "run is kept in its folder all the same; `rtdecode runs` compares them."
            ) from None
        self._uri = uri

    def tell(self, run: Run, configuration: TrainingConfiguration) -> None:
        """Tell a run, as one of the experiment that is called as its configuration.

        ConfigurationError if MLflow does not take it.
        """
        try:
            self._mlflow.set_tracking_uri(self._uri)
            self._mlflow.set_experiment(configuration.name)
            with self._mlflow.start_run(run_name=run.folder.name) as begun:
                self._mlflow.log_params(flat(configuration.model_dump(mode="json")))
                metrics = self._metrics(run)
                client = self._mlflow.MlflowClient()
                for start in range(0, len(metrics), _AT_ONCE):
                    client.log_batch(begun.info.run_id, metrics=metrics[start : start + _AT_ONCE])
                self._mlflow.log_artifacts(str(run.folder))
        except Exception as error:  # whatever its stores raise
            told = str(error).rstrip(".")
            raise ConfigurationError(
                f"MLflow at {self._uri} does not take the run: {told}. It is kept in {run.folder}."
            ) from None

    def _metrics(self, run: Run) -> list[Any]:
        """Return the figures of each decoder, and the curves of each fold by epoch."""
        found = [
            (f"{pipeline}/{figure.name}/{group}", figure.value, 0)
            for group, comparison in run.comparisons.items()
            for pipeline, figures in (("network", comparison.network), ("csp-lda", comparison.baseline))
            for figure in figures
        ]
        found += [step for group, folds in run.results.items() for fold in folds for step in _steps(group, fold)]
        return [self._mlflow.entities.Metric(name, value, 0, step) for name, value, step in found]


def _steps(group: str, fold: FoldResult) -> list[tuple[str, float, int]]:
    return [
        (f"{name}/{group}/{fold.fold.name}", value, epoch)
        for epoch, measured in enumerate(fold.fitted.curves, 1)
        for name, value in measured.items()
    ]
