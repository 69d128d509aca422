"""What a decoder has learned, as figures."""

from offline.interpretation.examined import Examined, Material, look_at, read_examined
from offline.interpretation.patterns import PatternForm, combined_patterns, covariance, spatial_patterns
from offline.interpretation.relevance import (
    Elimination,
    Readout,
    by_correlation,
    by_cross_entropy,
    by_elimination,
    by_norm,
    by_permutation,
    by_weight,
    by_weighted_correlation,
    combined_relevance,
    ranked,
    recursive_elimination,
)
from offline.interpretation.spectra import Spectra, component_spectra, frequency_response

__all__ = [
    "Elimination",
    "Examined",
    "Material",
    "PatternForm",
    "Readout",
    "Spectra",
    "by_correlation",
    "by_cross_entropy",
    "by_elimination",
    "by_norm",
    "by_permutation",
    "by_weight",
    "by_weighted_correlation",
    "combined_patterns",
    "combined_relevance",
    "component_spectra",
    "covariance",
    "frequency_response",
    "look_at",
    "ranked",
    "read_examined",
    "recursive_elimination",
    "spatial_patterns",
]
