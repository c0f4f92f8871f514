"""Results of explainers, of a few kinds, un-normalised. The kind selects the visualizer."""

from fervis.core.results.data_set_kinds import ConceptScores, ExplanationClusters, NearestFaces, RegionContrasts
from fervis.core.results.explanation import ExplainerOutput, Explanation, Figure
from fervis.core.results.heat_maps import HeatMaps, LayerMaps
from fervis.core.results.kinds import Confusion, FeatureMaps, FilterImages, Progress, TopActivations
from fervis.core.results.result import (
    SHARED,
    Result,
    as_array,
    entry_fields,
    join_items,
    join_results,
    shared_fields,
    take_from_result,
)

__all__ = [
    "SHARED",
    "ConceptScores",
    "Confusion",
    "ExplainerOutput",
    "Explanation",
    "ExplanationClusters",
    "FeatureMaps",
    "Figure",
    "FilterImages",
    "HeatMaps",
    "LayerMaps",
    "NearestFaces",
    "Progress",
    "RegionContrasts",
    "Result",
    "TopActivations",
    "as_array",
    "entry_fields",
    "join_items",
    "join_results",
    "shared_fields",
    "take_from_result",
]
