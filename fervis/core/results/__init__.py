"""Results of explainers, of a few kinds, un-normalised. The kind selects the visualizer."""

from fervis.core.results.data_set_kinds import ConceptScores, ExplanationClusters, NearestFaces, RegionContrasts
from fervis.core.results.explained_maps import ExplainedMaps, named_result
from fervis.core.results.explanation import ExplainerOutput, Explanation, Figure
from fervis.core.results.heat_maps import HeatMaps, LayerMaps
from fervis.core.results.kinds import Confusion, FeatureMaps, FilterImages, Progress, TopActivations
from fervis.core.results.map_scores import MapScores
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
    "ExplainedMaps",
    "ExplainerOutput",
    "Explanation",
    "ExplanationClusters",
    "FeatureMaps",
    "Figure",
    "FilterImages",
    "HeatMaps",
    "LayerMaps",
    "MapScores",
    "NearestFaces",
    "Progress",
    "RegionContrasts",
    "Result",
    "TopActivations",
    "as_array",
    "entry_fields",
    "join_items",
    "join_results",
    "named_result",
    "shared_fields",
    "take_from_result",
]
