"""Where the sensors are, on a plane."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

Positions = dict[str, tuple[float, float]]


def on_plane(places: Mapping[str, ArrayLike]) -> Positions:
    """Project sensors onto a plane: seen from above, nose up, all of them in the unit square.

    Azimuthal equidistant: how far a sensor is from the middle says at which angle from the vertical it stands.

    Parameters
    ----------
    places : mapping of str to array, (3,)
        Right, front and up from the middle of the head, in any unit. Zeros and NaN stand for an unknown place.

    Returns
    -------
    dict of str to (float, float)
        Both coordinates in [0, 1]; without the sensors whose place is unknown.
    """
    known = {name: np.asarray(place, float) for name, place in places.items()}
    known = {name: place for name, place in known.items() if np.isfinite(place).all() and place.any()}
    if not known:
        return {}
    right, front, up = np.array(list(known.values())).T
    angle, azimuth = np.arctan2(np.hypot(right, front), up), np.arctan2(front, right)
    plane = angle[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    low, high = plane.min(axis=0), plane.max(axis=0)
    # One scale for both coordinates, so that distances can be compared.
    unit = 0.5 + (plane - (low + high) / 2) / (max(high - low) or 1.0)
    return {name: (float(x), float(y)) for name, (x, y) in zip(known, np.clip(unit, 0, 1), strict=True)}
