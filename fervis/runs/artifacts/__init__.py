"""Artifacts of a run: its folder, what is written into it, and how a complete one is recognized."""

from fervis.runs.artifacts.folder import atomic_run_folder, claimed_folder, is_complete
from fervis.runs.artifacts.metadata import RunMetadata, build_manifest, installed_versions, write_manifest
from fervis.runs.artifacts.reuse import reuse_run
from fervis.runs.artifacts.write import run_arrays, run_summary, summary_table, write_run

__all__ = [
    "RunMetadata",
    "atomic_run_folder",
    "build_manifest",
    "claimed_folder",
    "installed_versions",
    "is_complete",
    "reuse_run",
    "run_arrays",
    "run_summary",
    "summary_table",
    "write_manifest",
    "write_run",
]
